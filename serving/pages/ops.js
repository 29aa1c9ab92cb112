// The page for the people who run the service. It asks for the state again and again.
import { drawMinutes } from "/static/charts.js";
import {
  element, find, formatClock, formatCount, formatDay, formatPercent, formatTime, request,
} from "/static/common.js";

const PAUSE_MS = 2000;
const STATES = ["live", "challenger", "rolled back", "on standby"];
const shown = new Map();
let timer = null;
let paused = false;
let unreachable = null;
let words = { entity: "entity", entities: "entities", positive: "positive" }; // until the problem says otherwise

const countPredictions = (count) => `${formatCount(count)} prediction${count === 1 ? "" : "s"}`;

async function refresh() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  const state = await request("/v1/ops").catch(showReach);
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE_MS);
  if (!state) return;
  showReach(null);
  showState(state);
}

function showReach(problem) {
  const now = formatTime(Date.now(), { timeStyle: "medium" }, "UTC");
  if (!problem) {
    unreachable = null;
    find("updated").textContent = paused ? `Paused at ${now} UTC` : `As of ${now} UTC`;
  } else unreachable ??= now;
  const why = problem?.status ? ` ${problem.message}` : "";
  const words = problem ? `Not reachable since ${unreachable} UTC. What follows is older.${why}` : "";
  // Equal words are not written again, so that a screen reader says them once.
  if (find("reach").textContent !== words) find("reach").textContent = words;
  find("main").classList.toggle("stale", Boolean(problem));
}

// Draws a part only where its data changed, so that focus and selection stay.
function update(id, data, draw) {
  const text = JSON.stringify(data);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  find(id).replaceChildren(...[draw(data)].flat(Infinity).filter(Boolean));
}

function showState(state) {
  const { answering, ready, challenger, notes, monitored, traffic, releases, decisions, links } = state;
  const model = releases?.find(({ version }) => version === answering) ?? null;
  const stopped = nameStop(monitored);
  update("answering", { answering, ready, challenger, model, stopped }, drawAnswering);
  update("notes", notes ?? [], drawNotes);
  const diagnosis = links?.[DIAGNOSIS] ?? null;
  update("monitored", { monitored, askedAt: state.retraining_asked_at, diagnosis }, drawMonitored);
  update("figures", traffic ?? null, drawFigures);
  update("latency", traffic ? [traffic.single, traffic.lists] : null, drawLatency);
  update("minutes", traffic ? fillMinutes(traffic) : [], drawTraffic);
  update("releases", releases ?? [], drawReleases);
  update("decisions", decisions ?? [], drawDecisions);
  update("links", links ?? {}, drawLinks);
}

// Why nothing moves although the service is ready; null where nothing is wrong.
function nameStop(monitored) {
  if (monitored?.alerts.some(({ tier }) => tier === 1)) return "tier 1 alert";
  return monitored?.policy?.action === "stop" ? "policy: stop" : null;
}

function drawAnswering({ answering, ready, challenger, model, stopped }) {
  const trained = model ? `${model.algorithm}, trained on ${nameTraining(model)}` : null;
  const rival = challenger
    ? `Version ${challenger.version} is the challenger and answers ${formatPercent(challenger.share, 1)} of requests.`
    : "No challenger.";
  const words = `${ready ? "ready" : "not ready"}${stopped ? `, ${stopped}` : ""}`;
  return [
    element("p", { class: "version" }, answering ? `Version ${answering}` : "No model answers", " ",
      element("span", { class: ready && !stopped ? "state live" : "state rolled-back" }, words)),
    trained && element("p", {}, trained),
    element("p", {}, rival),
  ];
}

function drawNotes(notes) {
  if (notes.length === 0) return element("p", { class: "soft" }, "Nothing to note.");
  return element("ul", { class: "flags" }, notes.map((note) => element("li", {}, capitalize(note))));
}

const capitalize = (words) => words.charAt(0).toUpperCase() + words.slice(1);

// Monitoring

const DIAGNOSIS = "Reports: diagnosis"; // its name among the links of `make ui`
const TIERS = { 1: "Tier 1, stop", 2: "Tier 2, retrain", 3: "Tier 3, report" };

function drawMonitored({ monitored, askedAt, diagnosis }) {
  if (!monitored) {
    return element("p", { class: "empty" }, "The monitor has not looked at a day yet: ",
      element("code", {}, "make monitor"), " looks at yesterday, ", element("code", {}, "make orchestrate"),
      " does it every day.");
  }
  const { day, alerts, why, quality, policy } = monitored;
  return [
    element("p", { class: "soft" }, `Last look: ${formatDay(day, "UTC")}, on the feed's clock.`),
    element("div", { class: "panels look" },
      element("div", {}, element("h3", {}, "Alerts"), drawAlerts(alerts), drawWhy(why, diagnosis)),
      element("div", {}, element("h3", {}, "Policy"), drawPolicy(policy, day, askedAt))),
    element("h3", {}, "Quality of the answers"), drawQuality(quality),
  ];
}

function drawAlerts(alerts) {
  if (alerts.length === 0) return element("p", {}, "No alert.");
  return element("ul", { class: "alerts" }, alerts.map(({ tier, name, value, above, reason }) =>
    element("li", { class: `tier-${tier}` }, element("strong", {}, TIERS[tier]),
      element("p", {}, capitalize(reason)),
      element("p", { class: "soft" }, `${name} ${formatValue(value)}, limit ${formatValue(above)}`))));
}

// The first sentence of the diagnosis, and where the rest of it is.
function drawWhy(why, diagnosis) {
  if (!why) return null;
  const page = diagnosis && /^https?:\/\//.test(diagnosis)
    ? element("a", { href: diagnosis }, "the last diagnosis") : element("code", {}, "make diagnose");
  return [element("h3", {}, "Why"), fold(capitalize(why), "why"), element("p", { class: "soft" }, "In full: ", page)];
}

const formatValue = (value) => String(Number(value.toPrecision(4)));

function drawPolicy(policy, day, askedAt) {
  if (!policy) return element("p", {}, "No decision yet.");
  const when = policy.day === day ? null : element("p", { class: "soft" }, `Decided for ${formatDay(policy.day, "UTC")}.`);
  const waiting = askedAt
    ? element("p", {}, `A retraining asked for on ${formatDay(askedAt, "UTC")} is not finished yet.`) : null;
  return [element("p", { class: "finding" }, capitalize(policy.action)), fold(policy.reason, "policy"), when, waiting];
}

function drawQuality(quality) {
  if (!quality) return element("p", { class: "soft" }, "Not measured on that day.");
  const { entities, labelled, auc, ece, cost_per_1000: cost, positive_rate: rate, predicted_rate: predicted } = quality;
  const period = `from ${formatDay(quality.since, "UTC")} to ${formatDay(quality.until, "UTC")}`;
  const sentence = entities === 0 ? `No ${words.entity} ${period} was answered.`
    : labelled === 0 ? `${formatCount(entities)} ${words.entities} ${period} were answered, and no outcome is known yet.`
      : `${formatCount(entities)} ${words.entities} ${period} were answered; ${formatCount(labelled)} have a known outcome.`;
  const fixed = (value, digits) => (value === null ? "none" : value.toFixed(digits));
  const gap = labelled ? `${formatPercent(predicted, 1)} predicted, ${formatPercent(rate, 1)} ${words.positive}` : "";
  return [element("p", {}, sentence), element("dl", { class: "figures" },
    drawFigure("AUC", fixed(auc, 3), auc === null ? "" : "0.5 is chance, 1 is perfect"),
    drawFigure("Calibration error", fixed(ece, 3), gap),
    drawFigure(`Cost per 1,000 ${words.entities}`, fixed(cost, 0), cost === null ? "" : "missed ones and false alarms"),
    drawFigure("Coverage", entities ? formatPercent(quality.coverage, 1) : "none", "answers with a known outcome"))];
}

// A long text is folded. What the reader has opened stays open when the page draws it again.
const LONG = 160;
const opened = new Set();

function fold(words, key) {
  if (words.length <= LONG) return element("p", {}, words);
  const start = `${words.slice(0, LONG - 40).replace(/\s+\S*$/, "")} …`;
  const parts = words.split("; ");
  return element("details", { open: opened.has(key) ? "" : null, toggle: (event) => {
    if (event.target.open) opened.add(key);
    else opened.delete(key);
  } }, element("summary", {}, start),
  parts.length > 2 ? element("ul", { class: "parts" }, parts.map((part) => element("li", {}, part)))
    : element("p", {}, words));
}

// Traffic

const formatMs = (value) => (value === null || value === undefined ? "none" : `${value.toFixed(1)}\u00a0ms`);

function drawFigures(traffic) {
  if (!traffic) return drawFigure("Traffic", "not known");
  const { minutes, predictions, alerts, request_only: bare } = traffic;
  const share = (count) => (predictions ? formatPercent(count / predictions, 1) : "none");
  return [
    drawFigure("Predictions", formatCount(predictions), `in the last ${minutes} minutes`),
    drawFigure("Alerts", share(alerts), countPredictions(alerts)),
    drawFigure("Request only", share(bare), countPredictions(bare)),
  ];
}

function drawFigure(term, value, note = "") {
  return element("div", {}, element("dt", {}, term), element("dd", { class: "value" }, value),
    element("dd", { class: "soft" }, note));
}

function drawLatency(kinds) {
  if (!kinds || kinds.every(({ requests }) => requests === 0)) return null;
  const head = ["Latency of", "Requests", "Median", "95\u00a0%", "99\u00a0%"];
  return element("table", { class: "numbers latency" },
    element("thead", {}, element("tr", {}, head.map((word) => element("th", { scope: "col" }, word)))),
    element("tbody", {}, kinds.map((kind, index) => element("tr", {},
      element("th", { scope: "row" }, index ? "lists" : `one ${words.entity}`, index && kind.requests
        ? element("span", { class: "hint" }, ` of ${formatCount(Math.round(kind.entities / kind.requests))}`) : null),
      element("td", {}, formatCount(kind.requests)),
      [kind.p50_ms, kind.p95_ms, kind.p99_ms].map((value) => element("td", {}, formatMs(value)))))));
}

// The service may leave out minutes without traffic. The chart needs every minute.
function fillMinutes({ minutes, by_minute: counted }) {
  const known = new Map(counted.map((entry) => [toMinute(entry.minute), entry]));
  const end = Math.max(toMinute(Date.now()), ...known.keys());
  return Array.from({ length: minutes }, (_, index) => {
    const minute = end - minutes + 1 + index;
    return { predictions: 0, alerts: 0, ...known.get(minute), minute: minute * 60000 };
  });
}

const toMinute = (time) => Math.floor(new Date(time).getTime() / 60000);

function drawTraffic(minutes) {
  if (minutes.every(({ predictions }) => predictions === 0)) {
    return element("p", { class: "empty" }, "No predictions in this time.");
  }
  const most = Math.max(...minutes.map(({ predictions }) => predictions));
  const total = minutes.reduce((sum, { predictions }) => sum + predictions, 0);
  const words = `Predictions per minute over ${minutes.length} minutes: ${formatCount(total)} in all, `
    + `at most ${formatCount(most)} in a minute, ${formatCount(minutes.at(-1).predictions)} in the last one.`;
  return element("figure", { class: "chart" },
    element("figcaption", {}, `Predictions per minute, at most ${formatCount(most)}. `,
      element("span", { class: "legend" }, "alerts")),
    drawMinutes(minutes, words),
    element("p", { class: "ends soft" },
      element("span", {}, formatClock(minutes[0].minute, "UTC")),
      element("span", {}, `${formatClock(minutes.at(-1).minute, "UTC")} UTC`)));
}

// The roles are spelled out because the narrow layout is a grid, which can hide a table's own roles.
const drawRow = (cells) => element("tr", { role: "row" }, cells.map((cell, index) => (index
  ? element("td", { role: "cell" }, cell) : element("th", { role: "rowheader", scope: "row" }, cell))));

const drawEmptyRow = (columns, words) =>
  element("tr", { role: "row" }, element("td", { role: "cell", colspan: columns, class: "soft" }, words));

function drawReleases(releases) {
  if (releases.length === 0) return drawEmptyRow(4, "No releases yet.");
  return releases.map((release) => drawRow([
    release.version, drawBadge(release.state), release.algorithm, nameTraining(release),
  ]));
}

function nameTraining({ algorithm, trained_from: from, trained_until: until }) {
  if (algorithm === "unknown") return "unknown";
  return `${formatDay(from, "UTC")} to ${formatDay(new Date(until) - 1, "UTC")}`;
}

function drawBadge(state) {
  const name = STATES.includes(state) ? state.replace(" ", "-") : "on-standby";
  return element("span", { class: `state ${name}` }, state);
}

function drawDecisions(decisions) {
  if (decisions.length === 0) return drawEmptyRow(4, "No decisions yet.");
  return decisions.map(({ decided_at: time, clock, kind, verdict, reason }) => drawRow([
    [formatTime(time, { dateStyle: "medium", timeStyle: "short" }, "UTC"),
      element("span", { class: "clock-name" }, clock === "feed" ? "feed's clock" : "real clock")],
    kind, element("strong", {}, verdict), fold(reason, `${time} ${kind} ${reason}`),
  ]));
}

function drawLinks(links) {
  const safe = Object.entries(links).filter(([, address]) => /^https?:\/\//.test(address));
  if (safe.length === 0) {
    return element("li", { class: "soft wide" }, "No tool is linked. ", element("code", {}, "make ui"),
      " starts MLflow, Prefect and Evidently, and their pages appear here.");
  }
  return safe.map(([name, address]) => element("li", {}, element("a", { href: address }, name),
    element("span", { class: "soft" }, address.replace(/^https?:\/\//, ""))));
}

find("pause").addEventListener("click", () => {
  paused = !paused;
  find("pause").setAttribute("aria-pressed", String(paused));
  find("updated").textContent = find("updated").textContent.replace("As of", "Paused at");
  refresh();
});
document.addEventListener("visibilitychange", refresh);
request("/v1/problem").then((told) => { ({ words } = told); }, () => null).finally(refresh);
