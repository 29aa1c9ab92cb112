// The page for predictions: the search for entities and the choice of one. Its texts come from GET /v1/problem.
import { drawTitle, showAnswer } from "/static/answer.js";
import {
  RequestError, capitalize, element, find, formatClock, formatCount, formatDay, formatTime, request, setZone, showError,
} from "/static/common.js";

const LIMIT = 50;
const RECENT_DAYS = 30;
const ENTITY_ID = /^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}$/;
const form = find("search");
const narrow = matchMedia("(max-width: 60rem)");
let problem = null;
let words = {};
let choiceCount = 0;
let chosenId = null;
let searchCount = 0;

const isoDay = (time) => formatTime(time, { year: "numeric", month: "2-digit", day: "2-digit" })
  .split("/").reverse().join("-");
const formatShortDay = (time) => formatTime(time, { day: "numeric", month: "short" });
const countEntities = (count) => `${formatCount(count)} ${count === 1 ? words.entity : words.entities}`;

// Search

async function start() {
  try {
    applyProblem(await request("/v1/problem"));
    const { days } = await request("/v1/entities?limit=1");
    if (!days) return showEmptyStore();
    setDays(days);
  } catch (error) {
    find("count").textContent = "";
    return showError(find("board"), error, start);
  }
  await followLink();
}

// The texts match the question of the live release.
function applyProblem(info) {
  problem = info;
  words = info.words;
  setZone(info.zone);
  document.title = `${words.title} · ontime`;
  find("title").textContent = words.title;
  find("invitation").textContent = words.invitation;
  find("definition").textContent = words.definition;
  find("footer").textContent = words.footer;
  find("choice-title").textContent = `Choose from the ${words.entities}`;
  form.setAttribute("aria-label", capitalize(words.entities));
  form.querySelector("button").textContent = `Find ${words.entities}`;
  find("count").textContent = `Searching for ${words.entities} …`;
  if (!form.querySelector("[data-search]")) form.querySelector("button").before(...info.search.map(drawField));
}

function drawField({ field, label, placeholder, only_choices: only, choices }) {
  const id = `search-${field}`;
  const head = element("label", { for: id }, label);
  if (only) {
    const options = choices.map(({ value, name }) => element("option", { value },
      name === value ? value : `${value}, ${name}`));
    return element("div", { class: "field", "data-search": field }, head,
      element("select", { id, name: field }, element("option", { value: "" }, "Any"), options));
  }
  const list = choices.length ? element("datalist", { id: `${id}-choices` },
    choices.map((each) => element("option", { value: nameChoice(each) }))) : null;
  if (list) head.append(" ", element("span", { class: "hint" }, "name or code"));
  return element("div", { class: "field", "data-search": field }, head,
    element("input", { id, name: field, list: list && list.id, placeholder, maxlength: 80, autocomplete: "off",
      spellcheck: "false" }), list);
}

const nameChoice = ({ value, name }) => (name === value ? value : `${name} (${value})`);

function setDays([first, last]) {
  const { example_day: day, example_hour: hour } = problem;
  const inside = first <= day && day <= last;
  Object.assign(form.day, { min: first, max: last, value: inside ? day : first });
  if (inside && hour !== null && !readLink()) form.hour.value = hour;
  const hint = inside && words.day ? ` ${formatDay(day, "UTC")} ${words.day}.` : "";
  const past = Date.parse(`${last}T00:00Z`) < Date.now() - RECENT_DAYS * 24 * 3600 * 1000;
  if (past) find("invitation").append(` All ${words.entities} here are past ones: the page shows what the model would have `
    + "said, and what happened.");
  find("day-hint").textContent = `${formatDay(first, "UTC")} to ${formatDay(last, "UTC")}.${hint}`;
}

function showEmptyStore() {
  find("count").textContent = "";
  find("board").replaceChildren(element("p", { class: "empty" },
    `The service has no ${words.entities} to show yet. Run `, element("code", {}, "make train"),
    " and load this page again."));
}

const linkTo = (entity) => `/?entity=${encodeURIComponent(entity.entity_id)}`;
const readLink = () => new URLSearchParams(location.search).get("entity");

async function followLink() {
  const id = readLink();
  if (!id) return showExample(await searchEntities(followLink));
  chosenId = id;
  const entity = await (ENTITY_ID.test(id) ? request(`/v1/entities/${encodeURIComponent(id)}`)
    : Promise.reject(new RequestError(404, ""))).catch((error) => ({ error }));
  if (entity.error) {
    await searchEntities(followLink);
    return showError(find("answer"), entity.error.status === 404
      ? new RequestError(404, `The ${words.entity} ${id} is not in the online store.`) : entity.error);
  }
  form.day.value = isoDay(entity.event_at);
  form.hour.value = "";
  for (const { field } of problem.search) form[field].value = entity.request[field] ?? "";
  await searchEntities(followLink);
  history.replaceState({ entity }, "", linkTo(entity));
  await chooseEntity(entity);
}

// The address does not change, because the user has not chosen an entity yet.
async function showExample(entities) {
  if (entities?.[0] && !chosenId) await chooseEntity(entities[0], true);
}

const normalise = (text) => text.trim().toUpperCase();

class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

// The code for a code, "Name (CODE)", or a part of a name. Other text is returned unchanged, because the service
// validates codes.
function readChoice({ field, choices }, text) {
  const input = normalise(text);
  if (!input || choices.length === 0) return text.trim();
  const exact = choices.find((each) => [each.value, each.name, nameChoice(each)].map(normalise).includes(input));
  if (exact) return exact.value;
  const prefixMatches = choices.filter(({ name }) => normalise(name).startsWith(input));
  const matches = prefixMatches.length ? prefixMatches : choices.filter(({ name }) => normalise(name).includes(input));
  if (matches.length === 1) return matches[0].value;
  if (matches.length) {
    const some = matches.slice(0, 3).map(nameChoice).join(", ");
    throw new FieldError(field, `Several match: ${some}${matches.length > 3 ? " and others" : ""}. Enter the code.`);
  }
  return text.trim();
}

// The field whose value the service rejected, if any.
function findFieldError({ places = [] }) {
  const field = problem.search.find(({ field, choices, placeholder }) =>
    (choices.length || placeholder) && places.includes(`query.${field}`));
  if (!field) return null;
  const { value } = form[field.field];
  const advice = field.choices.length ? "Choose from the list, or enter a code." : `Enter it as in ${field.placeholder}.`;
  return new FieldError(field.field, `No match for ${value}. ${advice}`);
}

function readForm() {
  const values = Object.fromEntries(new FormData(form));
  const fields = problem.search.map((each) => [each.field, readChoice(each, values[each.field])]);
  return [["day", values.day], ["hour", values.hour], ...fields].filter(([, value]) => value);
}

async function searchEntities(retry = searchEntities) {
  const number = ++searchCount;
  try {
    const query = new URLSearchParams([...readForm(), ["limit", LIMIT]]);
    find("count").textContent = `Searching for ${words.entities} …`;
    const { entities, more } = await request(`/v1/entities?${query}`);
    if (number !== searchCount) return null;
    showEntities(entities, more);
    return entities;
  } catch (error) {
    if (number !== searchCount) return null;
    const fieldError = error instanceof FieldError ? error : findFieldError(error);
    find("count").textContent = "";
    if (fieldError) return showFieldError(fieldError);
    showError(find("board"), error, retry);
    return null;
  }
}

function showFieldError({ field, message }) {
  form[field].setCustomValidity(message);
  form.reportValidity();
  return null;
}

function showEntities(entities, more) {
  const first = `The first ${countEntities(entities.length)}. Refine the search to see others.`;
  const none = `No ${words.entity} matches. Clear a field to see more.`;
  find("count").textContent = entities.length === 0 ? none : more ? first : `${countEntities(entities.length)}.`;
  const head = element("div", { class: "row head", "aria-hidden": "true" },
    ["Time", capitalize(words.entity), ""].map((word) => element("span", {}, word)));
  const list = element("ul", { "aria-label": `${capitalize(words.entities)} found` }, entities.map(drawRow));
  find("board").replaceChildren(...(entities.length ? [element("div", { class: "board" }, head, list)] : []));
}

function drawRow(entity) {
  return element("li", {}, element("button", {
    class: "row", type: "button", "data-entity": entity.entity_id, click: () => openEntity(entity),
  },
  element("span", { class: "clock" }, formatClock(entity.event_at),
    form.day.value ? null : element("span", { class: "small" }, formatShortDay(entity.event_at))),
  element("span", {}, entity.title), element("span", {}, entity.subtitle,
    entity.note ? element("span", { class: "small" }, entity.note) : null)));
}

// Answer

function openEntity(entity) {
  history.pushState({ entity }, "", linkTo(entity));
  if (narrow.matches) find("result").scrollIntoView();
  return chooseEntity(entity);
}

async function chooseEntity(entity, example = false) {
  const number = ++choiceCount;
  if (!example) {
    chosenId = entity.entity_id;
    document.title = `${entity.title}, ${entity.subtitle} · ontime`;
    find("spoken").textContent = `Loading the prediction for ${entity.title}.`;
  }
  markRow(entity.entity_id);
  const title = () => [example ? element("p", { class: "example" },
    `An example. Choose any ${words.entity} from the list.`) : null, ...drawTitle(entity)].filter(Boolean);
  find("answer").replaceChildren(...title(), element("p", { class: "empty" }, "Loading the prediction …"));
  try {
    const [prediction, model, info, outcome] = await Promise.all([
      request("/v1/predictions?explain=true", entity.request), request("/v1/model").catch(() => null),
      request("/v1/problem").catch(() => null), requestOutcome(entity.entity_id),
    ]);
    if (number !== choiceCount) return;
    if (info) ({ words } = info);
    showAnswer(entity, title(), prediction, model, outcome, words);
  } catch (error) {
    if (number !== choiceCount) return;
    find("spoken").textContent = "";
    showError(find("answer"), error, () => chooseEntity(entity, example));
    find("answer").prepend(...title());
  }
}

function markRow(id) {
  for (const row of find("board").querySelectorAll("button.row")) {
    if (row.dataset.entity === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

async function requestOutcome(id) {
  try {
    return await request(`/v1/outcomes/${encodeURIComponent(id)}`);
  } catch (error) {
    return { failure: error };
  }
}

for (let hour = 0; hour < 24; hour += 1) {
  const clock = String(hour).padStart(2, "0");
  form.hour.append(element("option", { value: hour }, `${clock}:00 to ${clock}:59`));
}
form.addEventListener("input", ({ target }) => target.setCustomValidity(""));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await searchEntities() && narrow.matches) find("count").scrollIntoView();
});
addEventListener("popstate", ({ state }) => {
  if (state?.entity) chooseEntity(state.entity);
  // A link inside the page, such as the skip link, comes here too and must not reload it.
  else if ((readLink() ?? null) !== chosenId) location.reload();
});
start();
