// Which pictures are shown: those whose prompts have the words looked for, and favourites, which this browser remembers.
import { $ } from "/dom.js";
import { load, save } from "/storage.js";

const kPatience_ms = 200;
const kMostPages = 40;

export class Filter {
  #jobs;
  #onChange;
  #words = [];
  #favourites = new Set(load("favourites", []));
  #timer = 0;

  constructor(jobs, onChange) {
    this.#jobs = jobs;
    this.#onChange = onChange;
    $("#search").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), kPatience_ms);
    });
    $("#only-favourites").addEventListener("change", () => {
      onChange();
      this.#loadAll();
    });
  }

  isFavourite(url) { return this.#favourites.has(url); }

  toggle(url) {
    if (!this.#favourites.delete(url)) this.#favourites.add(url);
    save("favourites", [...this.#favourites]);
    this.#onChange();
  }

  takes({ job, image }) {
    const text = `${job.request.prompt} ${job.enhanced_prompt ?? ""}`.toLowerCase();
    return this.#words.every((word) => text.includes(word)) &&
           (!$("#only-favourites").checked || this.#favourites.has(image.url));
  }

  #search() {
    this.#words = $("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
    this.#onChange();
    this.#loadAll();
  }

  /// What is looked for may be among pictures that are not here yet.
  async #loadAll() {
    const isOn = () => this.#words.length || $("#only-favourites").checked;
    for (let page = 0; page < kMostPages && isOn() && this.#jobs.hasMore; ++page) {
      try {
        await this.#jobs.loadMore();
      } catch {
        return;  // "Show more" says why
      }
    }
  }
}
