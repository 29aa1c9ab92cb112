// The page where a reader chooses an entity and gets the answer for it. What it is about, GET /v1/problem says.
import { drawGauge, drawReasons, drawTrackRecord } from "/static/charts.js";
import {
  Problem, element, find, formatClock, formatCount, formatDay, formatSpan, formatTime, request, showProblem, toHundred,
  useZone,
} from "/static/common.js";

const LIMIT = 50;
const KEY = /^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}$/;
const form = find("search");
let problem = null;
let words = {};
let choice = 0;
let chosenId = null;
let searches = 0;

const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const isoDay = (time) => formatTime(time, { year: "numeric", month: "2-digit", day: "2-digit" })
  .split("/").reverse().join("-");
const countEntities = (count) => `${formatCount(count)} ${count === 1 ? words.entity : words.entities}`;

// Search

async function start() {
  try {
    learn(await request("/v1/problem"));
    const { days } = await request("/v1/entities?limit=1");
    if (!days) return showNothing();
    setDays(days);
  } catch (failure) {
    find("count").textContent = "";
    return showProblem(find("board"), failure, start);
  }
  await followLink();
}

// The words are those of the question that the release answers.
function learn(told) {
  problem = told;
  words = told.words;
  useZone(told.zone);
  document.title = `${words.title} · ontime`;
  find("title").textContent = words.title;
  find("invitation").textContent = words.invitation;
  find("definition").textContent = words.definition;
  find("footer").textContent = words.footer;
  find("choice-title").textContent = `Choose from the ${words.entities}`;
  form.setAttribute("aria-label", capitalize(words.entities));
  form.querySelector("button").textContent = `Find ${words.entities}`;
  find("count").textContent = `Looking for ${words.entities} …`;
    if (!form.querySelector("[data-search]")) form.querySelector("button").before(...told.search.map(drawField));
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
  find("day-hint").textContent = `${formatDay(first, "UTC")} to ${formatDay(last, "UTC")}.${hint}`;
}

function showNothing() {
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
  const entity = await (KEY.test(id) ? request(`/v1/entities/${encodeURIComponent(id)}`)
    : Promise.reject(new Problem(404, ""))).catch((failure) => ({ failure }));
  if (entity.failure) {
    await searchEntities(followLink);
    return showProblem(find("answer"), entity.failure.status === 404
      ? new Problem(404, `The ${words.entity} ${id} is not among the ${words.entities} here.`) : entity.failure);
  }
  form.day.value = isoDay(entity.event_at);
  form.hour.value = "";
  for (const { field } of problem.search) form[field].value = entity.request[field] ?? "";
  await searchEntities(followLink);
  history.replaceState({ entity }, "", linkTo(entity));
  await chooseEntity(entity);
}

// The address stays as it is: the reader has not chosen anything yet.
async function showExample(entities) {
  if (entities?.[0] && !chosenId) await chooseEntity(entities[0], true);
}

const normalise = (text) => text.trim().toUpperCase();

class Misread extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

// A code, "Name (CODE)", or the beginning of a name, or words in it. Anything else as it is written: the service knows
// which codes there may be.
function readChoice({ field, choices }, text) {
  const typed = normalise(text);
  if (!typed || choices.length === 0) return text.trim();
  const exact = choices.find((each) => [each.value, each.name, nameChoice(each)].map(normalise).includes(typed));
  if (exact) return exact.value;
  const begins = choices.filter(({ name }) => normalise(name).startsWith(typed));
  const fits = begins.length ? begins : choices.filter(({ name }) => normalise(name).includes(typed));
  if (fits.length === 1) return fits[0].value;
  if (fits.length) {
    const some = fits.slice(0, 3).map(nameChoice).join(", ");
    throw new Misread(field, `That fits ${some}${fits.length > 3 ? " and others" : ""}. Type the code.`);
  }
  return text.trim();
}

// A choice that the service refused, if that is what went wrong.
function findMisread({ places = [] }) {
  const refused = problem.search.find(({ field, choices }) => choices.length && places.includes(`query.${field}`));
  return refused && new Misread(refused.field,
    `Nothing is called ${form[refused.field].value}. Choose one of the list, or type its code.`);
}

function readForm() {
  const told = Object.fromEntries(new FormData(form));
  const fields = problem.search.map((each) => [each.field, readChoice(each, told[each.field])]);
  return [["day", told.day], ["hour", told.hour], ...fields].filter(([, value]) => value);
}

async function searchEntities(retry = searchEntities) {
  const search = ++searches;
  try {
    const query = new URLSearchParams([...readForm(), ["limit", LIMIT]]);
    find("count").textContent = `Looking for ${words.entities} …`;
    const { entities, more } = await request(`/v1/entities?${query}`);
    if (search !== searches) return null;
    showEntities(entities, more);
    return entities;
  } catch (failure) {
    if (search !== searches) return null;
    const misread = failure instanceof Misread ? failure : findMisread(failure);
    find("count").textContent = "";
    if (misread) return complain(misread);
    showProblem(find("board"), failure, retry);
    return null;
  }
}

function complain({ field, message }) {
  form[field].setCustomValidity(message);
  form.reportValidity();
  return null;
}

function showEntities(entities, more) {
  const first = `The first ${countEntities(entities.length)}. Narrow the search to see others.`;
  const none = `No ${words.entity} fits. Leave a field empty to see more.`;
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
  element("span", { class: "clock" }, formatClock(entity.event_at)),
  element("span", {}, entity.title), element("span", {}, entity.subtitle,
    entity.note ? element("span", { class: "small" }, entity.note) : null)));
}

// Answer

function openEntity(entity) {
  history.pushState({ entity }, "", linkTo(entity));
  if (matchMedia("(max-width: 60rem)").matches) find("result").scrollIntoView();
  return chooseEntity(entity);
}

async function chooseEntity(entity, example = false) {
  const mine = ++choice;
  if (!example) {
    chosenId = entity.entity_id;
    document.title = `${entity.title}, ${entity.subtitle} · ontime`;
    find("spoken").textContent = `Asking the model about ${entity.title}.`;
  }
  markRow(entity.entity_id);
  const title = () => [example ? element("p", { class: "example" },
    `An example. Choose any ${words.entity} from the list.`) : null, ...drawTitle(entity)].filter(Boolean);
  find("answer").replaceChildren(...title(), element("p", { class: "empty" }, "Asking the model …"));
  try {
    const [prediction, model, told, outcome] = await Promise.all([
      request("/v1/predictions?explain=true", entity.request), request("/v1/model").catch(() => null),
      request("/v1/problem").catch(() => null), askOutcome(entity.entity_id),
    ]);
    if (mine !== choice) return;
    if (told) ({ words } = told);
    showAnswer(entity, title(), prediction, model, describeOutcome(outcome));
  } catch (failure) {
    if (mine !== choice) return;
    find("spoken").textContent = "";
    showProblem(find("answer"), failure, () => chooseEntity(entity, example));
    find("answer").prepend(...title());
  }
}

function markRow(id) {
  for (const row of find("board").querySelectorAll("button.row")) {
    if (row.dataset.entity === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

async function askOutcome(id) {
  try {
    return await request(`/v1/outcomes/${encodeURIComponent(id)}`);
  } catch (failure) {
    return { failure };
  }
}

// How it ended, as a colour and in words.
function describeOutcome({ label, words: sentence, failure }) {
  if (failure) return ["open", failure.status === 404 ? "Not known yet." : `Not known: ${failure.message}`];
  return [label ? "positive" : "negative", sentence];
}

function drawTitle({ title, subtitle, details }) {
  return [
    element("h2", { class: "entity-title" }, element("span", {}, title), " ",
      element("span", { class: "route" }, subtitle)),
    element("p", { class: "soft" }, details),
  ];
}

// The fewest digits with which the shown chance does not contradict the shown threshold.
function chooseDigits(share, threshold, alert) {
  const fewest = share < 0.01 || share > 0.99 ? 1 : 0;
  if (threshold === null) return fewest;
  const limit = Number(toHundred(threshold, 1));
  return [0, 1, 2].find((digits) => digits >= fewest && Number(toHundred(share, digits)) >= limit === alert) ?? 3;
}

function describeAnswer({ probability: share, base_rate: base, alert, flags }, threshold) {
  const digits = chooseDigits(share, threshold, alert);
  const count = toHundred(share, digits);
  const unknown = flags.includes("request_only");
  const limit = threshold === null ? "." : `: the service gives one from ${toHundred(threshold, 1)} in 100.`;
  const because = threshold === null ? "." : `, because ${count} in 100 reaches the threshold of `
    + `${toHundred(threshold, 1)} in 100. It says nothing about this ${words.entity} in particular.`;
  const verb = count === "1" ? words.is_positive : words.are_positive;
  return {
    digits, limit: unknown && alert ? because : limit,
    claim: `${count} in 100 ${words.entities} ${unknown ? words.with_only_request : "like this"} ${verb}.`,
    base: `Of all ${words.entities}, ${toHundred(base)} in 100 ${words.are_positive}: the base rate.`,
    verdict: alert ? "Alert" : "No alert",
  };
}

function showAnswer(entity, title, prediction, model, outcome) {
  const threshold = model?.threshold ?? null;
  const said = describeAnswer(prediction, threshold);
  const limits = prediction.flags.map((flag) => describeFlag(flag, entity, model));
  const spoken = [...limits, said.claim, said.base, `${said.verdict}${said.limit}`].join(" ");
  const { probability: share, base_rate: base, alert } = prediction;
  const gauge = drawGauge({
    share, base, threshold, alert, digits: said.digits, words: spoken, unit: `in 100 ${words.positive}`,
  });
  const verdict = element("div", {},
    element("p", { class: "claim" }, said.claim),
    element("p", { class: "base" }, said.base),
    element("p", {}, element("strong", { class: alert ? "alert" : "" }, said.verdict), said.limit),
    element("p", { class: `outcome ${outcome[0]}` }, element("span", {}, "What happened"), outcome[1]));
  const lead = prediction.features_as_of && model?.lead_minutes ? formatSpan(model.lead_minutes) : null;
  find("answer").replaceChildren(element("article", {}, title, drawFlags(limits),
    element("div", { class: "verdict" }, gauge, verdict),
    drawReasons(prediction, said.digits, lead, words),
    drawTrackRecord(prediction, model, words), drawFacts(prediction, model)));
  find("spoken").textContent = `${entity.title}: ${spoken} What happened: ${outcome[1]}`;
}

function describeFlag(flag, entity, model) {
  if (flag in words) return words[flag];
  const [kind, name] = flag.split(":");
  if (kind !== "unknown_category") return capitalize(flag.replaceAll("_", " "));
  const value = entity.request[name];
  const known = model?.names?.[name]?.[value];
  const meaning = model?.features.find((feature) => feature.name === name)?.meaning ?? name;
  // A category that the online store has is not in the request.
  if (value === undefined) return `The model has never seen this ${meaning}.`;
  return `The model has never seen this ${meaning}: ${known ? `${known} (${value})` : value}.`;
}

// First of all: whoever reads the chance should know how little it rests on.
function drawFlags(limits) {
  const items = limits.map((limit) => element("li", {}, limit));
  return items.length ? element("ul", { class: "flags", "aria-label": "Limits of this answer" }, items) : null;
}

function drawFacts({ model_version: version, features_as_of: time, prediction_id: id }, model) {
  const algorithm = model?.version === version ? `, ${model.algorithm}` : "";
  const known = time ? `what was known at ${formatClock(time)} on ${formatDay(time)}` : "the request alone";
  const facts = [["Model", `version ${version}${algorithm}`], ["Based on", known], ["Prediction", id]];
  return element("dl", { class: "facts" }, facts.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

for (let hour = 0; hour < 24; hour += 1) {
  const clock = String(hour).padStart(2, "0");
  form.hour.append(element("option", { value: hour }, `${clock}:00 to ${clock}:59`));
}
form.addEventListener("input", ({ target }) => target.setCustomValidity(""));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  searchEntities();
});
addEventListener("popstate", ({ state }) => {
  if (state?.entity) chooseEntity(state.entity);
  // A link inside the page, such as the skip link, comes here too and must not reload it.
  else if ((readLink() ?? null) !== chosenId) location.reload();
});
start();
