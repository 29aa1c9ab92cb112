// The page where a reader chooses a flight and gets the answer for it.
import { drawGauge, drawReasons, drawTrackRecord } from "/static/charts.js";
import {
  Problem, element, find, formatClock, formatCount, formatDay, formatSpan, formatTime, request, showProblem, toHundred,
} from "/static/common.js";

const EXAMPLE_TIME = "2013-11-27T23:00:00Z"; // the evening before Thanksgiving
const LIMIT = 50;
const FLAGS = {
  schedule_only: () => "Nothing is known about this flight but its timetable: no weather, no recent delays, no aircraft.",
  unknown_carrier: ({ carrier }) => `The model has never seen a flight of ${nameCarrier(carrier)}.`,
  unknown_dest: ({ dest }) => `The model has never seen a flight to ${nameAirport(dest)}.`,
  store_unavailable: () => "The database of recent delays and weather did not answer.",
};
const form = find("search");
let names = { carriers: {}, airports: {} };
let choice = 0;
let chosenId = null;
let searches = 0;

const nameFlight = (flight) => `${flight.carrier} ${flight.flight_number}`;
const isoDay = (time) => formatTime(time, { year: "numeric", month: "2-digit", day: "2-digit" })
  .split("/").reverse().join("-");

const nameCarrier = (code) => names.carriers[code] ?? code;
const nameAirport = (code) => (names.airports[code] ? `${names.airports[code]} (${code})` : code);

// Search

async function start() {
  try {
    learn(await request("/v1/model"));
    const { days } = await request("/v1/flights?limit=1");
    if (!days) return showNothing();
    setDays(days);
  } catch (problem) {
    find("count").textContent = "";
    return showProblem(find("board"), problem, start);
  }
  await followLink();
}

// What the page calls late, and how the codes are called, is the word of the release that answers.
function learn(model) {
  names = model.names;
  find("lateness").textContent = `, by ${formatSpan(model.late_minutes)} or more`;
  find("lead").textContent = formatSpan(model.lead_minutes);
  find("definition").textContent = `Late means ${formatSpan(model.late_minutes)} or more after the scheduled arrival.`;
  const option = (value) => element("option", { value });
  const origins = [...form.origin.options].map(({ value }) => value);
  const airports = Object.keys(names.airports).filter((code) => !origins.includes(code));
  find("destinations").replaceChildren(...airports.map(nameAirport).sort().map(option));
  find("airlines").replaceChildren(...Object.values(names.carriers).sort().map(option));
}

function setDays([first, last]) {
  const time = EXAMPLE_TIME;
  const inside = first <= isoDay(time) && isoDay(time) <= last;
  Object.assign(form.day, { min: first, max: last, value: inside ? isoDay(time) : first });
  if (inside && !readLink().id) form.hour.value = Number(formatTime(time, { hour: "2-digit" }));
  const hint = inside ? ` ${formatTime(time, { day: "numeric", month: "long" })} is the day before Thanksgiving.` : "";
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
  const [, carrier, number, origin, year, month, day, hour, minute] = parts;
  const time = `${year}-${month}-${day}T${hour}:${minute}:00Z`;
  return Number.isNaN(Date.parse(time)) ? { id } : { id, carrier, number, origin, time };
}

async function followLink() {
  const { id, carrier, number, origin, time } = readLink();
  if (time) {
    form.day.value = isoDay(time);
    form.origin.value = origin;
    form.flight.value = `${carrier} ${Number(number)}`;
    form.hour.value = form.dest.value = "";
  }
  const flights = await searchFlights(followLink);
  if (!flights) return;
  if (!id) return showExample(flights);
  chosenId = id;
  const flight = flights.find((candidate) => candidate.flight_id === id);
  if (flight) {
    history.replaceState({ flight }, "", linkTo(flight));
    await chooseFlight(flight);
  } else showProblem(find("answer"), new Problem(404, `The flight ${id} is not among the flights here.`));
}

// The address stays as it is: the reader has not chosen anything yet.
async function showExample([first]) {
  if (first && !chosenId) await chooseFlight(first, true);
}

const normalise = (text) => text.trim().toUpperCase();

class Misread extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function readDestination(text) {
  const words = normalise(text);
  const code = words.match(/^([A-Z]{3})$/) ?? words.match(/\(([A-Z]{3})\)$/);
  if (!words || (code && (code[1] in names.airports || words.length > 3))) return code?.[1];
  return chooseNamed(names.airports, words, "dest", `No destination is called ${text}. Choose one of the list, or type `
    + "its code, such as SFO.") ?? code?.[1];
}

// B6 29, b6-29, B629, JetBlue 29, JetBlue, 29.
function readFlight(text) {
  const words = normalise(text);
  if (!words) return {};
  const problem = `${text} is no flight. Type its number, with the airline or without: B6 29, JetBlue 29 or 29.`;
  if (/^\d{1,4}$/.test(words)) return { number: Number(words) };
  const coded = words.match(/^([A-Z][A-Z0-9]|[0-9][A-Z])(?:[\s-]*(\d{1,4}))?$/);
  if (coded) return { carrier: coded[1], number: coded[2] && Number(coded[2]) };
  const named = words.match(/^(.*?)(?:[\s-]+(\d{1,4}))?$/);
  return { carrier: chooseNamed(names.carriers, named[1], "flight", problem), number: named[2] && Number(named[2]) };
}

// The code whose name begins so, or else holds the words.
function chooseNamed(table, words, field, problem) {
  const found = (fits) => Object.keys(table).filter((code) => fits(normalise(table[code])));
  const begins = found((name) => name.startsWith(words));
  const codes = begins.length ? begins : found((name) => name.includes(words));
  if (codes.length === 0) {
    if (words.length === 3 && field === "dest") return null;
    throw new Misread(field, problem);
  }
  const same = codes.find((code) => normalise(table[code]) === words);
  if (codes.length > 1 && !same) {
    throw new Misread(field, `That fits ${codes.slice(0, 3).map((code) => `${table[code]} (${code})`).join(", ")}`
      + `${codes.length > 3 ? " and others" : ""}. Type the code.`);
  }
  return same ?? codes[0];
}

function readForm() {
  const { day, origin, hour } = Object.fromEntries(new FormData(form));
  const fields = { day, origin, hour, dest: readDestination(form.dest.value), ...readFlight(form.flight.value) };
  return Object.entries(fields).filter(([, value]) => value || value === 0);
}

async function searchFlights(retry = searchFlights) {
  const search = ++searches;
  try {
    const query = new URLSearchParams([...readForm(), ["limit", LIMIT]]);
    find("count").textContent = "Looking for flights …";
    const { flights, more } = await request(`/v1/flights?${query}`);
    if (search !== searches) return null;
    showFlights(flights, more);
    return flights;
  } catch (problem) {
    if (search !== searches) return null;
    if (problem instanceof Misread) return complain(problem);
    find("count").textContent = "";
    showProblem(find("board"), problem, retry);
    return null;
  }
}

function complain({ field, message }) {
  form[field].setCustomValidity(message);
  form.reportValidity();
  return null;
}

function showFlights(flights, more) {
  const count = flights.length === 1 ? "1 flight." : `${formatCount(flights.length)} flights.`;
  const first = `The first ${flights.length} flights. Choose an hour, an airport or an airline to see others.`;
  const none = "No flight fits. Leave a field empty to see more.";
  find("count").textContent = flights.length === 0 ? none : more ? first : count;
  const head = element("div", { class: "row head", "aria-hidden": "true" },
    ["Time", "Flight", "Route"].map((word) => element("span", {}, word)));
  const list = element("ul", { "aria-label": "Flights found" }, flights.map(drawRow));
  find("board").replaceChildren(...(flights.length ? [element("div", { class: "board" }, head, list)] : []));
}

function drawRow(flight) {
  const unseen = (words) => element("span", { class: "unseen" }, words);
  const small = (words) => element("span", { class: "small" }, words);
  return element("li", {}, element("button", {
    class: "row", type: "button", "data-flight": flight.flight_id, click: () => openFlight(flight),
  },
  element("span", { class: "clock" }, formatClock(flight.scheduled_departure)),
  element("span", {}, nameFlight(flight), small(nameCarrier(flight.carrier))),
  element("span", {}, unseen(" from "), flight.origin, element("span", { "aria-hidden": "true" }, "\u2009→\u2009"),
    unseen(" to "), flight.dest, small(names.airports[flight.dest] ?? flight.dest))));
}

// Answer

function openFlight(flight) {
  history.pushState({ flight }, "", linkTo(flight));
  if (matchMedia("(max-width: 60rem)").matches) find("result").scrollIntoView();
  return chooseFlight(flight);
}

async function chooseFlight(flight, example = false) {
  const mine = ++choice;
  if (!example) {
    chosenId = flight.flight_id;
    document.title = `${nameFlight(flight)}, ${flight.origin} to ${flight.dest} · ontime`;
    find("spoken").textContent = `Asking the model about ${nameFlight(flight)}.`;
  }
  markRow(flight.flight_id);
  const title = () => [example ? element("p", { class: "example" },
    "An example. Choose any flight from the list.") : null, ...drawTitle(flight)].filter(Boolean);
  find("answer").replaceChildren(...title(), element("p", { class: "empty" }, "Asking the model …"));
  const { flight_id: id, ...schedule } = flight;
  try {
    const [prediction, model, outcome] = await Promise.all([
      request("/v1/predictions?explain=true", schedule), request("/v1/model").catch(() => null),
      askOutcome(id),
    ]);
    if (mine !== choice) return;
    if (model) learn(model);
    showAnswer(flight, title(), prediction, model, describeOutcome(outcome, model));
  } catch (problem) {
    if (mine !== choice) return;
    find("spoken").textContent = "";
    showProblem(find("answer"), problem, () => chooseFlight(flight, example));
    find("answer").prepend(...title());
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
    return await request(`/v1/outcomes/${encodeURIComponent(id)}`);
  } catch (problem) {
    return { problem };
  }
}

// How the flight ended, as a colour and in words.
function describeOutcome({ late, delay_minutes: delay, problem }, model) {
  if (problem) return ["open", problem.status === 404 ? "Not known yet." : `Not known: ${problem.message}`];
  const limit = model ? formatSpan(model.late_minutes) : null;
  const kind = late ? "late" : "prompt";
  if (delay === null) {
    const edge = limit && (late ? `, by ${limit} or more` : `, or less than ${limit} late`);
    return [kind, `Arrived ${late ? "late" : "on time"}${edge ?? ""}.`];
  }
  if (delay === 0) return [kind, "Arrived on time, to the minute."];
  const off = `Arrived ${formatSpan(Math.abs(delay))} ${delay > 0 ? "late" : "early"}`;
  return [kind, delay > 0 && !late && limit ? `${off}. That counts as on time: late begins at ${limit}.` : `${off}.`];
}

function drawTitle(flight) {
  const { carrier, dest, scheduled_departure: leaves, scheduled_arrival: arrives } = flight;
  const next = isoDay(arrives) > isoDay(leaves) ? " the next day" : "";
  const day = formatTime(leaves, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  return [
    element("h2", { class: "flight-title" }, element("span", {}, nameFlight(flight)), " ",
      element("span", { class: "route" }, `${flight.origin} to ${dest}`)),
    element("p", { class: "soft" }, `${nameCarrier(carrier)} to ${nameAirport(dest)}, ${day}. `
      + `Leaves ${formatClock(leaves)}, arrives ${formatClock(arrives)}${next}, New York time. `
      + `${formatCount(flight.distance_miles)}\u00a0miles.`),
  ];
}

// The fewest digits with which the shown chance does not contradict the shown threshold.
function chooseDigits(share, threshold, alert) {
  const fewest = share < 0.01 || share > 0.99 ? 1 : 0;
  if (threshold === null) return fewest;
  const limit = Number(toHundred(threshold, 1));
  return [0, 1, 2].find((digits) => digits >= fewest && Number(toHundred(share, digits)) >= limit === alert) ?? 3;
}

function describeAnswer({ probability_late: share, usual_rate: base, alert, features }, threshold) {
  const digits = chooseDigits(share, threshold, alert);
  const count = toHundred(share, digits);
  const verb = count === "1" ? "arrives" : "arrive";
  const unknown = features === "schedule_only";
  const limit = threshold === null ? "." : `: the service gives one from ${toHundred(threshold, 1)} in 100.`;
  const because = threshold === null ? "." : `, because ${count} in 100 reaches the threshold of `
    + `${toHundred(threshold, 1)} in 100. It says nothing about this flight in particular.`;
  return {
    digits, limit: unknown && alert ? because : limit,
    claim: `${count} in 100 flights ${unknown ? "with such a timetable" : "like this"} ${verb} late.`,
    base: `Of all flights, ${toHundred(base)} in 100 do: the base rate.`,
    verdict: alert ? "Alert" : "No alert",
  };
}

function showAnswer(flight, title, prediction, model, outcome) {
  const threshold = model?.threshold ?? null;
  const words = describeAnswer(prediction, threshold);
  const limits = describeFlags(prediction.flags, flight);
  const spoken = [...limits, words.claim, words.base, `${words.verdict}${words.limit}`].join(" ");
  const { probability_late: share, usual_rate: base, alert } = prediction;
  const gauge = drawGauge({ share, base, threshold, alert, digits: words.digits, words: spoken });
  const verdict = element("div", {},
    element("p", { class: "claim" }, words.claim),
    element("p", { class: "base" }, words.base),
    element("p", {}, element("strong", { class: alert ? "alert" : "" }, words.verdict), words.limit),
    element("p", { class: `outcome ${outcome[0]}` }, element("span", {}, "What happened"), outcome[1]));
  find("answer").replaceChildren(element("article", {}, title, drawFlags(limits),
    element("div", { class: "verdict" }, gauge, verdict),
    drawReasons(prediction, words.digits, prediction.features_as_of && model && formatSpan(model.lead_minutes)),
    drawTrackRecord(prediction, model), drawFacts(prediction, model)));
  find("spoken").textContent = `${nameFlight(flight)}: ${spoken} What happened: ${outcome[1]}`;
}

const describeFlags = (flags, flight) => flags.map((flag) => FLAGS[flag]?.(flight) ?? flag.replaceAll("_", " "));

// First of all: whoever reads the chance should know how little it rests on.
function drawFlags(limits) {
  const words = limits.map((limit) => element("li", {}, limit));
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
form.addEventListener("input", ({ target }) => target.setCustomValidity(""));
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
