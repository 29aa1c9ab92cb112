// Parts that both pages share: elements, requests, numbers and times.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "rect", "line", "circle", "text"]);
const KEY_NAME = "ontime-api-key";
let zone = "UTC"; // until the problem says on whose clock its times are told

export const useZone = (name) => { zone = name; };

export function element(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const find = (id) => document.getElementById(id);

// Requests

export class Problem extends Error {
  constructor(status, message, places = []) {
    super(message);
    this.status = status;
    this.places = places;
  }

  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export async function request(path, body) {
  const key = sessionStorage.getItem(KEY_NAME);
  const response = await send(path, body, key);
  if (response.status === 401 || response.status === 403) {
    // Another request may have got a new key from the reader in the meantime.
    if (sessionStorage.getItem(KEY_NAME) === key) await askKey(key !== null);
    return request(path, body);
  }
  if (!response.ok) throw await readFailure(response);
  return response.json();
}

async function send(path, body, key) {
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, {
      method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store",
    });
  } catch {
    throw new Problem(0, "The service cannot be reached.");
  }
}

const FAILURES = {
  404: "The service does not know this.",
  422: "The service did not accept the request.",
  429: "The service has too many requests at the moment.",
  503: "The service cannot answer at the moment.",
};

async function readFailure(response) {
  const { status } = response;
  const sentence = FAILURES[status] ?? "The service could not answer.";
  const wait = Number(response.headers.get("Retry-After"));
  const waiting = wait > 0 ? ` It asks to wait ${wait} s.` : "";
  const detail = await response.json().then((problem) => problem.detail, () => null);
  const problems = Array.isArray(detail) ? detail : [];
  const reasons = problems.length ? problems.map(describeReason) : [detail].flat().filter(Boolean);
  const message = `${sentence}${waiting} (${[`status ${status}`, ...reasons].join("; ")})`;
  return new Problem(status, message, problems.map(({ place }) => place));
}

function describeReason({ place, reason, got }) {
  const value = got === undefined || got === null ? "" : `, got ${JSON.stringify(got)}`;
  return `${place ? `${place}: ` : ""}${reason}${value}`;
}

export function showProblem(place, problem, retry) {
  const words = problem instanceof Problem ? problem.message : `This page failed: ${problem.message}`;
  const again = problem.passing && retry
    ? element("button", { type: "button", click: () => { keepFocus(); retry(); } }, "Try again") : null;
  place.replaceChildren(element("div", { class: "problem", role: "alert" },
    element("p", {}, words), again));
}

let asking = null;

function askKey(refused) {
  asking ??= new Promise((resolve) => showKeyForm(refused, resolve)).finally(() => { asking = null; });
  return asking;
}

function showKeyForm(refused, resolve) {
  const input = element("input", {
    id: "key-value", type: "password", autocomplete: "off", required: "", "aria-describedby": "key-words",
  });
  const words = refused ? "The service refused this key. Give another one."
    : "The service asks for an API key. It is kept until this tab is closed.";
  const form = element("form", { class: "key" },
    element("p", { id: "key-words", role: "alert" }, words),
    element("label", { for: "key-value" }, "API key"), input,
    element("button", { class: "main", type: "submit" }, "Use this key"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY_NAME, input.value.trim());
    keepFocus();
    find("key").replaceChildren();
    resolve();
  });
  find("key").replaceChildren(form);
  if ([document.body, find("main")].includes(document.activeElement)) input.focus();
}

// A control that is about to be removed would drop the focus to the top of the page.
function keepFocus() {
  find("main").focus({ preventScroll: true });
}

// Numbers and times

export const formatCount = (count) => count.toLocaleString("en-US");

export const formatPercent = (share, digits = 0) => `${toHundred(share, digits)}\u00a0%`;

export const toHundred = (share, digits = 0) => String(Number((100 * share).toFixed(digits)));

export function formatTime(time, options, timeZone = zone) {
  return new Intl.DateTimeFormat("en-GB", { timeZone, hourCycle: "h23", ...options }).format(new Date(time));
}

export function formatSpan(minutes) {
  const hours = minutes > 0 && minutes % 60 === 0;
  const [count, unit] = hours ? [minutes / 60, "hour"] : [minutes, "minute"];
  return `${count}\u00a0${unit}${count === 1 ? "" : "s"}`;
}

export const formatClock = (time, timeZone) =>
  formatTime(time, { hour: "2-digit", minute: "2-digit" }, timeZone);

export const formatDay = (time, timeZone) =>
  formatTime(time, { day: "numeric", month: "long", year: "numeric" }, timeZone);
