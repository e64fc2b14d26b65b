// One picture, large, with everything that is known about it.
import * as api from "/api.js";
import { note } from "/announce.js";
import { $, el, openDialog } from "/dom.js";
import { explain, showError } from "/errors.js";
import { picturesOf, showPicture } from "/gallery.js";
import { originOf, urlOfOrigin } from "/origins.js";
import { formatBytes, formatNumber, formatTime, onLanguage, t } from "/i18n.js";

const kLargestZoom = 16;
const kSmallestZoom = 0.0625;

/// Rows of [name, value] about a picture; `compare` shows the same.
export function factsOf({ job, image }) {
  const { request } = job;
  const rows = [[t("size"), `${image.width} × ${image.height}`],
                [t("steps"), request.num_inference_steps],
                [t("guidance"), formatNumber(request.guidance_scale)],
                [t("seed"), image.seed],
                [t("model"), request.model]];
  if (request.variation_strength) {
    const seed = request.variation_seeds[job.images.indexOf(image)] ?? request.variation_seeds[0];
    rows.push([t("variation"), `${formatNumber(request.variation_strength)}, ${seed}`]);
  }
  if (request.hires_scale || request.hires_width) {
    const larger = request.hires_scale ? `× ${formatNumber(request.hires_scale)}` : `${request.hires_width} × ${request.hires_height}`;
    rows.push([t("hires"), `${larger}, ${formatNumber(request.hires_strength ?? 0.7)}`]);
  }
  if (request.image) rows.push([t("strength"), formatNumber(request.image.strength)]);
  if (request.negative_prompt) rows.push([t("negative"), request.negative_prompt]);
  return rows;
}

export function fileName({ job, image }) {
  const words = job.request.prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.slice(0, 6).join("-") ?? "picture";
  const extension = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" }[image.content_type] ?? "img";
  return `${words.slice(0, 60)}-${image.seed}.${extension}`;
}

export class Viewer {
  #jobs;
  #url = null;
  #composer;
  #compare;
  #zoom = null;  // of the screen's pixels; null: as large as it fits

  constructor(jobs, composer, compare) {
    this.#jobs = jobs;
    this.#composer = composer;
    this.#compare = compare;
    const on = (id, listener) => $(`#viewer-${id}`).addEventListener("click", listener);
    on("previous", () => this.#step(-1));
    on("next", () => this.#step(1));
    on("use", () => this.#use());
    on("vary", () => this.#vary());
    on("smaller", () => this.#zoomTo(this.#scale / 2));
    on("larger", () => this.#zoomTo(this.#scale * 2));
    on("zoom", () => this.#zoomTo(this.#zoom === null ? 1 : null));
    $("#viewer-image").addEventListener("click", () => this.#zoomTo(this.#zoom === null ? 1 : null));
    addEventListener("resize", () => { if (this.#current) this.#zoomTo(this.#zoom); });
    on("begin", () => this.#attempt(() => this.#begin()));
    on("before", () => this.#attempt(() => this.#showBefore()));
    on("download", () => this.#attempt(() => this.#download()));
    on("copy", () => this.#attempt(() => this.#copy()));
    on("compare", () => this.#pick());
    on("delete", () => this.#delete());
    $("#viewer").addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#step(-1);
      else if (event.key === "ArrowRight") this.#step(1);
    });
    $("#viewer").addEventListener("close", () => { this.#url = null; });
    jobs.addEventListener("list", () => this.#listChanged());
    onLanguage(() => { if (this.#current) this.#show(); });
  }

  get #pictures() { return picturesOf(this.#jobs.all); }
  get #current() { return this.#pictures.find(({ image }) => image.url === this.#url); }

  open(url) {
    this.#url = url;
    this.#show();
    openDialog($("#viewer"));
    this.#zoomTo(null);
  }

  /// What one pixel of the picture has of the screen's.
  get #scale() {
    const { width, height } = this.#current.image;
    const { clientWidth, clientHeight } = $("#viewer-pane");
    return this.#zoom ?? Math.min(clientWidth / width, clientHeight / height);
  }

  #zoomTo(zoom) {
    this.#zoom = zoom === null ? null : Math.min(kLargestZoom, Math.max(kSmallestZoom, zoom));
    const pane = $("#viewer-pane"), image = $("#viewer-image");
    pane.classList.toggle("zoomed", this.#zoom !== null);
    const { width, height } = this.#current.image;
    image.style.width = this.#zoom === null ? "" : `${width * this.#zoom}px`;
    image.style.height = this.#zoom === null ? "" : `${height * this.#zoom}px`;
    $("#viewer-zoom").textContent = formatNumber(this.#scale, { style: "percent", maximumFractionDigits: 0 });
  }

  #step(by) {
    const pictures = this.#pictures;
    const next = pictures[pictures.findIndex(({ image }) => image.url === this.#url) + by];
    if (!next) return;
    this.#url = next.image.url;
    this.#show();
    this.#zoomTo(null);
  }

  #listChanged() {
    if (!this.#url) return;
    if (!this.#current) $("#viewer").close();  // deleted, perhaps in another tab
    else this.#showNeighbours();
  }

  #showNeighbours() {
    const pictures = this.#pictures;
    const place = pictures.findIndex(({ image }) => image.url === this.#url);
    $("#viewer-previous").disabled = place <= 0;
    $("#viewer-next").disabled = place >= pictures.length - 1;
  }

  async #show() {
    const picture = this.#current;
    const { job, image } = picture;
    showError($("#viewer-error"), null);
    this.#showNeighbours();
    $("#viewer-before").hidden = !originOf(job);
    const place = job.images.indexOf(image) + 1;
    const rows = [...factsOf(picture), ...(job.images.length > 1 ? [[t("picture_number"), t("picture_of", { place, count: job.images.length })]] : []), [t("made"), formatTime(job.finished)],
                  [t("took"), t("seconds", { seconds: formatNumber(job.finished - job.started, { maximumFractionDigits: 1 }) })],
                  [t("file"), `${image.content_type.split("/")[1].toUpperCase()}, ${formatBytes(image.size_bytes)}`]];
    $("#viewer-facts").replaceChildren(
      el("p", { class: "viewer-prompt", text: job.request.prompt }),
      job.enhanced_prompt && el("details", { class: "viewer-enhanced", open: true },
                                el("summary", { text: t("enhanced") }), el("p", { text: job.enhanced_prompt })) || "",
      el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })])));
    try {
      await showPicture($("#viewer-image"), picture);
    } catch {
      showError($("#viewer-error"), t("picture_gone"));
    }
  }

  #use() {
    const { job, image } = this.#current;
    $("#viewer").close();
    this.#composer.use(job, image);
  }

  #vary() {
    const { job, image } = this.#current;
    $("#viewer").close();
    this.#composer.vary(job, image);
  }

  async #begin() {
    const { url } = this.#current.image;
    const blob = await api.pictureFile(url);
    $("#viewer").close();
    await this.#composer.beginWith(blob, url);
  }

  async #showBefore() {
    const picture = this.#current;
    const before = await urlOfOrigin(originOf(picture.job)).catch(() => { throw new Error(t("picture_gone")); });
    $("#viewer").close();
    this.#compare.showBefore(before, picture);
  }

  async #download() {
    const picture = this.#current;
    el("a", { href: await api.picture(picture.image.url), download: fileName(picture) }).click();
  }

  async #copy() {
    const { job } = this.#current;
    await copyText(job.enhanced_prompt || job.request.prompt);
    note(t("copied"));
  }

  #pick() {
    const picture = this.#current;
    $("#viewer").close();
    if (!this.#compare.has(picture.image.url)) this.#compare.toggle(picture);
  }

  async #delete() {
    const picture = this.#current;
    if (!await confirmDelete(1)) return;
    await this.#attempt(async () => {
      await this.#jobs.removePicture(picture);
      note(t("announce_deleted"));
      $("#pictures-title").focus();
    });
  }

  async #attempt(action) {
    try {
      showError($("#viewer-error"), null);
      await action();
    } catch (error) {
      showError($("#viewer-error"), explain(error));
    }
  }
}

/// Pages that come over plain http from another machine have no clipboard of their own.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", { class: "unseen" });
  area.value = text;
  $("#viewer").append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error(t("copy_failed"));
}

/// Asks once more; resolves to whether to go on.
export function confirmDelete(count) {
  const dialog = $("#confirm");
  $("#confirm-title").textContent = t("delete_title", { count });
  $("#confirm-text").textContent = t("delete_text", { count });
  return new Promise((resolve) => {
    let yes = false;
    $("#confirm-yes").onclick = () => { yes = true; dialog.close(); };
    dialog.addEventListener("close", () => resolve(yes), { once: true });
    openDialog(dialog);
  });
}
