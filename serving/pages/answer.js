// The result for one entity: probability, verdict, outcome, reasons, track record.
import { drawGauge, drawReasons, drawTrackRecord } from "/static/charts.js";
import { capitalize, element, find, formatClock, formatDay, formatSpan, toHundred } from "/static/common.js";

export function drawTitle({ title, subtitle, details }) {
  return [
    element("h2", { class: "entity-title" }, element("span", {}, title), " ",
      element("span", { class: "route" }, subtitle)),
    element("p", { class: "soft" }, details),
  ];
}

// The outcome as a CSS class and a sentence.
function describeOutcome({ label, words: sentence, failure }, { without_label: without }) {
  const missing = without ? `Not known yet, or never: ${without} have no outcome.` : "Not known yet.";
  if (failure) return ["open", failure.status === 404 ? missing : `Not available: ${failure.message}`];
  return [label ? "positive" : "negative", sentence];
}

// The fewest digits with which the displayed probability does not contradict the displayed threshold.
function chooseDigits(share, threshold, alert) {
  const fewest = share < 0.01 || share > 0.99 ? 1 : 0;
  if (threshold === null) return fewest;
  const limit = Number(toHundred(threshold, 1));
  return [0, 1, 2].find((digits) => digits >= fewest && Number(toHundred(share, digits)) >= limit === alert) ?? 3;
}

// An alert pays from the share on at which its false alarms cost as much as the misses that it prevents.
const formatRatio = (threshold) => String(Number(((1 - threshold) / threshold).toFixed(1)));

function describePrediction({ probability: share, base_rate: base, alert, flags }, threshold, words) {
  const digits = chooseDigits(share, threshold, alert);
  const count = toHundred(share, digits);
  const requestOnly = flags.includes("request_only");
  const limit = threshold === null ? "."
    : `: alerts begin at ${toHundred(threshold, 1)} in 100; they pay if missing a ${words.positive} ${words.entity} costs `
      + `${formatRatio(threshold)} times as much as a false alarm.`;
  const onlyRequest = threshold === null ? "." : `, because ${count} in 100 reaches the threshold of `
    + `${toHundred(threshold, 1)} in 100. It is not specific to this ${words.entity}.`;
  const verb = count === "1" ? words.is_positive : words.are_positive;
  return {
    digits, explanation: requestOnly && alert ? onlyRequest : limit,
    claim: `${count} in 100 ${words.entities} ${requestOnly ? words.with_only_request : "like this"} ${verb}.`,
    base: `Of all ${words.entities}, ${toHundred(base)} in 100 ${words.are_positive}: the base rate.`,
    verdict: alert ? "Alert" : "No alert",
  };
}

export function showAnswer(entity, title, prediction, model, actual, words) {
  const threshold = model?.threshold ?? null;
  const text = describePrediction(prediction, threshold, words);
  const outcome = describeOutcome(actual, words);
  const limitations = prediction.flags.map((flag) => describeFlag(flag, entity, model, words));
  const spoken = [...limitations, text.claim, text.base, `${text.verdict}${text.explanation}`].join(" ");
  const { probability: share, base_rate: base, alert } = prediction;
  const gauge = drawGauge({
    share, base, threshold, alert, digits: text.digits, words: spoken, unit: `in 100 ${words.positive}`,
  });
  const verdict = element("div", {},
    element("p", { class: "claim" }, text.claim),
    element("p", { class: "base" }, text.base),
    element("p", {}, element("strong", { class: alert ? "alert" : "" }, text.verdict), text.explanation),
    element("p", { class: `outcome ${outcome[0]}` }, element("span", {}, "What happened"), outcome[1]));
  const lead = prediction.features_as_of && model?.lead_minutes ? formatSpan(model.lead_minutes) : null;
  find("answer").replaceChildren(element("article", {}, title, drawFlags(limitations),
    element("div", { class: "verdict" }, gauge, verdict),
    drawReasons(prediction, text.digits, lead, words),
    drawTrackRecord(prediction, model, words), drawFacts(prediction, model)));
  find("spoken").textContent = `${entity.title}: ${spoken} What happened: ${outcome[1]}`;
}

function describeFlag(flag, entity, model, words) {
  if (flag in words) return words[flag];
  const [kind, name] = flag.split(":");
  if (kind !== "unknown_category") return capitalize(flag.replaceAll("_", " "));
  const value = entity.request[name];
  const displayName = model?.names?.[name]?.[value];
  const meaning = model?.features.find((feature) => feature.name === name)?.meaning ?? name;
  // A category from the online store is not in the request.
  if (value === undefined) return `The training data do not contain this ${meaning}.`;
  return `The training data do not contain this ${meaning}: ${displayName ? `${displayName} (${value})` : value}.`;
}

// Before everything else: a reader of the probability should know its limitations.
function drawFlags(limitations) {
  const items = limitations.map((each) => element("li", {}, each));
  return items.length ? element("ul", { class: "flags", "aria-label": "Limitations of this prediction" }, items) : null;
}

function drawFacts({ model_version: version, features_as_of: time, prediction_id: id }, model) {
  const algorithm = model?.version === version ? `, ${model.algorithm}` : "";
  const source = time ? `data as of ${formatClock(time)} on ${formatDay(time)}` : "the request only";
  const facts = [["Model", `version ${version}${algorithm}`], ["Based on", source], ["Prediction", id]];
  return element("dl", { class: "facts" }, facts.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}
