// What screen readers are told, and the short notes at the bottom of the window that say the same to the eye.
import { $, el } from "/dom.js";

const kShown_ms = 5000;

/// Spoken when the reader has nothing else to say; not shown.
export function announce(text) {
  const region = $("#announcer");
  region.textContent = "";
  // A region that gets the same text twice says nothing the second time unless it was empty in between.
  setTimeout(() => { region.textContent = text; }, 50);
}

/// Shown for a moment and spoken.
export function note(text) {
  announce(text);
  const element = el("p", { class: "note", text, "aria-hidden": "true" });
  $("#notes").append(element);
  setTimeout(() => element.remove(), kShown_ms);
}
