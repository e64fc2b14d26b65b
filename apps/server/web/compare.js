// Two pictures over each other, with a line between them that is moved by pointer or keys.
import { announce } from "/announce.js";
import { nameOf } from "/activity.js";
import { $, el, openDialog } from "/dom.js";
import { showPicture } from "/gallery.js";
import { t } from "/i18n.js";
import { factsOf } from "/viewer.js";

/// Event "change": what is selected has changed.
export class Compare extends EventTarget {
  #chosen = [];  // pictures, at most two

  constructor(jobs) {
    super();
    $("#compare-slider").addEventListener("input", () => this.#split());
    $("#compare-clear").addEventListener("click", () => this.#clear());
    $("#compare").addEventListener("close", () => this.#clear());
    jobs.addEventListener("list", () => {
      const left = this.#chosen.filter(({ job }) => jobs.get(job.id));
      if (left.length < this.#chosen.length) this.#select(left);
    });
  }

  has(url) { return this.#chosen.some(({ image }) => image.url === url); }

  toggle(picture) {
    const { url } = picture.image;
    if (this.has(url)) this.#select(this.#chosen.filter(({ image }) => image.url !== url));
    else this.#select([...this.#chosen, picture]);
    if (this.has(url)) announce(t("announce_selected", { prompt: nameOf(picture.job) }));
    if (this.#chosen.length === 2) this.#open();
  }

  #clear() { this.#select([]); }

  #select(pictures) {
    this.#chosen = pictures;
    $("#compare-bar").hidden = pictures.length !== 1;
    this.dispatchEvent(new Event("change"));
  }

  /// A picture beside what it was made from, which is at the address `url`.
  showBefore(url, picture) {
    const side = (title, text) => el("section", {}, el("h3", { text: title }),
                                     el("p", { class: "viewer-prompt", text }));
    this.#openStage(picture, side(t("before"), ""), side(t("after"), picture.job.request.prompt));
    const left = $("#compare-left");
    Object.assign(left, { src: url, alt: t("before") });
    left.classList.toggle("tiny", Math.max(picture.image.width, picture.image.height) < 200);
    left.classList.add("covers");  // what lies beyond the result's proportions was cut off
    this.#load("right", picture);
  }

  #open() {
    const [left, right] = this.#chosen;
    this.#openStage(left, this.#side(t("compare_left"), left, right), this.#side(t("compare_right"), right, left));
    this.#load("left", left);
    this.#load("right", right);
  }

  #openStage({ image }, ...facts) {
    $("#compare-stage").style.setProperty("--ratio", image.width / image.height);
    $("#compare-slider").value = 50;
    this.#split();
    $("#compare-facts").replaceChildren(...facts);
    openDialog($("#compare"));
  }

  #load(id, picture) {
    $(`#compare-${id}`).classList.remove("covers");
    showPicture($(`#compare-${id}`), picture).catch(() => { $("#compare-hint").textContent = t("picture_gone"); });
  }

  #split() {
    const { value } = $("#compare-slider");
    $("#compare-stage").style.setProperty("--split", `${value}%`);
    $("#compare-slider").setAttribute("aria-valuetext", `${t("compare_left")} ${value} %`);
  }

  /// One picture's prompt, and what differs from the other's settings.
  #side(title, picture, other) {
    const others = new Map(factsOf(other));
    const rows = factsOf(picture).filter(([name, value]) => String(others.get(name)) !== String(value));
    return el("section", {}, el("h3", { text: title }),
              el("p", { class: "viewer-prompt", text: picture.job.request.prompt }),
              rows.length ? el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", { text: name }),
                                                                            el("dd", { text: value })]))
                          : el("p", { class: "hint", text: t("compare_same") }));
  }
}
