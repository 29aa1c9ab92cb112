// The page where a reader chooses a flight and gets the answer for it.
import { drawGauge, drawReasons, drawTrackRecord } from "/static/charts.js";
import {
  Problem, element, find, formatClock, formatCount, formatDay, formatTime, request, showProblem, toHundred,
} from "/static/common.js";

const INTERESTING_DAY = "2013-11-27";
const LIMIT = 50;
const CARRIERS = {
  "9E": "Endeavor", AA: "American", AS: "Alaska", B6: "JetBlue", DL: "Delta", EV: "ExpressJet",
  F9: "Frontier", FL: "AirTran", HA: "Hawaiian", MQ: "Envoy", OO: "SkyWest", UA: "United",
  US: "US Airways", VX: "Virgin America", WN: "Southwest", YV: "Mesa",
};
const FLAGS = {
  schedule_only: "The answer rests on the schedule alone, without recent delays.",
  unknown_carrier: "The model saw no flight of this carrier in training.",
  unknown_dest: "The model saw no flight to this destination in training.",
  store_unavailable: "The store of recent delays did not answer.",
};
const form = find("search");
let choice = 0;
let chosenId = null;
let searches = 0;

const nameFlight = (flight) => `${flight.carrier} ${flight.flight_number}`;
const isoDay = (time) => formatTime(time, { year: "numeric", month: "2-digit", day: "2-digit" })
  .split("/").reverse().join("-");

// Search

async function start() {
  try {
    const { days } = await request("/v1/flights?limit=1");
    if (!days) return showNothing();
    setDays(days);
  } catch (problem) {
    find("count").textContent = "";
    return showProblem(find("board"), problem, start);
  }
  await followLink();
}

function setDays([first, last]) {
  const inside = first <= INTERESTING_DAY && INTERESTING_DAY <= last;
  Object.assign(form.day, { min: first, max: last, value: inside ? INTERESTING_DAY : first });
  const hint = inside ? " 27\u00a0November is the day before Thanksgiving." : "";
  find("day-hint").textContent = `${formatDay(first, "UTC")} to ${formatDay(last, "UTC")}.${hint}`;
}

function showNothing() {
  find("count").textContent = "";
  find("board").replaceChildren(element("p", { class: "empty" },
    "The service has no flights to show yet. Run ", element("code", {}, "make train"),
    " and load this page again."));
}

const linkTo = (flight) => `/?flight=${encodeURIComponent(flight.flight_id)}`;

function readLink() {
  const query = new URLSearchParams(location.search).get("flight");
  const id = query ?? new URLSearchParams(location.hash.slice(1)).get("flight");
  const parts = id?.match(/^([A-Z0-9]{2})(\d+)-([A-Z]{3})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)Z$/);
  if (!parts) return { id };
  const [, , number, origin, year, month, day, hour, minute] = parts;
  const time = `${year}-${month}-${day}T${hour}:${minute}:00Z`;
  return Number.isNaN(Date.parse(time)) ? { id } : { id, number, origin, time };
}

async function followLink() {
  const { id, number, origin, time } = readLink();
  if (time) {
    form.day.value = isoDay(time);
    form.origin.value = origin;
    form.number.value = Number(number);
    form.hour.value = form.dest.value = "";
  }
  const flights = await searchFlights(followLink);
  if (!id || !flights) return;
  chosenId = id;
  const flight = flights.find((candidate) => candidate.flight_id === id);
  if (flight) {
    history.replaceState({ flight }, "", linkTo(flight));
    await chooseFlight(flight);
  } else showProblem(find("answer"), new Problem(404, `The flight ${id} is not among the flights here.`));
}

async function searchFlights(retry = searchFlights) {
  const search = ++searches;
  const fields = [...new FormData(form)].map(([name, value]) => [name, value.trim().toUpperCase()]);
  const query = new URLSearchParams([...fields.filter(([, value]) => value), ["limit", LIMIT]]);
  find("count").textContent = "Looking for flights …";
  try {
    const { flights, more } = await request(`/v1/flights?${query}`);
    if (search !== searches) return null;
    showFlights(flights, more);
    return flights;
  } catch (problem) {
    if (search !== searches) return null;
    find("count").textContent = "";
    showProblem(find("board"), problem, retry);
    return null;
  }
}

function showFlights(flights, more) {
  const count = flights.length === 1 ? "1 flight." : `${formatCount(flights.length)} flights.`;
  const first = `The first ${flights.length} flights. Choose an hour or an airport to see others.`;
  const none = "No flight fits. Leave a field empty to see more.";
  find("count").textContent = flights.length === 0 ? none : more ? first : count;
  const head = element("div", { class: "row head", "aria-hidden": "true" },
    ["Time", "Flight", "From", "To"].map((word) => element("span", {}, word)));
  const list = element("ul", { "aria-label": "Flights found" }, flights.map(drawRow));
  find("board").replaceChildren(...(flights.length ? [element("div", { class: "board" }, head, list)] : []));
}

function drawRow(flight) {
  const unseen = (words) => element("span", { class: "unseen" }, words);
  return element("li", {}, element("button", {
    class: "row", type: "button", "data-flight": flight.flight_id, click: () => openFlight(flight),
  },
  element("span", { class: "clock" }, formatClock(flight.scheduled_departure)),
  element("span", {}, nameFlight(flight)),
  element("span", {}, unseen("from "), flight.origin),
  element("span", {}, unseen("to "), flight.dest)));
}

// Answer

function openFlight(flight) {
  history.pushState({ flight }, "", linkTo(flight));
  if (matchMedia("(max-width: 60rem)").matches) find("result").scrollIntoView();
  return chooseFlight(flight);
}

async function chooseFlight(flight) {
  const mine = ++choice;
  chosenId = flight.flight_id;
  markRow(flight.flight_id);
  document.title = `${nameFlight(flight)}, ${flight.origin} to ${flight.dest} · ontime`;
  find("spoken").textContent = `Asking the model about ${nameFlight(flight)}.`;
  find("answer").replaceChildren(...drawTitle(flight), element("p", { class: "empty" }, "Asking the model …"));
  const { flight_id: id, ...schedule } = flight;
  try {
    const [prediction, model, outcome] = await Promise.all([
      request("/v1/predictions?explain=true", schedule), request("/v1/model").catch(() => null),
      askOutcome(id),
    ]);
    if (mine === choice) showAnswer(flight, prediction, model, outcome);
  } catch (problem) {
    if (mine !== choice) return;
    find("spoken").textContent = "";
    showProblem(find("answer"), problem, () => chooseFlight(flight));
    find("answer").prepend(...drawTitle(flight));
  }
}

function markRow(id) {
  for (const row of find("board").querySelectorAll("button.row")) {
    if (row.dataset.flight === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

async function askOutcome(id) {
  try {
    const { late } = await request(`/v1/outcomes/${encodeURIComponent(id)}`);
    return late ? ["late", "It arrived 15 minutes late or more."] : ["prompt", "It arrived on time."];
  } catch (problem) {
    return ["open", problem.status === 404 ? "Not known yet." : `Not known: ${problem.message}`];
  }
}

function drawTitle(flight) {
  const { carrier, scheduled_departure: leaves, scheduled_arrival: arrives } = flight;
  const next = isoDay(arrives) > isoDay(leaves) ? " the next day" : "";
  const day = formatTime(leaves, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  return [
    element("h2", { class: "flight-title" }, element("span", {}, nameFlight(flight)), " ",
      element("span", { class: "route" }, `${flight.origin} to ${flight.dest}`)),
    element("p", { class: "soft" }, `${CARRIERS[carrier] ?? carrier}, ${day}. Leaves ${formatClock(leaves)}, `
      + `arrives ${formatClock(arrives)}${next}, New York time. ${formatCount(flight.distance_miles)}\u00a0miles.`),
  ];
}

// The fewest digits with which the shown chance does not contradict the shown threshold.
function chooseDigits(share, threshold, alert) {
  const fewest = share < 0.01 || share > 0.99 ? 1 : 0;
  if (threshold === null) return fewest;
  const limit = Number(toHundred(threshold, 1));
  return [0, 1, 2].find((digits) => digits >= fewest && Number(toHundred(share, digits)) >= limit === alert) ?? 3;
}

function describeAnswer({ probability_late: share, usual_rate: usual, alert }, threshold) {
  const digits = chooseDigits(share, threshold, alert);
  const count = toHundred(share, digits);
  const verb = count === "1" ? "arrives" : "arrive";
  const limit = threshold === null ? "." : `: the service gives one from ${toHundred(threshold, 1)} in 100.`;
  return {
    digits, limit,
    claim: `${count} in 100 flights like this ${verb} late.`,
    usual: `Usual: ${toHundred(usual)} in 100.`,
    verdict: alert ? "Alert" : "No alert",
  };
}

function showAnswer(flight, prediction, model, outcome) {
  const threshold = model?.threshold ?? null;
  const words = describeAnswer(prediction, threshold);
  const spoken = `${words.claim} ${words.usual} ${words.verdict}${words.limit}`;
  const { probability_late: share, usual_rate: usual, alert } = prediction;
  const gauge = drawGauge({ share, usual, threshold, alert, digits: words.digits, words: spoken });
  const verdict = element("div", {},
    element("p", { class: "claim" }, words.claim),
    element("p", {}, words.usual, " ", element("strong", { class: alert ? "alert" : "" }, words.verdict), words.limit),
    element("p", { class: `outcome ${outcome[0]}` }, element("span", {}, "What happened"), outcome[1]));
  find("answer").replaceChildren(element("article", {}, drawTitle(flight),
    element("div", { class: "verdict" }, gauge, verdict), drawFlags(prediction.flags),
    drawReasons(prediction), drawTrackRecord(prediction, model), drawFacts(prediction, model)));
  find("spoken").textContent = `${nameFlight(flight)}: ${spoken} What happened: ${outcome[1]}`;
}

function drawFlags(flags = []) {
  const words = flags.map((flag) => element("li", {}, FLAGS[flag] ?? flag.replaceAll("_", " ")));
  return words.length ? element("ul", { class: "flags", "aria-label": "Limits of this answer" }, words) : null;
}

function drawFacts({ model_version: version, features_as_of: time, prediction_id: id }, model) {
  const algorithm = model?.version === version ? `, ${model.algorithm}` : "";
  const known = time ? `what was known at ${formatClock(time)} on ${formatDay(time)}, New York time`
    : "the schedule alone";
  const facts = [["Model", `version ${version}${algorithm}`], ["Based on", known], ["Prediction", id]];
  return element("dl", { class: "facts" }, facts.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

for (let hour = 0; hour < 24; hour += 1) {
  const clock = String(hour).padStart(2, "0");
  form.hour.append(element("option", { value: hour }, `${clock}:00 to ${clock}:59`));
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  searchFlights();
});
addEventListener("popstate", ({ state }) => {
  if (state?.flight) chooseFlight(state.flight);
  // A link inside the page, such as the skip link, comes here too and must not reload it.
  else if ((readLink().id ?? null) !== chosenId) location.reload();
});
start();
