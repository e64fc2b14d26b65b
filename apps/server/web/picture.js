// A picture to begin with: chosen, dropped, pasted, or one of those made here; what of it is drawn anew, and how much.
// It is not remembered over a reload.
import { note } from "/announce.js";
import { $, el } from "/dom.js";
import { Editor } from "/editor.js";
import { explain } from "/errors.js";
import { onLanguage, t } from "/i18n.js";
import { remember } from "/origins.js";
import { FormError } from "/settings.js";

const kLargest_bytes = 16 << 20;   // as base64, and with a mask, within what the server takes
const kLargest_pixels = 16 << 20;  // what the server reads
const kReduced_pixels = 4 << 20;
const kThumbnail_px = 224;
const kBoxStrength = 0.6;          // a detail remains what it is

export const dataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/// Steps that run of those asked for, as the server counts them.
export function stepsOf(steps, strength) {
  return steps - Math.trunc(Math.max(steps - Math.min(steps * strength, steps), 0));
}

/// How much of what such a run begins with is noise, at the released models' shift of 4.
export function noiseOf(steps, strength) {
  const u = stepsOf(steps, strength) / steps;
  return 4 * u / (1 + 3 * u);
}

/// The word for a share of noise.
const meaningOf = (noise) => t(noise < 0.55 ? "strength_details" : noise < 0.75 ? "strength_surfaces" :
  noise < 0.9 ? "strength_composition" : noise < 1 ? "strength_traces" : "strength_all");

async function imageOf(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/// As large as the server takes.
async function reduced(image) {
  const scale = Math.sqrt(kReduced_pixels / (image.naturalWidth * image.naturalHeight));
  const canvas = el("canvas");
  canvas.width = Math.round(image.naturalWidth * scale);
  canvas.height = Math.round(image.naturalHeight * scale);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.95);
}

/// Grey and coloured specks, always the same.
function noiseCanvas() {
  const canvas = el("canvas");
  canvas.width = canvas.height = kThumbnail_px;
  const pixels = new ImageData(kThumbnail_px, kThumbnail_px);
  let state = 1;
  for (let i = 0; i < pixels.data.length; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    pixels.data[i] = i % 4 === 3 ? 255 : state >>> 24;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

export class Picture {
  #image = null;   // an <img> with a data URL
  #origin = null;  // the address of the picture made here that it is
  #noise = null;
  #shownSize = "";
  #editor = new Editor((before) => this.#edited(before));
  #onChange;

  /// `onChange(has_other_size)` is called when there is another picture, another part of it, or none.
  constructor(onChange) {
    this.#onChange = onChange;
    const input = $("#picture-file");
    $("#picture-choose").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files.length) this.choose(input.files[0]);
      input.value = "";
    });
    for (const id of ["open", "paint"]) $(`#picture-${id}`).addEventListener("click", () => this.#editor.open());
    $("#picture-remove").addEventListener("click", () => this.remove());
    $("#mask-remove").addEventListener("click", () => this.#editor.forget());
    this.#takeDrops($("#picture-field"));
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData?.files ?? []].find(({ type }) => type.startsWith("image/"));
      if (file) this.choose(file);
    });
    onLanguage(() => this.#show());
  }

  #takeDrops(zone) {
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
  }

  get chosen() { return this.#image !== null; }
  /// With what is added around it.
  get size() {
    const { left, top, right, bottom } = this.#editor.margins;
    return { width: this.#image.naturalWidth + left + right, height: this.#image.naturalHeight + top + bottom };
  }

  /// Fields of a request; `strength` and the like are the form's.
  get fields() {
    if (!this.#image) return {};
    const { left, top, right, bottom } = this.#editor.margins;
    const outpaint = left + top + right + bottom > 0;
    return { image: this.#image.src, ...(this.#editor.mask && { mask: this.#editor.mask }),
             ...(outpaint && { outpaint: [left, top, right, bottom] }) };
  }
  get hasMask() { return this.#editor.isPart; }
  get hasBoxes() { return this.#editor.boxes.length > 0; }

  /// Fields of a request for a result of so many pixels: parts of it that are each drawn by themselves.
  boxesWithin({ width, height }) {
    if (!this.hasBoxes) return {};
    const [across, down] = [width / this.size.width, height / this.size.height];
    const scaled = (from, length, scale) => {
      const begin = Math.floor(from * scale);
      return [begin, Math.max(1, Math.floor((from + length) * scale) - begin)];
    };
    const boxes = this.#editor.boxes.map(([left, top, boxWidth, boxHeight]) => {
      const [[x, w], [y, h]] = [scaled(left, boxWidth, across), scaled(top, boxHeight, down)];
      return [x, y, w, h];
    });
    return { boxes };
  }

  /// Takes a Blob, the picture made here at `origin` if there is one; what is no picture is said and changes nothing.
  async choose(blob, origin = null) {
    try {
      let image = await imageOf(await dataUrl(blob)).catch(() => { throw this.#error(t("error_picture")); });
      if (blob.size > kLargest_bytes || image.naturalWidth * image.naturalHeight > kLargest_pixels) {
        image = await imageOf(await reduced(image));
      }
      this.#image = image;
      this.#origin = origin;
      this.#editor.image = image;
      this.#shownSize = `${image.naturalWidth}x${image.naturalHeight}`;
      this.#show();
      this.#onChange(true);
      note(t("announce_picture"));
    } catch (error) {
      note(explain(error));
    }
  }

  #error(message) { return new FormError($("#picture-choose"), message); }

  remove() {
    this.#image = null;
    this.#editor.image = null;
    this.#show();
    this.#onChange(true);
    $("#picture-choose").focus();
  }

  /// The picture that a job was given, for "before and after".
  rememberFor(job) {
    const { sha256 } = job?.request.image ?? {};
    if (sha256 && this.#image) {
      remember(sha256, { url: this.#origin ?? this.#image.src, margins: this.#editor.margins });
    }
  }

  /// Another part of the picture. A part that is new is to be another thing, not the same in another way.
  #edited(before) {
    if (this.#editor.isPartly && !before) $("#strength").value = this.hasMask ? 1 : kBoxStrength;
    this.#show();
    const size = `${this.size.width}x${this.size.height}`;
    this.#onChange(size !== this.#shownSize);
    this.#shownSize = size;
  }

  #show() {
    $("#picture-settings").hidden = !this.#image;
    $("#picture-empty").hidden = Boolean(this.#image);
    const isPartly = this.#editor.isPartly;
    $("#mask-settings").hidden = !isPartly;
    $("#mask-blur-field").hidden = !this.hasMask;
    $("#masked-area-field").hidden = !this.hasMask || this.hasBoxes;
    $("#picture-paint").textContent = t(isPartly ? "picture_repaint" : "picture_paint");
    if (!this.#image) return;
    $("#picture-open").setAttribute("aria-label", `${t("picture_chosen", this.size)}. ${t("picture_paint")}`);
    this.#draw($("#picture-thumbnail"));
    this.#editor.drawMark($("#picture-thumbnail"));
  }

  /// What the strength means: in a word, and how the run begins.
  showStrength(steps, strength) {
    const count = stepsOf(steps, strength);
    const noise = noiseOf(steps, strength);
    const meaning = noise === 1 && this.#editor.isPartly ? t("strength_part") : meaningOf(noise);
    $("#strength-hint").textContent = `${meaning} ${t("strength_steps", { count, steps })}`;
    if (!this.#image) return;
    const start = $("#picture-start");
    this.#draw(start);
    this.#noise ??= noiseCanvas();
    const layer = el("canvas");
    [layer.width, layer.height] = [start.width, start.height];
    const context = layer.getContext("2d");
    if (this.#editor.isPartly) {
      this.#editor.drawPart(layer);
      context.globalCompositeOperation = "source-in";
    }
    context.drawImage(this.#noise, 0, 0, start.width, start.height, 0, 0, start.width, start.height);
    const target = start.getContext("2d");
    target.globalAlpha = noise;
    target.drawImage(layer, 0, 0);
    target.globalAlpha = 1;
  }

  /// The picture, and room for what is added around it.
  #draw(canvas) {
    const { width, height } = this.size;
    const scale = kThumbnail_px / Math.max(width, height);
    const { left, top } = this.#editor.margins;
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = scale < 2;
    context.drawImage(this.#image, left * scale, top * scale, this.#image.naturalWidth * scale,
                      this.#image.naturalHeight * scale);
  }
}
