// Several pictures at once: downloaded as one file, or deleted.
import * as api from "/api.js";
import { note } from "/announce.js";
import { $, el } from "/dom.js";
import { explain } from "/errors.js";
import { onLanguage, t } from "/i18n.js";
import { confirmDelete, fileName } from "/viewer.js";
import { zipOf } from "/zip.js";

export class Selection {
  #jobs;
  #onChange;
  #chosen = new Map();  // address -> picture
  isOn = false;

  constructor(jobs, onChange) {
    this.#jobs = jobs;
    this.#onChange = onChange;
    $("#select").addEventListener("click", () => this.#turn(!this.isOn));
    $("#selection-end").addEventListener("click", () => this.#turn(false));
    $("#selection-zip").addEventListener("click", () => this.#attempt(() => this.#download()));
    $("#selection-delete").addEventListener("click", () => this.#attempt(() => this.#delete()));
    jobs.addEventListener("list", () => {
      const isThere = (url, { job }) => jobs.get(job.id)?.images.some((image) => image.url === url);
      for (const [url, picture] of this.#chosen) if (!isThere(url, picture)) this.#chosen.delete(url);
      this.#show();
    });
    onLanguage(() => this.#show());
  }

  has(url) { return this.#chosen.has(url); }

  toggle(picture) {
    const { url } = picture.image;
    if (!this.#chosen.delete(url)) this.#chosen.set(url, picture);
    this.#show();
    this.#onChange();
  }

  #turn(on) {
    this.isOn = on;
    this.#chosen.clear();
    $("#select").setAttribute("aria-pressed", on);
    this.#show();
    this.#onChange();
  }

  #show() {
    const count = this.#chosen.size;
    $("#selection-bar").hidden = !this.isOn;
    $("#selection-count").textContent = t("selected", { count });
    for (const id of ["zip", "delete"]) $(`#selection-${id}`).disabled = count === 0;
  }

  /// Pictures of one prompt and seed have the same name, but for a number.
  async #download() {
    const taken = new Map();
    const files = [];
    for (const picture of this.#chosen.values()) {
      const name = fileName(picture);
      const number = (taken.get(name) ?? 0) + 1;
      taken.set(name, number);
      const blob = await api.pictureFile(picture.image.url);
      files.push({ name: number === 1 ? name : name.replace(/(\.\w+)$/, `-${number}$1`),
                   bytes: new Uint8Array(await blob.arrayBuffer()) });
    }
    const url = URL.createObjectURL(zipOf(files));
    el("a", { href: url, download: "pictures.zip" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  async #delete() {
    if (!await confirmDelete(this.#chosen.size)) return;
    for (const picture of [...this.#chosen.values()]) await this.#jobs.removePicture(picture);
    this.#turn(false);
    note(t("announce_deleted"));
  }

  async #attempt(action) {
    try {
      await action();
    } catch (error) {
      note(explain(error));
    }
  }
}
