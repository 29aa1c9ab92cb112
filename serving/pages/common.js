// Shared by both pages: elements, requests, numbers and times.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "rect", "line", "circle", "text"]);
const KEY_NAME = "ontime-api-key";
let zone = "UTC"; // until the time zone of the problem is known

export const setZone = (name) => { zone = name; };

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

export class RequestError extends Error {
  constructor(status, message, places = []) {
    super(message);
    this.status = status;
    this.places = places;
  }

  get transient() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export async function request(path, body) {
  const key = sessionStorage.getItem(KEY_NAME);
  const response = await send(path, body, key);
  if (response.status === 401 || response.status === 403) {
    // The user may have entered a new key for another request in the meantime.
    if (sessionStorage.getItem(KEY_NAME) === key) await promptForKey(key !== null);
    return request(path, body);
  }
  if (!response.ok) throw await readError(response);
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
    throw new RequestError(0, "The service is not reachable.");
  }
}

const MESSAGES = {
  404: "The service did not find this.",
  422: "The service rejected the request.",
  429: "There are too many requests at the moment.",
  503: "The service is not available at the moment.",
};

async function readError(response) {
  const { status } = response;
  const sentence = MESSAGES[status] ?? "The request failed.";
  const wait = Number(response.headers.get("Retry-After"));
  const retry = wait > 0 ? ` Retry after ${wait} s.` : "";
  const detail = await response.json().then((content) => content.detail, () => null);
  const details = Array.isArray(detail) ? detail : [];
  const reasons = details.length ? details.map(describeDetail) : [detail].flat().filter(Boolean);
  const message = `${sentence}${retry} (${[`status ${status}`, ...reasons].join("; ")})`;
  return new RequestError(status, message, details.map(({ place }) => place));
}

function describeDetail({ place, reason, got }) {
  const value = got === undefined || got === null ? "" : `, got ${JSON.stringify(got)}`;
  return `${place ? `${place}: ` : ""}${reason}${value}`;
}

export function showError(place, error, retry) {
  const words = error instanceof RequestError ? error.message : `Error in this page: ${error.message}`;
  const button = error.transient && retry
    ? element("button", { type: "button", click: () => { keepFocus(); retry(); } }, "Retry") : null;
  place.replaceChildren(element("div", { class: "problem", role: "alert" },
    element("p", {}, words), button));
}

let keyPrompt = null;

function promptForKey(rejected) {
  keyPrompt ??= new Promise((resolve) => showKeyForm(rejected, resolve)).finally(() => { keyPrompt = null; });
  return keyPrompt;
}

function showKeyForm(rejected, resolve) {
  const input = element("input", {
    id: "key-value", type: "password", autocomplete: "off", required: "", "aria-describedby": "key-words",
  });
  const words = rejected ? "The service rejected this key. Enter another one."
    : "The service requires an API key. It is stored until this tab is closed.";
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

// Removing the focused control would move the focus to the top of the page.
function keepFocus() {
  find("main").focus({ preventScroll: true });
}

// Text, numbers and times

export const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);

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
