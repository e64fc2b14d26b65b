// Sending the form, and having the prompt written out beforehand.
import { announce, note } from "/announce.js";
import { $, $$, el } from "/dom.js";
import { explain, showError } from "/errors.js";
import { onLanguage, t } from "/i18n.js";
import { isFinal } from "/jobs.js";
import { eachOption, setText } from "/settings.js";
import { load, save } from "/storage.js";

const kHistory = 30;
const kShownChars = 80;

// The server's names of what it may refuse, where they are in the form.
const kFields = { prompt: "#prompt", negative_prompt: "#negative", width: "#width", height: "#height", n: "#count",
                  seed: "#seed", output_compression: "#quality", output_format: "#format", model: "#model",
                  image: "#picture-paint", mask: "#picture-paint", outpaint: "#picture-paint", mask_blur: "#mask-blur", strength: "#strength",
                  variation_strength: "#variation-strength", variation_seed: "#variation-seed", hires_scale: "#hires-scale",
                  hires_strength: "#hires-strength", hires_steps: "#hires-steps",
                  ...eachOption((name) => `#${name}`) };

export class Composer {
  #jobs;
  #settings;
  #enhancing = null;  // the job that writes the prompt out
  #enhanced = null;   // {prompt, text}: what was written out, and of which prompt

  constructor(jobs, settings) {
    this.#jobs = jobs;
    this.#settings = settings;
    $("#composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#generate();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || $("dialog[open]")) return;
      event.preventDefault();
      this.#generate();
    });
    $("#composer").addEventListener("input", () => this.#clearError());
    $("#enhance").addEventListener("click", () => (this.#enhancing ? this.#stopEnhancing() : this.#enhance()));
    $("#prompt").addEventListener("input", () => this.#fitEnhanced());
    $("#enhanced").addEventListener("input", () => { if (this.#enhanced) this.#enhanced.text = $("#enhanced").value; });
    $("#history").addEventListener("change", () => this.#takeFromHistory());
    this.#showHistory();
    $("#enhanced-discard").addEventListener("click", () => {
      this.showEnhanced(null);
      $("#prompt").focus();
    });
    $("#seed-reuse").addEventListener("click", () => this.#settings.fill({ seeds: this.#lastSeeds() }));
    jobs.addEventListener("list", () => { $("#seed-reuse").disabled = this.#lastSeeds().length === 0; });
    jobs.addEventListener("ended", ({ detail }) => this.#enhancerEnded(detail));
    onLanguage(() => {
      this.#showEnhancing();
      this.#showHistory();
    });
  }

  /// Puts the settings of a finished picture into the form.
  use(job, image) {
    const { request } = job;
    const variation = request.variation_seeds?.[job.images.indexOf(image)];
    this.#settings.fill({ variation_strength: "", hires_scale: "", hires_strength: "", hires_steps: "", ...request, n: 1,
                          seeds: [image.seed], variation_seeds: variation ? [variation] : [], output_compression: request.output_compression ?? 90 });
    this.showEnhanced(job.enhanced_prompt);
    this.#clearError();
    $("#prompt").focus();
    announce(t("announce_settings"));
  }

  /// The same of a file, whatever program wrote it.
  useSettings({ enhanced_prompt: enhanced, ...request }) {
    this.#settings.fillFromFile(request);
    this.showEnhanced(enhanced);
    this.#clearError();
    $("#prompt").focus();
    note(t("announce_file_settings"));
  }

  /// Four pictures like that one.
  vary(job, image) {
    this.use(job, image);
    this.#settings.fill({ n: Math.min(4, this.#settings.limits.max_images), variation_strength: 0.3, variation_seeds: [] });
    $("#generate").focus();
  }

  /// Takes a picture to begin with, the one made here at `origin`.
  async beginWith(blob, origin) {
    await this.#settings.picture.choose(blob, origin);
    $("#prompt").focus();
  }

  /// The written-out text of the prompt that is in the form, which then is what is drawn; null: draw the prompt itself.
  showEnhanced(text) {
    this.#enhanced = text ? { prompt: $("#prompt").value.trim(), text } : null;
    this.#showEnhancedText(text);
  }

  /// Another prompt has nothing of it; the old one has it again.
  #fitEnhanced() {
    if (!this.#enhanced) return;
    const belongs = $("#prompt").value.trim() === this.#enhanced.prompt;
    if (belongs === !$("#enhanced-field").hidden) return;
    this.#showEnhancedText(belongs ? this.#enhanced.text : null);
    announce(t(belongs ? "announce_enhanced_back" : "announce_enhanced_gone"));
  }

  #showEnhancedText(text) {
    $("#enhanced-field").hidden = !text;
    $("#prompt").classList.toggle("superseded", Boolean(text));
    setText($("#enhanced"), text ?? "");
  }

  async #generate() {
    this.#clearError();
    if (!this.#settings.ready) {
      this.#jobs.refresh();
      return;
    }
    try {
      const request = this.#settings.read();
      announce(t("announce_submitted", { prompt: request.prompt }));
      this.#remember($("#prompt").value.trim());
      const submitted = this.#jobs.submit(request);
      showActivity();
      this.#settings.picture.rememberFor(await submitted);
    } catch (error) {
      this.#showFormError(error);
    }
  }

  // --- prompts that were drawn before

  #remember(prompt) {
    save("prompts", [prompt, ...load("prompts", []).filter((other) => other !== prompt)].slice(0, kHistory));
    this.#showHistory();
  }

  #showHistory() {
    const prompts = load("prompts", []);
    $("#history").hidden = prompts.length === 0;
    $("#history").replaceChildren(el("option", { value: "", text: t("history") }),
      ...prompts.map((text, i) => el("option", { value: String(i), text: [...text].slice(0, kShownChars).join("") })));
  }

  #takeFromHistory() {
    const prompt = load("prompts", [])[$("#history").value];
    $("#history").value = "";
    if (prompt === undefined) return;
    setText($("#prompt"), prompt);
    $("#prompt").dispatchEvent(new Event("input", { bubbles: true }));
    $("#prompt").focus();
  }

  #lastSeeds() {
    return this.#jobs.all.find((job) => job.kind === "image" && job.status === "completed")?.request.seeds ?? [];
  }

  async #enhance() {
    this.#clearError();
    try {
      this.#settings.checkPrompt($("#prompt"));
      const { width, height } = this.#settings.size;
      const prompt = $("#prompt").value.trim();
      this.#showEnhancing({});
      const job = await this.#jobs.submit({ kind: "enhance", model: this.#settings.model.id, prompt, width, height });
      if (!this.#enhancing) await this.#jobs.cancel(job);  // stopped meanwhile
      else if (isFinal(job)) this.#enhancerEnded(Object.assign(this.#enhancing, job));
      else this.#enhancing.id = job.id;
    } catch (error) {
      this.#showEnhancing(null);
      this.#mark(error.field);
      showError($("#enhance-error"), explain(error));
    }
  }

  async #stopEnhancing() {
    const { id } = this.#enhancing;
    this.#showEnhancing(null);
    // What is not known yet, or over already, needs no cancelling.
    const job = id && this.#jobs.get(id);
    if (job && !isFinal(job)) await this.#jobs.cancel(job).catch(() => {});
  }

  #enhancerEnded(job) {
    if (!this.#enhancing || job.id !== this.#enhancing.id) return;
    this.#showEnhancing(null);
    if (job.status === "completed") {
      this.showEnhanced(job.enhanced_prompt);
      $("#enhanced").focus();
    } else if (job.status === "failed") {
      showError($("#enhance-error"), t("error_refused", { message: job.error?.message }));
    }
  }

  #showEnhancing(state = this.#enhancing) {
    this.#enhancing = state;
    $("#enhance").textContent = state ? `${t("enhancing")} ${t("cancel")}` : t("enhance_now");
    $("#enhancer").classList.toggle("busy", Boolean(state));
  }

  #showFormError(error) {
    const field = error.field ?? (error.param in kFields ? $(kFields[error.param]) : null);
    this.#mark(field);
    showError($("#form-error"), explain(error));
  }

  #mark(field) {
    if (!field) return;
    field.closest("details")?.setAttribute("open", "");
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-errormessage", "form-error");
    field.focus();
  }

  #clearError() {
    showError($("#form-error"), null);
    showError($("#enhance-error"), null);
    for (const field of $$("#composer [aria-invalid]")) field.removeAttribute("aria-invalid");
  }
}

/// In a narrow window the jobs are below the form.
function showActivity() {
  const title = $("#activity-title");
  if (title.getBoundingClientRect().top > innerHeight - 100) title.scrollIntoView({ block: "start", behavior: "smooth" });
}
