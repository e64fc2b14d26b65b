// The jobs that are not finished: where each is, what it looks like so far, and what went wrong.
import { announce, note } from "/announce.js";
import { $, el, iconButton, reconcile } from "/dom.js";
import { explain } from "/errors.js";
import { formatNumber, onLanguage, t } from "/i18n.js";
import { kPreviews } from "/settings.js";

const kLongestName = 60;
const kMinute_s = 60;

/// A job's name in lists and for screen readers: the beginning of its prompt.
export function nameOf({ request: { prompt } }) {
  const characters = [...prompt];
  return characters.length <= kLongestName ? prompt : `${characters.slice(0, kLongestName - 1).join("")}…`;
}

function statusOf(job) {
  switch (job.status) {
    case "sending": return t("status_sending");
    case "unsent": return t("status_unsent");
    case "failed": return t("status_failed");
    case "queued":
      if (job.queue_position === null) return t("status_queued");
      return job.queue_position === 0 ? t("status_next") : t("status_place", { ahead: job.queue_position });
    default: return stageOf(job);
  }
}

function stageOf({ progress, request }) {
  if (!progress) return t("stage_waiting");
  const parts = [t(`stage_${progress.stage || "waiting"}`)];
  const { image, images } = progress, count = request.seeds.length;
  // All at once is seen by the frame, which counts them.
  if (images && images < count) {
    parts.push(images === 1 ? t("image_of", { place: image + 1, count })
                            : t("images_of", { first: image + 1, last: image + images, count }));
  }
  if (progress.stage === "transformer" && progress.steps) parts.push(t("step_of", { step: progress.step, steps: progress.steps }));
  return parts.join(t("comma"));
}

function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 2 * kMinute_s) return t("seconds_left", { seconds: formatNumber(Math.max(1, Math.round(seconds))) });
  return t("minutes_left", { minutes: formatNumber(Math.round(seconds / kMinute_s)) });
}

export class Activity {
  #jobs;

  constructor(jobs) {
    this.#jobs = jobs;
    jobs.addEventListener("list", () => this.#render());
    jobs.addEventListener("job", ({ detail }) => this.#update(detail));
    jobs.addEventListener("preview", ({ detail }) => this.#preview(detail));
    jobs.addEventListener("ended", ({ detail }) => this.#ended(detail));
    onLanguage(() => {
      $("#cards").replaceChildren();
      this.#render();
    });
  }

  #shown() {
    const jobs = this.#jobs.all.filter(({ kind, status }) =>
      kind === "image" && !["completed", "cancelled"].includes(status));
    // Running first, then in the order of the queue, then what went wrong.
    const rank = ({ status }) => ["running", "queued", "sending", "unsent", "failed"].indexOf(status);
    return jobs.sort((a, b) => rank(a) - rank(b) || (a.queue_position ?? 0) - (b.queue_position ?? 0));
  }

  #render() {
    const jobs = this.#shown();
    reconcile($("#cards"), jobs, ({ id, status }) => (status === "failed" ? `${id} failed` : id),
              (job) => (job.status === "failed" ? this.#failedCard(job) : this.#card(job)));
    for (const job of jobs) this.#update(job);
    $("#activity").hidden = jobs.length === 0;
    this.#title();
  }

  #card(job) {
    const { width, height, prompt } = job.request;
    const name = nameOf(job);
    const count = job.request.seeds.length;
    const frame = el("div", { class: "frame" }, el("img", { alt: "", hidden: true }),
                     count > 1 && el("span", { class: "count", text: `× ${count}`, title: t("count") }));
    frame.style.aspectRatio = `${width} / ${height}`;
    const bar = el("progress", { max: "1", "aria-label": t("progress_of", { prompt: name }) });
    const cancel = el("button", { type: "button", class: "secondary-button small cancel", text: t("cancel"),
                                  "aria-label": t("cancel_job", { prompt: name }),
                                  onclick: () => this.#cancel(job.id, cancel) });
    return el("article", { class: "card", "aria-label": name },
              el("div", { class: "frames" }, frame),
              el("div", { class: "card-text" }, el("p", { class: "card-prompt", text: prompt }),
                 el("p", { class: "row status" }, el("span", { class: "stage-name" }), el("span", { class: "time-left" })),
                 bar, el("p", { class: "error", role: "alert", hidden: true }), cancel));
  }

  #failedCard(job) {
    const error = el("p", { class: "error", text: job.error?.message ?? "" });
    const again = el("button", { type: "button", class: "secondary-button small", text: t("try_again"),
                                 onclick: () => this.#again(job, error) });
    const dismiss = iconButton("close", t("dismiss"), () => this.#remove(job, error));
    return el("article", { class: "card failed", "aria-label": nameOf(job) },
              el("div", { class: "card-text" }, el("p", { class: "card-prompt", text: job.request.prompt }),
                 el("p", { class: "status", text: t("status_failed") }), error, again), dismiss);
  }

  #find(id) { return [...$("#cards").children].find((card) => card.dataset.key === id); }

  #update(job) {
    const card = this.#find(job.id);
    if (!card || job.status === "failed") return;
    if (card.dataset.status === "queued" && job.status === "running") {
      announce(t("announce_running", { prompt: nameOf(job) }));
    }
    card.dataset.status = job.status;
    $(".stage-name", card).textContent = statusOf(job);
    $(".time-left", card).textContent = job.status === "running" ? timeLeft(job.progress?.seconds_left) : "";
    const bar = $("progress", card);
    if (job.status === "running" && job.progress) bar.value = job.progress.fraction;
    else bar.removeAttribute("value");
    bar.setAttribute("aria-valuetext", `${statusOf(job)} ${$(".time-left", card).textContent}`.trim());
    this.#title();
  }

  /// A job has one unfinished picture at a time, of the first of its pictures.
  #preview({ job_id: id, content_type: type, b64_json: data }) {
    const image = $(".frame img", this.#find(id) ?? document.createDocumentFragment());
    if (!image || !/^image\/(png|jpeg|webp)$/.test(type)) return;
    image.src = `data:${type};base64,${data}`;
    image.alt = t("preview_of", { prompt: nameOf(this.#jobs.get(id)) });
    image.hidden = false;
  }

  async #cancel(id, button) {
    button.disabled = true;
    button.textContent = t("cancelling");
    try {
      await this.#jobs.cancel(this.#jobs.all.find((job) => job.id === id));
    } catch (error) {
      if (error.status === 409) {  // it was over before we said so
        this.#jobs.refresh();
        return;
      }
      button.disabled = false;
      button.textContent = t("cancel");
      const text = $(".error", this.#find(id));
      text.textContent = explain(error);
      text.hidden = false;
    }
  }

  async #again({ request, ...job }, text) {
    const { seeds, use_pe, ...rest } = request;
    try {
      await this.#jobs.submit({ ...rest, kind: job.kind, use_pe, n: seeds.length, seed: seeds,
                                previews: Math.min(kPreviews, request.num_inference_steps) });
      await this.#jobs.remove({ ...job, request });
    } catch (error) {
      text.textContent = explain(error);
    }
  }

  async #remove(job, text) {
    try {
      await this.#jobs.remove(job);
    } catch (error) {
      text.textContent = explain(error);
    }
  }

  #ended(job) {
    if (job.kind !== "image") return;
    const prompt = nameOf(job);
    if (job.status === "completed") announce(t("announce_completed", { prompt }));
    else if (job.status === "cancelled") note(t("announce_cancelled", { prompt }));
    else announce(t("announce_failed", { prompt, message: job.error?.message ?? "" }));
  }

  /// How far the first job is, in the title of the tab.
  #title() {
    const running = this.#shown().find(({ status }) => status === "running");
    const share = running?.progress && formatNumber(running.progress.fraction, { style: "percent" });
    document.title = share ? `${share} · ERNIE-Image` : "ERNIE-Image";
  }
}
