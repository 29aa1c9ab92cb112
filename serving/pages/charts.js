// Charts. Each also has its numbers as text, in a label or a table.
import { capitalize, element, formatCount, formatDay, formatPercent, toHundred } from "/static/common.js";

const RADIUS = 150;

function place(share, radius) {
  const angle = Math.PI * (1 - share);
  return [radius * Math.cos(angle), -radius * Math.sin(angle)].map((value) => value.toFixed(2));
}

function traceArc(from, to) {
  return `M ${place(from, RADIUS).join(" ")} A ${RADIUS} ${RADIUS} 0 0 1 ${place(to, RADIUS).join(" ")}`;
}

function drawMark(name, share, label, from, to) {
  const [x1, y1] = place(share, from);
  const [x2, y2] = place(share, to);
  const outside = to > RADIUS;
  const [x, y] = place(share, outside ? to + 7 : to - 8).map(Number);
  const left = share < 0.47, right = share > 0.53;
  const anchor = !left && !right ? "middle" : left === outside ? "end" : "start";
  const raise = outside ? -13 : 4;
  return element("g", { class: `mark ${name}` }, element("line", { x1, y1, x2, y2 }),
    element("text", { x, y: y + raise, "text-anchor": anchor }, label),
    element("text", { x, y: y + raise + 17, "text-anchor": anchor }, formatPercent(share, outside ? 1 : 0)));
}

export function drawGauge({ share, base, threshold, alert, digits, words, unit }) {
  const edge = threshold ?? 1;
  return element("svg", { class: `gauge ${alert ? "alerting" : ""}`, viewBox: "-205 -192 410 220",
    role: "img", "aria-label": words },
  element("path", { class: "track", d: traceArc(0, edge) }),
  edge < 1 ? element("path", { class: "track beyond", d: traceArc(edge, 1) }) : null,
  element("path", { class: "value", d: traceArc(0, Math.max(share, 0.004)), pathLength: 1 }),
  drawMark("base", base, "base rate", RADIUS + 11, RADIUS - 19),
  threshold === null ? null : drawMark("threshold", threshold, "alert from", RADIUS - 11, RADIUS + 19),
  element("text", { class: "reading", x: 0, y: -14, "text-anchor": "middle" }, toHundred(share, digits)),
  element("text", { class: "unit", x: 0, y: 12, "text-anchor": "middle" }, unit),
  element("text", { x: -RADIUS, y: 20, "text-anchor": "middle" }, "0"),
  element("text", { x: RADIUS, y: 20, "text-anchor": "middle" }, "100"));
}

function drawRecord(bins, chosen, words) {
  const dots = bins.filter((bin) => bin.entities > 0).map((bin) => element("circle", {
    class: bin === chosen ? "dot chosen" : "dot", r: bin === chosen ? 6 : 4,
    cx: 100 * (bin.low + bin.high), cy: 100 * (1 - bin.positives / bin.entities),
  }));
  return element("svg", { class: "record", viewBox: "-34 -10 244 150", role: "img",
    "aria-label": `Share of ${words.entities} that were ${words.positive}, by predicted probability. The table has the numbers.` },
  element("path", { class: "axis", d: "M 0 0 V 100 H 200" }),
  element("path", { class: "ideal", d: "M 0 100 L 200 0" }), dots,
  ["0", "50", "100"].map((label, index) => [
    element("text", { x: 100 * index, y: 116, "text-anchor": "middle" }, label),
    element("text", { x: -6, y: 104 - 50 * index, "text-anchor": "end" }, label)]),
  element("text", { x: 100, y: 134, "text-anchor": "middle" }, "predicted, %"),
  element("text", { x: 8, y: 2 }, `${words.positive}, %`));
}

export function drawMinutes(minutes, words) {
  const top = Math.max(1, ...minutes.map(({ predictions }) => predictions));
  const width = 600 / minutes.length;
  const bars = minutes.map(({ predictions, alerts }, index) => [["bar", predictions], ["bar alerts", alerts]]
    .map(([name, count]) => element("rect", { class: name, x: (index * width).toFixed(2),
      width: (width * 0.78).toFixed(2), y: 100 - 100 * count / top, height: 100 * count / top })));
  return element("svg", { class: "minutes", viewBox: "0 0 600 100", preserveAspectRatio: "none",
    role: "img", "aria-label": words }, bars, element("path", { class: "axis", d: "M 0 100 H 600" }));
}

export function drawReasons({ reasons, base_rate: base, probability: share }, digits, lead, words) {
  const title = element("h3", {}, "Reasons for this probability");
  if (!reasons?.features) {
    return [title, element("p", { class: "soft" },
      reasons?.why ? `No reasons: ${reasons.why}.` : "No reasons.")];
  }
  const { scale } = reasons;
  const others = { words: "everything else together", [scale]: reasons[`others_${scale}`] };
  const items = [...reasons.features, others];
  const least = scale === "log_odds" ? 0.1 : 0.02;
  const widest = Math.max(least, ...items.map((item) => Math.abs(item[scale])));
  const asOf = lead ? `As of ${lead} before the ${words.event}. ` : "";
  const multiply = scale === "log_odds" ? " Each multiplies the odds." : "";
  return [title, element("p", { class: "soft" }, `${asOf}This is what the model used; it need not be the cause.${multiply}`),
    element("p", { class: "ends" }, element("span", {}, `All ${words.entities}, the base rate`),
      element("span", {}, `${toHundred(base)} in 100`)),
    element("ol", { class: "reasons" }, items.map((item) => drawReason(item.words, item[scale], scale, widest))),
    element("p", { class: "ends total" }, element("span", {}, `This ${words.entity}`),
      element("span", {}, `${toHundred(share, digits)} in 100`))];
}

function drawReason(words, added, scale, widest) {
  const width = 100 * Math.abs(added) / widest;
  const effect = added < 0 ? "lowers" : "raises";
  const size = scale === "log_odds" ? `odds × ${Math.exp(added).toFixed(2)}`
    : `by ${(100 * Math.abs(added)).toFixed(1)} in 100`;
  return element("li", {}, element("span", {}, words),
    element("svg", { class: "effect", viewBox: "-101 0 202 14", preserveAspectRatio: "none", "aria-hidden": "true" },
      element("rect", { class: effect, x: added < 0 ? -width : 0, y: 2, width, height: 10 }),
      element("line", { x1: 0, x2: 0, y1: 0, y2: 14 })),
    element("span", { class: "times" }, `${effect} it${describeSize(Math.abs(added), scale)}`,
      element("span", { class: "small" }, size)));
}

// "a lot": odds × 1.65 or 10 in 100 and more; "a little": less than odds × 1.2 or 4 in 100.
const LARGE = { log_odds: 0.5, probability: 0.1 };
const SMALL = { log_odds: 0.18, probability: 0.04 };
const describeSize = (size, scale) => (size >= LARGE[scale] ? " a lot" : size < SMALL[scale] ? " a little" : "");

const nameBin = ({ low, high }) => `${toHundred(low, 1)} to ${formatPercent(high, 1)}`;

function drawBins(bins, words) {
  const head = ["Predicted", capitalize(words.entities), capitalize(words.positive)].map((word) => element("th", { scope: "col" }, word));
  const rows = bins.map((bin) => element("tr", {}, element("th", { scope: "row" }, nameBin(bin)),
    element("td", {}, formatCount(bin.entities)),
    element("td", {}, bin.entities ? formatPercent(bin.positives / bin.entities) : "none")));
  return element("details", {}, element("summary", {}, "The numbers in a table"),
    element("table", { class: "numbers" }, element("thead", {}, element("tr", {}, head)),
      element("tbody", {}, rows)));
}

// Track record

export function drawTrackRecord({ probability: share, model_version: version }, model, words) {
  const title = element("h3", {}, "Track record");
  const record = model?.track_record;
  if (!record || model.version !== version) {
    return [title, element("p", { class: "soft" }, `There is no track record for version ${version}.`)];
  }
  const { bins, begin, until } = record;
  const chosen = bins.find(({ high }) => share < high) ?? bins.at(-1);
  const note = model.trained_until <= begin ? ` The model was not trained on these ${words.entities}.` : "";
  const lastDay = formatDay(new Date(until) - 1, "UTC");
  return [title, element("div", { class: "track-record" }, element("div", {},
    element("p", { class: "finding" }, describeBin(chosen, words)),
    element("p", {}, describeAlerts(bins, model.threshold, words)),
    element("p", { class: "soft" }, `From ${formatDay(begin, "UTC")} to ${lastDay}.${note}`)),
  drawRecord(bins, chosen, words)), drawBins(bins, words)];
}

function describeBin(bin, words) {
  if (bin.entities === 0) return `No ${words.entity} was predicted at ${nameBin(bin)}.`;
  return `Of ${formatCount(bin.entities)} ${words.entities} predicted at ${nameBin(bin)}, `
    + `${formatPercent(bin.positives / bin.entities)} were ${words.positive}.`;
}

function describeAlerts(bins, threshold, words) {
  const above = bins.filter(({ low }) => low >= threshold - 1e-9);
  const [entities, positives] = ["entities", "positives"].map((name) => above.reduce((sum, bin) => sum + bin[name], 0));
  if (entities === 0) return `No ${words.entity} got an alert.`;
  const edge = above[0].low;
  const what = edge - threshold < 1e-6 ? "alerts" : `${words.entities} predicted at ${formatPercent(edge, 1)} or more`;
  return `Of ${formatCount(entities)} ${what}, ${formatPercent(positives / entities)} were ${words.positive}.`;
}
