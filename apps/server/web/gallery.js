// Finished pictures, newest first. Their files are fetched when they come near the window.
import * as api from "/api.js";
import { nameOf } from "/activity.js";
import { $, el, iconButton, reconcile } from "/dom.js";
import { explain } from "/errors.js";
import { Filter } from "/filter.js";
import { onLanguage, t } from "/i18n.js";
import { Selection } from "/selection.js";

/// All finished pictures of a list of jobs, each with its job.
export const picturesOf = (jobs) => jobs.filter(({ kind, status }) => kind === "image" && status === "completed")
  .flatMap((job) => job.images.map((image) => ({ job, image })));

/// Loads a picture into an <img>; small ones are enlarged with sharp edges.
export async function showPicture(element, { job, image }) {
  element.alt = job.enhanced_prompt || job.request.prompt;
  element.classList.toggle("tiny", Math.max(image.width, image.height) < 200);
  element.width = image.width;
  element.height = image.height;
  element.src = await api.picture(image.url);
}

export class Gallery {
  #jobs;
  #open;
  #compare;
  #filter;
  #selection;
  #nearby = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) this.#load(target);
  }, { rootMargin: "400px" });

  /// `open(key)` is called with the address of a picture that the user chose.
  constructor(jobs, open, compare) {
    this.#jobs = jobs;
    this.#open = open;
    this.#compare = compare;
    this.#filter = new Filter(jobs, () => this.#render());
    this.#selection = new Selection(jobs, () => this.#mark());
    jobs.addEventListener("list", () => this.#render());
    compare.addEventListener("change", () => this.#mark());
    $("#show-more").addEventListener("click", () => this.#more());
    onLanguage(() => {
      $("#gallery").replaceChildren();
      this.#render();
    });
  }

  #render() {
    const all = picturesOf(this.#jobs.all);
    const pictures = all.filter((picture) => this.#filter.takes(picture));
    $("#gallery-tools").hidden = all.length === 0;
    $("#nothing-found").hidden = all.length === 0 || pictures.length > 0;
    reconcile($("#gallery"), pictures, ({ image }) => image.url, (picture) => this.#tile(picture));
    $("#show-more").hidden = !this.#jobs.hasMore;
    $("#empty").hidden = all.length > 0 || !this.#jobs.loaded || this.#jobs.hasMore;
    this.#mark();
  }

  #tile(picture) {
    const { job, image } = picture;
    const prompt = nameOf(job);
    const button = el("button", { type: "button", class: "tile-open", "aria-label": t("open_picture", { prompt }),
                                  onclick: () => (this.#selection.isOn ? this.#selection.toggle(picture) : this.#open(image.url)) },
                      el("img", { alt: "" }));
    button.style.aspectRatio = `${image.width} / ${image.height}`;
    const compare = iconButton("compare", t("compare_pick", { prompt }), () => this.#compare.toggle(picture),
                               { class: "icon-button over tile-compare", "aria-pressed": "false" });
    const star = iconButton("star", t("favourite", { prompt }), () => this.#filter.toggle(image.url),
                            { class: "icon-button over tile-star", "aria-pressed": "false" });
    const tile = el("li", { class: "tile" }, button, star, compare, el("p", { class: "tile-text", text: job.request.prompt }));
    tile.style.setProperty("--ratio", image.width / image.height);
    tile.picture = picture;
    this.#nearby.observe(tile);
    return tile;
  }

  async #load(tile) {
    this.#nearby.unobserve(tile);
    const image = $("img", tile);
    try {
      await showPicture(image, tile.picture);
      image.classList.add("loaded");
      image.alt = "";  // the button around it has the name
    } catch {
      image.replaceWith(el("span", { class: "gone", text: t("picture_gone") }));
    }
  }

  #mark() {
    for (const tile of $("#gallery").children) {
      const chosen = this.#compare.has(tile.dataset.key);
      tile.classList.toggle("chosen", chosen);
      $(".tile-compare", tile).setAttribute("aria-pressed", chosen);
      $(".tile-star", tile).setAttribute("aria-pressed", this.#filter.isFavourite(tile.dataset.key));
      const isPicked = this.#selection.has(tile.dataset.key);
      tile.classList.toggle("picked", isPicked);
      if (this.#selection.isOn) $(".tile-open", tile).setAttribute("aria-pressed", isPicked);
      else $(".tile-open", tile).removeAttribute("aria-pressed");
    }
  }

  async #more() {
    const button = $("#show-more");
    const before = $("#gallery").children.length;
    button.disabled = true;
    button.textContent = t("loading");
    try {
      // Pages may hold nothing but jobs without pictures.
      do await this.#jobs.loadMore();
      while (this.#jobs.hasMore && $("#gallery").children.length === before);
      $(".tile-open", $("#gallery").children[before] ?? document)?.focus();
      button.textContent = t("show_more");
    } catch (error) {
      button.textContent = `${explain(error)} ${t("try_again")}`;
    }
    button.disabled = false;
  }
}
