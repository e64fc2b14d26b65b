// A picture file that is dropped on the page: its settings if it tells them, else it is what the next picture begins with.
import { $ } from "/dom.js";
import { settingsOf } from "/metadata.js";

export function takeDrops(composer, settings) {
  const isOurs = (event) => [...event.dataTransfer.types].includes("Files") && !$("#picture-field").contains(event.target) &&
                            !$("dialog[open]");
  document.addEventListener("dragover", (event) => { if (isOurs(event)) event.preventDefault(); });
  document.addEventListener("drop", async (event) => {
    if (!isOurs(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (!file || !settings.ready) return;
    const found = await settingsOf(file);
    if (found) composer.useSettings(found);
    else await settings.picture.choose(file);
  });
}
