// The server's HTTP interface. The key, if one is needed, travels in a header only: neither in addresses nor in cookies.
import { load, save } from "/storage.js";

/// The server's own "no", with its words.
export class ApiError extends Error {
  constructor(status, { message, type, param, code } = {}, retryAfter = null) {
    super(message || `HTTP ${status}`);
    Object.assign(this, { status, type, param, code, retryAfter });
  }
}

/// No answer at all: the server is down, restarting, or the network is.
export class Unreachable extends Error {}

let key = load("key");
let askForKey = async () => null;
let asking = null;
let declined = false;  // the user closed the question; not asked again until they open it themselves

/// `ask(wasWrong)` resolves to the key that the user enters, or to null.
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export function setKey(value) {
  key = value;
  declined = !value;
  save("key", value);
}

/// Seeds have 64 bits, JavaScript's numbers 53: they are strings in this page. A quotation mark within a JSON string is
/// escaped, so these patterns match nothing but members of that name.
export function parse(text) {
  const quoted = text
    .replace(/"seed"\s*:\s*(\d+)/g, '"seed":"$1"')
    .replace(/"(seeds|variation_seeds)"\s*:\s*\[([\d\s,]*)\]/g,
             (_, name, list) => `"${name}":[${list.replace(/\d+/g, '"$&"')}]`);
  return JSON.parse(quoted);
}

function withSeeds(request) {
  const { seed, variation_seed: variationSeed, ...rest } = request;
  let body = JSON.stringify(rest);
  for (const [name, seeds] of Object.entries({ seed, variation_seed: variationSeed })) {
    if (seeds?.length) body = `${body.slice(0, -1)},"${name}":${seeds.length === 1 ? seeds[0] : `[${seeds}]`}}`;
  }
  return body;
}

async function send(method, path, { body, headers = {}, signal } = {}) {
  for (;;) {
    const used = key;
    const all = { ...headers };
    if (used) all.Authorization = `Bearer ${used}`;
    if (body) all["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, body, headers: all, signal, cache: "no-store", credentials: "omit" });
    } catch (error) {
      throw signal?.aborted ? error : new Unreachable(error.message);
    }
    if (response.ok) return response;
    if (response.status === 401) {
      if (used === key && !declined) await renewKey(Boolean(used));
      if (key && used !== key) continue;
    }
    throw await errorOf(response);
  }
}

/// However many requests are refused at once, the user is asked once.
async function renewKey(wasWrong) {
  asking ??= askForKey(wasWrong).finally(() => { asking = null; });
  setKey(await asking);
}

async function errorOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  // A gateway's answer while the server behind it restarts.
  if ([502, 504].includes(response.status)) return new Unreachable(`HTTP ${response.status}`);
  try {
    return new ApiError(response.status, (await response.json()).error, retryAfter);
  } catch {
    return new ApiError(response.status, {}, retryAfter);
  }
}

async function json(method, path, options) {
  const response = await send(method, path, options);
  try {
    return parse(await response.text());
  } catch (error) {
    throw new Unreachable(error.message);  // broken off in the middle
  }
}

const jobPath = (id) => `/v1/jobs/${encodeURIComponent(id)}`;

export const capabilities = () => json("GET", "/v1/capabilities");
export const loras = () => json("GET", "/sdapi/v1/loras");
export const queue = () => json("GET", "/v1/queue");
export const job = (id) => json("GET", jobPath(id));
export const cancel = (id) => json("POST", `${jobPath(id)}/cancel`);
export const remove = (id) => send("DELETE", jobPath(id));
export const removePicture = (url) => send("DELETE", url);

/// What a file, as a data URL, says of itself.
export const pngInfo = (image) => json("POST", "/sdapi/v1/png-info", { body: JSON.stringify({ image }) });

/// The same `idempotencyKey` twice is one job, so a request whose answer got lost can be sent again.
export const submit = (request, idempotencyKey) =>
  json("POST", "/v1/jobs", { body: withSeeds(request), headers: { "Idempotency-Key": idempotencyKey } });

/// Newest first; `before`: only those older than that one.
export function list({ limit, before }) {
  const query = new URLSearchParams({ limit });
  if (before) query.set("before", before);
  return json("GET", `/v1/jobs?${query}`);
}

/// Calls `onEvent(name, data)` until the job is final or the connection breaks; throws Unreachable in the second case.
export async function events(id, onEvent, signal) {
  const response = await send("GET", `${jobPath(id)}/events`, { headers: { Accept: "text/event-stream" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += value.replaceAll("\r", "");
      const messages = buffer.split("\n\n");
      buffer = messages.pop();
      for (const message of messages) dispatch(message, onEvent);
    }
  } catch (error) {
    throw signal?.aborted ? error : new Unreachable(error.message);
  }
}

function dispatch(message, onEvent) {
  let name = "message";
  const data = [];
  for (const line of message.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length) onEvent(name, parse(data.join("\n")));
}

/// Pictures come by fetch as well, since an <img> could not send the key. One copy is kept for each address.
const pictures = new Map();

export function picture(url) {
  if (!pictures.has(url)) {
    const loading = send("GET", url).then((response) => response.blob()).then((blob) => URL.createObjectURL(blob));
    loading.catch(() => pictures.delete(url));
    pictures.set(url, loading);
  }
  return pictures.get(url);
}

/// The file itself.
export const pictureFile = (url) => send("GET", url).then((response) => response.blob());

export function forgetPicture(url) {
  pictures.get(url)?.then(URL.revokeObjectURL, () => {});
  pictures.delete(url);
}

/// crypto.randomUUID is missing on pages that come over plain http from another machine.
export function randomHex(bytes = 16) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
