// The form: what is to be drawn, and how. Remembered by the browser, so that a reload changes nothing.
import { $, $$, el } from "/dom.js";
import { formatNumber, onLanguage, t } from "/i18n.js";
import { Loras } from "/loras.js";
import { Picture } from "/picture.js";
import { Sizes } from "/sizes.js";
import { load, save } from "/storage.js";

/// The server's names of a request's options, and the fields of the form: "default_" and the latter is
/// what a model says of its defaults. Width and height are a field of their own (sizes.js).
const kOptions = { num_inference_steps: "steps", guidance_scale: "guidance" };
/// Those that are left open unless somebody asks for them: their fields may be empty.
const kFurtherOptions = { variation_strength: "variation-strength", hires_scale: "hires-scale",
                          hires_strength: "hires-strength", hires_steps: "hires-steps" };
/// An object of all options, each the value of its field by `value`.
export const eachOption = (value) =>
  Object.fromEntries(Object.entries(kOptions).map(([option, name]) => [option, value(name)]));
const kPaired = ["count", "strength", "mask-blur", ...Object.values(kOptions)];
const kNothingFurther = { variation_strength: "", variation_seeds: [], hires_scale: "", hires_strength: "", hires_steps: "" };
const kEmbeddedModel = "emoji-tiny";
const kLargestSeed = 2n ** 64n - 1n;
/// As many unfinished pictures are asked for at most.
export const kPreviews = 10;

/// Something in the form that cannot be; `field` is the element to look at.
export class FormError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/// A textarea as high as its text.
function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

export function setText(area, text) {
  area.value = text;
  grow(area);
}

export class Settings {
  #capabilities = null;
  #sizes = new Sizes(() => this.#changed());
  #loras = new Loras(() => this.#changed());
  #wantedLoras = load("settings")?.loras ?? [];  // until the server has said which there are
  picture = new Picture((hasOtherSize) => this.#pictureChanged(hasOtherSize));

  constructor() {
    for (const name of kPaired) this.#pair(name);
    for (const area of $$("#composer textarea")) area.addEventListener("input", () => grow(area));
    addEventListener("resize", () => $$("#composer textarea").forEach(grow));
    $("#composer").addEventListener("input", () => this.#changed());
    $("[name=seed-mode][value=fixed]").addEventListener("change", () => {
      $("#seed").value ||= crypto.getRandomValues(new Uint32Array(1))[0];
      this.#changed();
    });
    $("#model").addEventListener("change", () => this.#modelChanged());
    $("#defaults").addEventListener("click", () => this.#setDefaults());
    onLanguage(() => {
      if (this.ready) this.#showModel(this.#sizes.value);
      $("#toy-objects").replaceChildren(...t("toy_objects").split(", ").map((prompt) => el("button", {
        type: "button", class: "chip", text: prompt, onclick: () => {
          setText($("#prompt"), prompt);
          $("#prompt").dispatchEvent(new Event("input", { bubbles: true }));
        } })));
    });
    // At once: the user may begin to write before the server has said what else there is.
    $("#prompt").value ||= load("settings")?.prompt ?? "";
  }

  get model() {
    const { models } = this.#capabilities;
    return models.find((model) => model.id === $("#model").value) ?? models[0];
  }
  get limits() { return this.#capabilities.limits; }
  get size() { return this.#sizes.value; }
  get ready() { return this.#capabilities !== null && this.#capabilities.models.length > 0; }

  /// Called when the server has said what it can do, and again after each restart of it.
  show(capabilities) {
    const first = !this.ready;
    this.#capabilities = capabilities;
    if (!this.ready) return;
    const { models, limits, options, formats } = capabilities;
    const chosen = first ? load("settings")?.model : $("#model").value;
    $("#model").replaceChildren(...models.map(({ id }) => el("option", { value: id, text: id })));
    if (models.some(({ id }) => id === chosen)) $("#model").value = chosen;
    $("#model-field").hidden = models.length < 2;
    const format = $("#format").value;
    $("#format").replaceChildren(...formats.map((name) => el("option", { value: name, text: name.toUpperCase() })));
    if (formats.includes(format)) $("#format").value = format;
    for (const input of [$("#count"), $("#count-range")]) input.max = limits.max_images;
    for (const [option, name] of Object.entries({ ...kOptions, ...kFurtherOptions })) {
      Object.assign($(`#${name}`), options[option]);
    }
    this.#showModel(first ? null : this.#sizes.value);
    if (first) this.#restore();
    this.#changed();
  }

  showLoras(names) {
    this.#loras.show(names);
    if (this.#wantedLoras.length) this.#loras.value = this.#wantedLoras;
    this.#wantedLoras = [];
    this.#changed();
  }

  #showModel(size) {
    this.#sizes.show(this.model);
    const { keeps_jobs, saves_to } = this.#capabilities;
    $("#kept").textContent = [t(keeps_jobs ? "kept" : saves_to ? "kept_until_end" : "kept_in_memory"),
                              saves_to ? t("saved", { folder: saves_to }) : ""].join(" ").trim();
    $("#confirm-saved").textContent = saves_to ? t("saved_stays", { folder: saves_to }) : "";
    $("#model-name").textContent = t("model_name", { name: this.model.id });
    $("#toy").hidden = this.model.id !== kEmbeddedModel;
    $("#steps-range").max = Math.min(this.limits.max_steps, Math.max(50, 2 * this.model.default_steps));
    $("#enhancer").hidden = !this.model.has_enhancer;
    if (size) this.#sizes.value = size;
  }

  #modelChanged() {
    this.#showModel(null);
    this.fill(this.#modelDefaults());
  }

  #modelDefaults() {
    const { model } = this;
    return { width: model.default_width, height: model.default_height,
             ...eachOption((name) => model[`default_${name}`]) };
  }

  #setDefaults() {
    this.fill({ ...this.#modelDefaults(), negative_prompt: "", seeds: [], n: 1,
                use_pe: this.model.has_enhancer, output_format: this.#capabilities.formats[0], output_compression: 90,
                priority: "normal", loras: [], ...kNothingFurther });
  }

  #restore() {
    const settings = load("settings");  // before the defaults take its place
    this.#setDefaults();
    if (settings) this.fill({ ...settings, prompt: $("#prompt").value });
  }

  /// Puts a request, or part of one, into the form.
  fill(request) {
    const set = (selector, value) => { if (value !== undefined && value !== null) $(selector).value = value; };
    if (request.model && [...$("#model").options].some(({ value }) => value === request.model) &&
        request.model !== $("#model").value) {
      $("#model").value = request.model;
      this.#showModel(null);
    }
    set("#prompt", request.prompt);
    set("#negative", request.negative_prompt);
    if (request.width && request.height) this.#sizes.value = request;
    for (const [option, name] of Object.entries(kOptions)) set(`#${name}`, request[option]);
    set("#count", request.n);
    set("#strength", request.image?.strength);
    if (request.seeds) this.#setSeeds(request.seeds);
    for (const [option, name] of Object.entries(kFurtherOptions)) set(`#${name}`, request[option]);
    if (request.hires_width && request.hires_height) set("#hires-scale", request.hires_width / request.width);
    if (request.variation_seeds) $("#variation-seed").value = request.variation_seeds.join(", ");
    if (request.use_pe !== undefined) $("#use-pe").checked = request.use_pe;
    set("#format", request.output_format);
    set("#quality", request.output_compression);
    set("#priority", request.priority);
    if (request.loras) this.#loras.value = request.loras;
    $$("#composer textarea").forEach(grow);
    this.#changed();
  }

  /// The same of a file, which may be of another program: what this model cannot do is made what it can.
  fillFromFile(request) {
    const multiple = this.model.size_multiple;
    const side = (px) => multiple * Math.max(1, Math.round(px / multiple));
    const size = request.width > 0 && request.height > 0 ? { width: side(request.width), height: side(request.height) } : {};
    const known = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined && !Number.isNaN(value)));
    this.fill({ ...kNothingFurther, use_pe: false, ...known, n: 1, ...size });
  }

  #setSeeds(seeds) {
    $(`[name=seed-mode][value=${seeds.length ? "fixed" : "random"}]`).checked = true;
    if (seeds.length) $("#seed").value = seeds.join(", ");
  }

  /// The form as a request; throws FormError for the first thing that is wrong.
  read() {
    const prompt = $("#enhanced-field").hidden ? $("#prompt") : $("#enhanced");
    this.checkPrompt(prompt);
    // A part that is drawn larger has the size that suits it.
    const size = this.#drawsArea ? {} : this.#readSize();
    const options = eachOption((name) => this.#number(name));
    const n = this.#number("count");
    if (this.#loras.wrong) throw new FormError(this.#loras.wrong, t("error_lora"));
    const lossy = $("#format").value !== "png";
    return {
      kind: "image", model: this.model.id, prompt: prompt.value.trim(),
      negative_prompt: options.guidance_scale > 1 ? $("#negative").value.trim() : "", ...size, n, ...this.#seeds(n),
      ...options, ...this.#furtherOptions(),
      // The enhancer knows nothing of the picture.
      use_pe: this.model.has_enhancer && prompt === $("#prompt") && $("#use-pe").checked && !this.picture.chosen,
      ...this.#pictureFields(size),
      output_format: $("#format").value, ...(lossy && { output_compression: this.#number("quality") }),
      priority: $("#priority").value, ...(this.#loras.value.length && { loras: this.#loras.value }),
      previews: Math.min(options.num_inference_steps, kPreviews),
    };
  }

  checkPrompt(area) {
    const count = [...area.value.trim()].length;
    if (count === 0) throw new FormError(area, t("error_prompt_empty"));
    const limit = this.limits.max_prompt_chars;
    if (count > limit) {
      throw new FormError(area, t("error_prompt_long", { limit: formatNumber(limit), count: formatNumber(count) }));
    }
  }

  #readSize() {
    const { width, height } = this.#sizes.value;
    const { size_multiple: multiple } = this.model;
    const wrong = [[width, $("#width")], [height, $("#height")]].find(([px]) => !(px >= multiple && px % multiple === 0));
    if (wrong) throw new FormError(wrong[1], t("error_size", { multiple }));
    const limit = this.limits.max_pixels;
    if (width * height > limit) {
      const pixels = formatNumber(width * height);
      throw new FormError($("#width"), t("error_pixels", { pixels, limit: formatNumber(limit) }));
    }
    return { width, height };
  }

  /// Variations of one picture have one seed, and others of their own.
  #seeds(pictures) {
    const isRandom = $("[name=seed-mode]:checked").value === "random";
    const seed = isRandom ? undefined : this.#readSeeds($("#seed"), pictures);
    if (!(Number($("#variation-strength").value) > 0)) return { seed };
    const variations = $("#variation-seed").value.trim() ? this.#readSeeds($("#variation-seed"), pictures) : undefined;
    return { seed: seed?.length === 1 ? Array(pictures).fill(seed[0]) : seed, variation_seed: variations };
  }

  #readSeeds(field, pictures) {
    const seeds = field.value.split(/[\s,，]+/).filter((seed) => seed !== "");
    const good = (seed) => /^\d{1,20}$/.test(seed) && BigInt(seed) <= kLargestSeed;
    if (!seeds.length || !seeds.every(good)) throw new FormError(field, t("error_seed"));
    if (seeds.length > 1 && seeds.length !== pictures) {
      throw new FormError(field, t("error_seed_count", { count: seeds.length, pictures }));
    }
    return seeds.map((seed) => BigInt(seed).toString());  // JSON knows no leading zeros
  }

  /// A second run only where its scale says so.
  #furtherOptions() {
    const filled = Object.entries(kFurtherOptions).filter(([, name]) => $(`#${name}`).value !== "");
    const wanted = filled.filter(([option]) => !option.startsWith("hires_") || $("#hires-scale").value !== "");
    return Object.fromEntries(wanted.map(([option, name]) => [option, this.#number(name)])
      .filter(([option, value]) => option !== "variation_strength" || value > 0));
  }

  get #drawsArea() { return this.picture.hasMask && !this.picture.hasBoxes && $("#masked-area").checked; }

  #pictureFields(size) {
    if (!this.picture.chosen) return {};
    return { ...this.picture.fields, strength: this.#number("strength"),
             ...(this.picture.hasMask && { mask_blur: this.#number("mask-blur") }),
             ...(this.#drawsArea && { inpaint_area: "masked" }), ...this.picture.boxesWithin(this.#finalSize(size)) };
  }

  /// After the second run, if there is one.
  #finalSize({ width, height }) {
    const scale = Number($("#hires-scale").value || 1);
    const { size_multiple: multiple } = this.model;
    const scaled = (px) => multiple * Math.max(1, Math.round(px * scale / multiple));
    return { width: scaled(width), height: scaled(height) };
  }

  /// A result of the picture's proportions, as large as the model's own at most.
  #pictureChanged(hasOtherSize) {
    if (hasOtherSize && this.picture.chosen && this.ready) {
      const { width, height } = this.picture.size;
      const { size_multiple: multiple, default_width, default_height } = this.model;
      const scale = Math.min(1, Math.sqrt(default_width * default_height / (width * height)));
      const side = (px) => multiple * Math.max(1, Math.round(px * scale / multiple));
      this.#sizes.value = { width: side(width), height: side(height) };
    }
    this.#changed();
  }

  #number(name) {
    const input = $(`#${name}`);
    const { valueAsNumber: value } = input;
    const [min, max] = [Number(input.min), Number(input.max)];
    const whole = input.step === "1";
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
    const label = $(`label[for=${name}], label:has(#${name})`).firstChild.textContent;
    throw new FormError(input, t("error_range", { name: label, min, max }));
  }

  /// A number and a slider for the same thing.
  #pair(name) {
    const [input, range] = [$(`#${name}`), $(`#${name}-range`)];
    range.addEventListener("input", () => { input.value = range.value; });
    input.addEventListener("input", () => { range.value = input.value; });
  }

  #changed() {
    for (const name of kPaired) {
      const range = $(`#${name}-range`);
      range.value = $(`#${name}`).value;
      const share = (range.value - range.min) / (range.max - range.min || 1);
      range.style.setProperty("--share", share);
    }
    $("#negative-field").hidden = !(Number($("#guidance").value) > 1);
    $("#seed-field").hidden = $("[name=seed-mode]:checked").value === "random";
    $("#quality-field").hidden = $("#format").value === "png";
    this.picture.showStrength(Number($("#steps").value), Number($("#strength").value));
    if (this.ready) save("settings", this.#snapshot());
  }

  #snapshot() {
    const seeds = $("#seed-field").hidden ? [] : $("#seed").value.split(/[\s,，]+/).filter(Boolean);
    return { model: $("#model").value, prompt: $("#prompt").value, negative_prompt: $("#negative").value,
             ...this.#sizes.value, ...eachOption((name) => $(`#${name}`).value), n: $("#count").value, seeds,
             use_pe: $("#use-pe").checked, output_format: $("#format").value,
             ...Object.fromEntries(Object.entries(kFurtherOptions).map(([option, name]) => [option, $(`#${name}`).value])),
             variation_seeds: $("#variation-seed").value.split(/[\s,，]+/).filter(Boolean),
             output_compression: $("#quality").value, priority: $("#priority").value,
             loras: this.#wantedLoras.length ? this.#wantedLoras : this.#loras.value };
  }
}
