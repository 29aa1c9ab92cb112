// The page for the people who run the service. It asks for the state again and again.
import { drawMinutes } from "/static/charts.js";
import {
  element, find, formatClock, formatCount, formatPercent, formatTime, request,
} from "/static/common.js";

const PAUSE_MS = 2000;
const STATES = ["answers", "challenger", "rolled back", "stands by"];
const shown = new Map();
let timer = null;
let paused = false;
let unreachable = null;

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
  find(id).replaceChildren(...[draw(data)].flat().filter(Boolean));
}

function showState({ answering, ready, challenger, notes, traffic, releases, decisions, links }) {
  const model = releases?.find(({ version }) => version === answering) ?? null;
  update("answering", { answering, ready, challenger, model }, drawAnswering);
  update("notes", notes ?? [], drawNotes);
  update("figures", traffic ?? null, drawFigures);
  update("minutes", traffic ? fillMinutes(traffic) : [], drawTraffic);
  update("releases", releases ?? [], drawReleases);
  update("decisions", decisions ?? [], drawDecisions);
  update("links", links ?? {}, drawLinks);
}

function drawAnswering({ answering, ready, challenger, model }) {
  const trained = model
    ? `${model.algorithm}, trained from ${model.trained_from} until ${model.trained_until}` : null;
  const rival = challenger
    ? `Version ${challenger.version} is the challenger and answers ${formatPercent(challenger.share, 1)} of requests.`
    : "No challenger.";
  return [
    element("p", { class: "version" }, answering ? `Version ${answering}` : "No model answers", " ",
      element("span", { class: ready ? "state answers" : "state rolled-back" }, ready ? "ready" : "not ready")),
    trained && element("p", {}, trained),
    element("p", {}, rival),
  ];
}

function drawNotes(notes) {
  if (notes.length === 0) return element("p", { class: "soft" }, "Nothing to note.");
  return element("ul", { class: "flags" }, notes.map((note) => element("li", {}, note)));
}

const formatMs = (value) => (value === null || value === undefined ? "none" : `${value.toFixed(1)}\u00a0ms`);

function drawFigures(traffic) {
  if (!traffic) return drawFigure("Traffic", "not known");
  const { minutes, predictions, alerts, schedule_only: bare, p50_ms: p50, p95_ms: p95, p99_ms: p99 } = traffic;
  const note = (words) => (predictions ? words : "");
  const share = (count) => (predictions ? formatPercent(count / predictions, 1) : "none");
  return [
    drawFigure("Predictions", formatCount(predictions), `in the last ${minutes} minutes`),
    drawFigure("Alerts", share(alerts), `${formatCount(alerts)} predictions`),
    drawFigure("Schedule only", share(bare), `${formatCount(bare)} predictions`),
    drawFigure("Median time", formatMs(p50), note("half are faster")),
    drawFigure("95th percentile", formatMs(p95), note("19 of 20 are faster")),
    drawFigure("99th percentile", formatMs(p99), note("99 of 100 are faster")),
  ];
}

function drawFigure(term, value, note = "") {
  return element("div", {}, element("dt", {}, term), element("dd", { class: "value" }, value),
    element("dd", { class: "soft" }, note));
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
  if (releases.length === 0) return drawEmptyRow(5, "No releases yet.");
  return releases.map((release) => drawRow([
    release.version, drawBadge(release.state), release.algorithm, release.trained_from, release.trained_until,
  ]));
}

function drawBadge(state) {
  const name = STATES.includes(state) ? state.replace(" ", "-") : "stands-by";
  return element("span", { class: `state ${name}` }, state);
}

function drawDecisions(decisions) {
  if (decisions.length === 0) return drawEmptyRow(4, "No decisions yet.");
  return decisions.map(({ decided_at: time, kind, verdict, reason }) => drawRow([
    formatTime(time, { dateStyle: "medium", timeStyle: "short" }, "UTC"), kind,
    element("strong", {}, verdict), reason,
  ]));
}

function drawLinks(links) {
  const safe = Object.entries(links).filter(([, address]) => /^https?:\/\//.test(address));
  if (safe.length === 0) return element("li", { class: "soft" }, "No tools are linked.");
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
refresh();
