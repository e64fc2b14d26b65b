// The jobs as this page knows them. The server has the truth: the list is asked for again and again, and the job at work
// is followed event by event. Whatever breaks, the next answer puts it right, after a restart of the server too.
import * as api from "/api.js";

const kPage = 24;
const kBusyPoll_ms = 2000;
const kIdlePoll_ms = 10000;
const kHiddenPoll_ms = 5000;
const kFirstRetry_ms = 500;
const kLongestRetry_ms = 5000;
// A browser keeps six connections to a server, over all tabs; events occupy theirs for as long as they last.
const kStreams = 1;

export const isFinal = (job) => ["completed", "failed", "cancelled"].includes(job.status);

/// Events: "list" (jobs came, went or changed state), "job" (detail: one job's progress), "preview" (detail: its data),
/// "ended" (detail: a job seen here before that has become final), "connection".
export class Jobs extends EventTarget {
  #jobs = new Map();      // id -> Job
  #order = [];            // ids, newest first
  #unsent = [];           // our own requests on their way, shaped like jobs; newest first
  #streams = new Map();   // id -> AbortController
  #changes = 0;           // grows when we change the list, so that an answer from before is not used
  #wake = () => {};
  #channel = new BroadcastChannel("ernie-image.jobs");
  hasMore = false;
  loaded = false;
  connection = "connecting";  // then "online", "offline" or "locked" (a key is missing)
  queue = { queued: 0, running: 0, jobs: [], workers: [] };

  start() {
    this.#channel.onmessage = () => this.#wake();
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => {
      this.#follow();
      this.#wake();
    });
    this.#loop();
  }

  get all() { return [...this.#unsent, ...this.#order.map((id) => this.#jobs.get(id))]; }
  get(id) { return this.#jobs.get(id); }
  refresh() { this.#wake(); }

  /// Sends the request as often as it takes; the key makes it one job. Resolves to the job, or to null if `drop`ped
  /// before the server had it; rejects with the server's refusal.
  async submit(request) {
    const key = api.randomHex();
    const unsent = { id: `unsent-${key}`, kind: request.kind, status: "sending", created: Date.now() / 1000,
                     request: { ...request, seeds: request.seed ?? [] }, images: [] };
    if (request.kind === "image") this.#unsent.unshift(unsent);
    this.#emit("list");
    try {
      const job = await this.#send(request, key, unsent);
      if (job) this.#add(job);
      return job;
    } finally {
      this.#unsent = this.#unsent.filter((other) => other !== unsent);
      this.#emit("list");
    }
  }

  async #send(request, key, unsent) {
    for (let wait = kFirstRetry_ms; !unsent.dropped; wait = Math.min(2 * wait, kLongestRetry_ms)) {
      try {
        const job = await api.submit(request, key);
        if (!unsent.dropped) return job;
        await api.cancel(job.id);
      } catch (error) {
        if (!(error instanceof api.Unreachable)) throw error;
        unsent.status = "unsent";
        this.#setConnection("offline");
        this.#emit("list");
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
    return null;
  }

  async cancel(job) {
    if (job.status === "sending" || job.status === "unsent") {
      this.#unsent.find((other) => other.id === job.id).dropped = true;
      this.#unsent = this.#unsent.filter((other) => other.id !== job.id);
      this.#emit("list");
      return;
    }
    this.#put(await api.cancel(job.id));
    this.#tellOthers();
  }

  async remove(job) {
    try {
      await api.remove(job.id);
    } catch (error) {
      if (error.status !== 404) throw error;  // somebody else was faster
    }
    this.#changes++;
    this.#forget(job.id);
    this.#emit("list");
    this.#tellOthers();
  }

  /// One of those that were made together; the last of them takes its job with it.
  async removePicture({ job, image }) {
    const known = this.#jobs.get(job.id) ?? job;
    const others = known.images.filter(({ url }) => url !== image.url);
    if (others.length === 0) return this.remove(known);
    try {
      await api.removePicture(image.url);
    } catch (error) {
      if (error.status !== 404) throw error;  // somebody else was faster
    }
    this.#changes++;
    this.#jobs.set(job.id, { ...known, images: others });
    this.#emit("list");
    this.#tellOthers();
  }

  async loadMore() {
    const before = this.#order.at(-1);
    const page = await api.list({ limit: kPage, before });
    for (const job of page.data) {
      if (!this.#jobs.has(job.id)) this.#order.push(job.id);
      this.#jobs.set(job.id, job);
    }
    this.hasMore = page.has_more;
    this.#emit("list");
  }

  async #loop() {
    let retry = kFirstRetry_ms;
    for (;;) {
      let wait;
      try {
        await this.#refresh();
        this.#setConnection("online");
        retry = kFirstRetry_ms;
        wait = document.hidden ? kHiddenPoll_ms : this.#active().length ? kBusyPoll_ms : kIdlePoll_ms;
      } catch (error) {
        this.#setConnection(error.status === 401 ? "locked" : "offline");
        wait = retry;
        retry = Math.min(2 * retry, kLongestRetry_ms);
      }
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => { clearTimeout(timer); resolve(); };
      });
    }
  }

  async #refresh() {
    const changes = this.#changes;
    const [page, queue] = await Promise.all([api.list({ limit: kPage }), api.queue()]);
    this.queue = queue;
    if (changes !== this.#changes) {
      setTimeout(() => this.#wake());  // the answer may be from before our own change
      return;
    }
    this.#merge(page);
    await this.#refreshOlder(page);
    this.loaded = true;
    this.#follow();
    this.#emit("list");
  }

  /// The first page replaces the newest part of the list: what is missing in it has been deleted.
  #merge({ data, has_more: hasMore }) {
    const ids = data.map((job) => job.id);
    const last = hasMore ? this.#order.indexOf(ids.at(-1)) : -1;
    const older = last < 0 ? [] : this.#order.slice(last + 1).filter((id) => !ids.includes(id));
    if (older.length === 0) this.hasMore = hasMore;
    const kept = new Set([...ids, ...older]);
    for (const id of this.#order) if (!kept.has(id)) this.#forget(id);
    this.#order = [...kept];
    for (const job of data) this.#put(job, false);
  }

  /// Unfinished jobs that newer ones have pushed off the first page.
  async #refreshOlder({ data }) {
    const ids = new Set(data.map((job) => job.id));
    for (const job of this.#active().filter((active) => !ids.has(active.id))) {
      try {
        this.#put(await api.job(job.id), false);
      } catch (error) {
        if (error.status !== 404) throw error;
        this.#forget(job.id);
      }
    }
  }

  #active() { return this.#order.map((id) => this.#jobs.get(id)).filter((job) => !isFinal(job)); }

  /// The oldest of the running jobs, or the first in the queue, is followed, unless nobody is looking.
  #follow() {
    const wanted = document.hidden ? [] : this.#active().reverse()
      .sort((a, b) => (b.status === "running") - (a.status === "running")).slice(0, kStreams).map((job) => job.id);
    for (const [id, controller] of this.#streams) if (!wanted.includes(id)) controller.abort();
    for (const id of wanted) if (!this.#streams.has(id)) this.#stream(id);
  }

  async #stream(id) {
    const controller = new AbortController();
    this.#streams.set(id, controller);
    const onEvent = (name, data) => {
      if (name === "job") this.#put(data);
      else if (name === "preview") this.#emit("preview", data);
    };
    try {
      await api.events(id, onEvent, controller.signal);
    } catch {
      // Broken off, or no longer wanted; the list says how things stand.
    }
    this.#streams.delete(id);
    // One that broke off is taken up again with the next answer, not at once: the server may be going down.
    if (!this.#jobs.has(id) || isFinal(this.#jobs.get(id))) this.#wake();
  }

  #add(job) {
    this.#changes++;
    if (!this.#order.includes(job.id)) this.#order.unshift(job.id);
    this.#put(job);
    this.#follow();
    this.#tellOthers();
    this.#wake();
  }

  #put(job, tell = true) {
    const before = this.#jobs.get(job.id);
    if (before && isFinal(before) && !isFinal(job)) return;  // an event overtaken by a later answer
    this.#jobs.set(job.id, job);
    if (before && !isFinal(before) && isFinal(job)) this.#emit("ended", job);
    if (tell) this.#emit(before?.status === job.status ? "job" : "list", job);
    else this.#emit("job", job);
  }

  #forget(id) {
    for (const image of this.#jobs.get(id)?.images ?? []) api.forgetPicture(image.url);
    this.#jobs.delete(id);
    this.#order = this.#order.filter((other) => other !== id);
  }

  #setConnection(state) {
    if (state === this.connection) return;
    this.connection = state;
    this.#emit("connection");
  }

  #tellOthers() { this.#channel.postMessage("changed"); }
  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}
