// Whether the server answers, and the key that it may ask for.
import { note } from "/announce.js";
import * as api from "/api.js";
import { $, el, openDialog } from "/dom.js";
import { showError } from "/errors.js";
import { onLanguage, t } from "/i18n.js";

export class Connection {
  #jobs;
  #settings;

  constructor(jobs, settings) {
    this.#jobs = jobs;
    this.#settings = settings;
    api.onKeyNeeded((wasWrong) => askForKey(wasWrong));
    $("#key-button").addEventListener("click", () => this.#enterKey());
    jobs.addEventListener("connection", () => this.#changed());
    onLanguage(() => this.#banner());
  }

  async #enterKey() {
    const key = await askForKey(false);
    if (!key) return;
    api.setKey(key);
    this.#jobs.refresh();
  }

  /// After each time that the server was away: it may be another version, with another model.
  async #changed() {
    const wasAway = !$("#banner").hidden;
    this.#banner();
    if (this.#jobs.connection !== "online") return;
    if (wasAway) note(t("online_again"));
    try {
      const capabilities = await api.capabilities();
      $("#key-button").hidden = !capabilities.auth_required;
      this.#settings.show(capabilities);
      this.#jobs.refresh();
      this.#settings.showLoras((await api.loras()).map(({ name }) => name));
    } catch {
      // Gone again, which the jobs notice as well.
    }
  }

  #banner() {
    const banner = $("#banner");
    const { connection } = this.#jobs;
    banner.hidden = !["offline", "locked"].includes(connection);
    if (connection === "offline") banner.replaceChildren(t("offline"));
    else if (connection === "locked") {
      banner.replaceChildren(t("key_missing"), " ", el("button", { type: "button", class: "link-button",
                                                                   text: t("key_enter"), onclick: () => this.#enterKey() }));
    }
  }
}

/// Resolves to the key that the user enters, or to null.
function askForKey(wasWrong) {
  const dialog = $("#key");
  const input = $("#key-input");
  input.value = "";
  showError($("#key-error"), wasWrong ? t("key_wrong") : null);
  return new Promise((resolve) => {
    let key = null;
    $("#key-form").onsubmit = (event) => {
      event.preventDefault();
      key = input.value.trim() || null;
      dialog.close();
    };
    dialog.addEventListener("close", () => resolve(key), { once: true });
    openDialog(dialog);
  });
}
