// A picture to begin with: chosen, dropped, pasted, or one of those made here. It is not remembered over a reload.
import { note } from "/announce.js";
import { $, el, iconButton } from "/dom.js";
import { explain } from "/errors.js";
import { onLanguage, t } from "/i18n.js";
import { FormError } from "/settings.js";

const kLargest_bytes = 17 << 20;  // as base64 within what the server takes

const dataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/// Steps that run of those asked for, as the server counts them.
export function stepsOf(steps, strength) {
  return steps - Math.trunc(Math.max(steps - Math.min(steps * strength, steps), 0));
}

export class Picture {
  #url = null;  // the picture as a data URL
  #width = 0;
  #height = 0;
  #onChange;

  /// `onChange(chosen)` is called when another picture is there, or none.
  constructor(onChange) {
    this.#onChange = onChange;
    const input = $("#picture-file");
    $("#picture-choose").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files.length) this.choose(input.files[0]);
      input.value = "";
    });
    const zone = $("#picture-field");
    const isFile = (event) => [...event.dataTransfer.types].includes("Files");
    for (const type of ["dragenter", "dragover"]) {
      zone.addEventListener(type, (event) => {
        if (!isFile(event)) return;
        event.preventDefault();
        zone.classList.add("dropping");
      });
    }
    for (const type of ["dragleave", "drop"]) zone.addEventListener(type, () => zone.classList.remove("dropping"));
    zone.addEventListener("drop", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      this.choose(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData?.files ?? []].find(({ type }) => type.startsWith("image/"));
      if (file) this.choose(file);
    });
    onLanguage(() => this.#show());
  }

  get url() { return this.#url; }
  get size() { return { width: this.#width, height: this.#height }; }

  /// A Blob; what is no picture, or too large, is said and changes nothing.
  async choose(blob) {
    try {
      if (blob.size > kLargest_bytes) throw this.#error(t("error_picture_large", { limit: kLargest_bytes >> 20 }));
      const url = await dataUrl(blob);
      const image = new Image();
      image.src = url;
      await image.decode().catch(() => { throw this.#error(t("error_picture")); });
      this.#url = url;
      [this.#width, this.#height] = [image.naturalWidth, image.naturalHeight];
      this.#show();
      this.#onChange(true);
      note(t("announce_picture"));
    } catch (error) {
      note(explain(error));
    }
  }

  #error(message) { return new FormError($("#picture-choose"), message); }

  remove() {
    this.#url = null;
    this.#show();
    this.#onChange(false);
    $("#picture-choose").focus();
  }

  #show() {
    $("#picture-settings").hidden = !this.#url;
    $("#picture-empty").hidden = Boolean(this.#url);
    $("#picture-chosen").replaceChildren();
    if (!this.#url) return;
    const image = el("img", { alt: t("picture_chosen", { width: this.#width, height: this.#height }) });
    image.src = this.#url;
    $("#picture-chosen").append(image, iconButton("close", t("picture_remove"), () => this.remove()));
  }
}
