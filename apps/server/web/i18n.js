// The page's language: that of the browser until the user chooses one.
import { dictionary } from "/dictionary.js";
import { $$ } from "/dom.js";
import { load, save } from "/storage.js";

const kFallback = "en";
const listeners = [];
let language = choose();

function choose() {
  const wanted = [load("language"), ...(navigator.languages ?? [navigator.language])];
  for (const name of wanted) {
    const short = name?.split("-")[0].toLowerCase();
    if (short in dictionary) return short;
  }
  return kFallback;
}

export const currentLanguage = () => language;

/// The text of `key` in the page's language. Of two forms, "one|many", `count` (or the first value) chooses.
export function t(key, values = {}) {
  const text = dictionary[language][key] ?? dictionary[kFallback][key];
  const [one, many] = text.split("|");
  const number = values.count ?? Object.values(values)[0];
  const form = many !== undefined && Number(number) !== 1 ? many : one;
  return form.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/// Called at once and whenever the language changes.
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

export function setLanguage(name) {
  language = name;
  save("language", name);
  translatePage();
  for (const listener of listeners) listener();
}

export const otherLanguage = () => Object.keys(dictionary).find((name) => name !== language);

/// The text of index.html: data-t is an element's text, data-t-label its name for screen readers and tooltip,
/// data-t-placeholder its placeholder.
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : language;
  for (const element of $$("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of $$("[data-t-placeholder]")) element.placeholder = t(element.dataset.tPlaceholder);
  for (const element of $$("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
    if (element.matches("button")) element.title = t(element.dataset.tLabel);
  }
}

export const formatNumber = (value, options) => new Intl.NumberFormat(language, options).format(value);

export function formatTime(unixSeconds) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(unixSeconds * 1000);
}

export function formatBytes(bytes) {
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, "kilobyte"] : [bytes / 1e6, "megabyte"];
  return formatNumber(value, { style: "unit", unit, maximumFractionDigits: value < 10 ? 1 : 0 });
}
