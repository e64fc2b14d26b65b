// Making and finding elements. Text always goes in as text: nothing on this page parses markup at run time.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/// An element. Keys of `attributes`: `on...` is a listener, `text` its text, `class` and the like are attributes,
/// `data` an object of data- attributes; false, null and undefined leave an attribute out.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const kSvg = "http://www.w3.org/2000/svg";

/// A drawing of the sprite in index.html, invisible to screen readers: whatever it stands in has a name of its own.
export function icon(name) {
  const svg = document.createElementNS(kSvg, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(kSvg, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/// A rectangle with the proportions of a picture, within a square of `extent` px.
export function shape(width, height, extent = 22) {
  const scale = (extent - 2) / Math.max(width, height);
  const [w, h] = [width * scale, height * scale];
  const svg = document.createElementNS(kSvg, "svg");
  const rect = document.createElementNS(kSvg, "rect");
  const place = { x: (extent - w) / 2, y: (extent - h) / 2, width: w, height: h, rx: 2 };
  for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value);
  svg.setAttribute("viewBox", `0 0 ${extent} ${extent}`);
  svg.setAttribute("class", "shape");
  svg.setAttribute("aria-hidden", "true");
  svg.append(rect);
  return svg;
}

/// A button that shows only an icon; `label` is its name and its tooltip.
export function iconButton(name, label, onclick, attributes = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...attributes },
            icon(name));
}

/// Makes the children of `container` those of `items`, in order, keeping the elements that are there already, so that
/// focus, scrolling and loaded pictures survive.
export function reconcile(container, items, keyOf, make) {
  const old = new Map([...container.children].map((child) => [child.dataset.key, child]));
  let next = container.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = old.get(key);
    old.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    if (child === next) next = next.nextElementSibling;
    else container.insertBefore(child, next);
  }
  for (const child of old.values()) child.remove();
}

/// Opens a dialog; the focus goes back to where it was when it closes.
export function openDialog(dialog) {
  if (dialog.open) return;
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    if (before?.isConnected) before.focus({ preventScroll: true });
  }, { once: true });
  dialog.showModal();
}

/// Close buttons, and clicks on the backdrop, of all dialogs of the page.
export function wireDialogs() {
  for (const dialog of $$("dialog")) {
    for (const button of $$("[data-close]", dialog)) button.addEventListener("click", () => dialog.close());
    dialog.addEventListener("pointerdown", (event) => {
      if (event.target !== dialog) return;
      const box = dialog.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right &&
                     event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside) dialog.close();
    });
  }
}
