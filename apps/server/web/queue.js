// Who works and what waits.
import { $, el, openDialog } from "/dom.js";
import { formatNumber, onLanguage, t } from "/i18n.js";

export class Queue {
  #jobs;

  constructor(jobs) {
    this.#jobs = jobs;
    $("#queue-button").addEventListener("click", () => {
      jobs.refresh();
      openDialog($("#queue"));
    });
    jobs.addEventListener("list", () => this.#render());
    jobs.addEventListener("connection", () => this.#render());
    onLanguage(() => this.#render());
  }

  #render() {
    const { queued, running, jobs, workers } = this.#jobs.queue;
    const count = queued + running;
    const button = $("#queue-button");
    $("#queue-label").textContent = count ? `${t("queue")} ${formatNumber(count)}` : t("queue");
    button.setAttribute("aria-label", t("queue_count", { count }));
    button.dataset.state = this.#jobs.connection !== "online" ? "offline" : count ? "busy" : "idle";
    $("#queue-workers").replaceChildren(...workers.length ? workers.map(workerRow) : [row(t("worker_none"))]);
    $("#queue-jobs").replaceChildren(...jobs.length ? jobs.map((job) => this.#jobRow(job)) : [row(t("queue_empty"))]);
  }

  /// Of the jobs of others no more is known than that they are there.
  #jobRow({ id, queue_position: position, status, mine }) {
    const prompt = this.#jobs.get(id)?.request.prompt;
    const state = status === "running" ? t("worker_busy") : t("queue_place", { place: (position ?? 0) + 1 });
    return row(prompt ?? "…", mine && t("queue_yours"), el("span", { class: `badge ${status}`, text: state }));
  }
}

function workerRow({ name, model, device, busy, seconds_per_step: pace }) {
  const state = t(busy ? "worker_busy" : "worker_idle");
  const details = [model, device, pace && t("worker_step", { seconds: formatNumber(pace, { maximumSignificantDigits: 3 }) })];
  return row(name, details.filter(Boolean).join(" · "),
             el("span", { class: `badge ${busy ? "running" : "idle"}`, text: state }));
}

function row(title, detail, badge) {
  return el("li", {}, el("span", { class: "row-text" }, el("span", { class: "row-title", text: title }),
                         detail && el("small", { text: detail })), badge);
}
