// The page for operators of the service. It polls the state of the service.
import { drawMinutes } from "/static/charts.js";
import {
  capitalize, element, find, formatClock, formatCount, formatDay, formatPercent, formatTime, request,
} from "/static/common.js";

const POLL_MS = 2000;
const STATES = ["live", "challenger", "rolled back", "on standby"];
const drawnData = new Map();
let timer = null;
let paused = false;
let unreachableSince = null;
let words = { entity: "entity", entities: "entities", positive: "positive" }; // until GET /v1/problem responds

const countPredictions = (count) => `${formatCount(count)} prediction${count === 1 ? "" : "s"}`;

async function refresh() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  const state = await request("/v1/ops").catch(showReachability);
  clearTimeout(timer);
  timer = setTimeout(refresh, POLL_MS);
  if (!state) return;
  showReachability(null);
  showState(state);
}

function showReachability(error) {
  const now = formatTime(Date.now(), { timeStyle: "medium" }, "UTC");
  if (!error) {
    unreachableSince = null;
    find("updated").textContent = paused ? `Paused at ${now} UTC` : `As of ${now} UTC`;
  } else unreachableSince ??= now;
  const reason = error?.status ? ` ${error.message}` : "";
  const words = error ? `Not reachable since ${unreachableSince} UTC. The data below are older.${reason}` : "";
  // The same text is not written again, because a screen reader would repeat it.
  if (find("reach").textContent !== words) find("reach").textContent = words;
  find("main").classList.toggle("stale", Boolean(error));
}

// Draws a part only where its data changed, so that focus and selection stay.
function update(id, data, draw) {
  const text = JSON.stringify(data);
  if (drawnData.get(id) === text) return;
  drawnData.set(id, text);
  find(id).replaceChildren(...[draw(data)].flat(Infinity).filter(Boolean));
}

function showState(state) {
  const { answering, ready, challenger, notes, monitored, traffic, releases, decisions, links } = state;
  const model = releases?.find(({ version }) => version === answering) ?? null;
  const stop = describeStop(monitored);
  update("answering", { answering, ready, challenger, model, stop }, drawAnswering);
  update("notes", notes ?? [], drawNotes);
  const diagnosis = links?.[DIAGNOSIS] ?? null;
  update("monitored", { monitored, requestedAt: state.retraining_asked_at, diagnosis }, drawMonitored);
  update("figures", traffic ?? null, drawFigures);
  update("latency", traffic ? [traffic.single, traffic.lists] : null, drawLatency);
  update("minutes", traffic ? fillMinutes(traffic) : [], drawTraffic);
  update("releases", releases ?? [], drawReleases);
  update("decisions", decisions ?? [], drawDecisions);
  update("links", links ?? {}, drawLinks);
}

// The reason why nothing is promoted although the service is ready; null if there is none.
function describeStop(monitored) {
  if (monitored?.alerts.some(({ tier }) => tier === 1)) return "tier 1 alert";
  return monitored?.policy?.action === "stop" ? "policy: stop" : null;
}

function drawAnswering({ answering, ready, challenger, model, stop }) {
  const trained = model ? `${model.algorithm}, trained on ${nameTraining(model)}` : null;
  const challengerText = challenger
    ? `Version ${challenger.version} is the challenger and serves ${formatPercent(challenger.share, 1)} of requests.`
    : "No challenger.";
  const words = `${ready ? "ready" : "not ready"}${stop ? `, ${stop}` : ""}`;
  return [
    element("p", { class: "version" }, answering ? `Version ${answering}` : "No model is live", " ",
      element("span", { class: ready && !stop ? "state live" : "state rolled-back" }, words)),
    trained && element("p", {}, trained),
    element("p", {}, challengerText),
  ];
}

function drawNotes(notes) {
  if (notes.length === 0) return element("p", { class: "soft" }, "No problems.");
  return element("ul", { class: "flags" }, notes.map((note) => element("li", {}, capitalize(note))));
}

// Monitoring

const DIAGNOSIS = "Reports: diagnosis"; // its name among the links of `make ui`
const TIERS = { 1: "Tier 1, stop", 2: "Tier 2, retrain", 3: "Tier 3, report" };

function drawMonitored({ monitored, requestedAt, diagnosis }) {
  if (!monitored) {
    return element("p", { class: "empty" }, "The monitor has not run yet: ",
      element("code", {}, "make monitor"), " evaluates yesterday, ", element("code", {}, "make orchestrate"),
      " runs it every day.");
  }
  const { day, alerts, why, quality, policy } = monitored;
  return [
    element("p", { class: "soft" }, `Last monitored day: ${formatDay(day, "UTC")}, on the feed's clock.`),
    element("div", { class: "panels monitoring" },
      element("div", {}, element("h3", {}, "Alerts"), drawAlerts(alerts), drawWhy(why, diagnosis)),
      element("div", {}, element("h3", {}, "Policy"), drawPolicy(policy, day, requestedAt))),
    element("h3", {}, "Model performance"), drawQuality(quality),
  ];
}

function drawAlerts(alerts) {
  if (alerts.length === 0) return element("p", {}, "No alert.");
  return element("ul", { class: "alerts" }, alerts.map(({ tier, name, value, above, reason }) =>
    element("li", { class: `tier-${tier}` }, element("strong", {}, TIERS[tier]),
      element("p", {}, capitalize(reason)),
      element("p", { class: "soft" }, `${name} ${formatValue(value)}, limit ${formatValue(above)}`))));
}

// The first sentence of the diagnosis, and a link to all of it.
function drawWhy(why, diagnosis) {
  if (!why) return null;
  const page = diagnosis && /^https?:\/\//.test(diagnosis)
    ? element("a", { href: diagnosis }, "the last diagnosis") : element("code", {}, "make diagnose");
  return [element("h3", {}, "Why"), fold(capitalize(why), "why"), element("p", { class: "soft" }, "Details: ", page)];
}

const formatValue = (value) => String(Number(value.toPrecision(4)));

function drawPolicy(policy, day, requestedAt) {
  if (!policy) return element("p", {}, "No decision yet.");
  const when = policy.day === day ? null : element("p", { class: "soft" }, `Decision for ${formatDay(policy.day, "UTC")}.`);
  const pending = requestedAt
    ? element("p", {}, `A retraining requested on ${formatDay(requestedAt, "UTC")} has not finished yet.`) : null;
  return [element("p", { class: "finding" }, capitalize(policy.action)), fold(policy.reason, "policy"), when, pending];
}

function drawQuality(quality) {
  if (!quality) return element("p", { class: "soft" }, "Not measured on that day.");
  const { entities, labelled, auc, ece, cost_per_1000: cost, positive_rate: rate, predicted_rate: predicted } = quality;
  const period = `from ${formatDay(quality.since, "UTC")} to ${formatDay(quality.until, "UTC")}`;
  const sentence = entities === 0 ? `No predictions for ${words.entities} ${period}.`
    : labelled === 0 ? `Predictions for ${formatCount(entities)} ${words.entities} ${period}; no outcome is known yet.`
      : `Predictions for ${formatCount(entities)} ${words.entities} ${period}; ${formatCount(labelled)} have a known outcome.`;
  const fixed = (value, digits) => (value === null ? "none" : value.toFixed(digits));
  const gap = labelled ? `${formatPercent(predicted, 1)} predicted, ${formatPercent(rate, 1)} ${words.positive}` : "";
  return [element("p", {}, sentence), element("dl", { class: "figures" },
    drawFigure("AUC", fixed(auc, 3), auc === null ? "" : "0.5 is chance, 1 is perfect"),
    drawFigure("Calibration error", fixed(ece, 3), gap),
    drawFigure(`Cost per 1,000 ${words.entities}`, fixed(cost, 0), cost === null ? "" : "false negatives and false alarms"),
    drawFigure("Coverage", entities ? formatPercent(quality.coverage, 1) : "none", "predictions with a known outcome"))];
}

// A long text is collapsed. An expanded one stays open when the page redraws it.
const MAX_CHARACTERS = 160;
const expanded = new Set();

function fold(words, key) {
  if (words.length <= MAX_CHARACTERS) return element("p", {}, words);
  const start = `${words.slice(0, MAX_CHARACTERS - 40).replace(/\s+\S*$/, "")} …`;
  const parts = words.split("; ");
  return element("details", { open: expanded.has(key) ? "" : null, toggle: (event) => {
    if (event.target.open) expanded.add(key);
    else expanded.delete(key);
  } }, element("summary", {}, start),
  parts.length > 2 ? element("ul", { class: "parts" }, parts.map((part) => element("li", {}, part)))
    : element("p", {}, words));
}

// Traffic

const formatMs = (value) => (value === null || value === undefined ? "none" : `${value.toFixed(1)}\u00a0ms`);

function drawFigures(traffic) {
  if (!traffic) return drawFigure("Traffic", "unknown");
  const { minutes, predictions, alerts, request_only: requestOnly } = traffic;
  const share = (count) => (predictions ? formatPercent(count / predictions, 1) : "none");
  return [
    drawFigure("Predictions", formatCount(predictions), `in the last ${minutes} minutes`),
    drawFigure("Alerts", share(alerts), countPredictions(alerts)),
    drawFigure("Request only", share(requestOnly), countPredictions(requestOnly)),
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

// The response omits minutes without traffic. The chart needs every minute.
function fillMinutes({ minutes, by_minute: entries }) {
  const byMinute = new Map(entries.map((entry) => [toMinute(entry.minute), entry]));
  const end = Math.max(toMinute(Date.now()), ...byMinute.keys());
  return Array.from({ length: minutes }, (_, index) => {
    const minute = end - minutes + 1 + index;
    return { predictions: 0, alerts: 0, ...byMinute.get(minute), minute: minute * 60000 };
  });
}

const toMinute = (time) => Math.floor(new Date(time).getTime() / 60000);

function drawTraffic(minutes) {
  if (minutes.every(({ predictions }) => predictions === 0)) {
    return element("p", { class: "empty" }, "No predictions in this period.");
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

// Explicit roles, because the narrow layout changes `display`, which can remove a table's implicit roles.
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
request("/v1/problem").then((info) => { ({ words } = info); }, () => null).finally(refresh);
