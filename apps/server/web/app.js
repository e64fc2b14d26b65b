// Puts the page together.
import { Activity } from "/activity.js";
import { Compare } from "/compare.js";
import { Composer } from "/composer.js";
import { Connection } from "/connection.js";
import { $, wireDialogs } from "/dom.js";
import { takeDrops } from "/drops.js";
import { Gallery } from "/gallery.js";
import { onLanguage, otherLanguage, setLanguage, t, translatePage } from "/i18n.js";
import { Jobs } from "/jobs.js";
import { Queue } from "/queue.js";
import { Settings } from "/settings.js";
import { startTheme } from "/theme.js";
import { Viewer } from "/viewer.js";

translatePage();
startTheme();
wireDialogs();

const language = $("#language");
language.addEventListener("click", () => setLanguage(otherLanguage()));
onLanguage(() => {
  language.textContent = t("other_language");
  language.lang = otherLanguage();
  language.setAttribute("aria-label", t("switch_language"));
});

const jobs = new Jobs();
const settings = new Settings();
const composer = new Composer(jobs, settings);
const compare = new Compare(jobs);
const viewer = new Viewer(jobs, composer, compare);
new Gallery(jobs, (url) => viewer.open(url), compare);
new Activity(jobs);
new Queue(jobs);
new Connection(jobs, settings);
takeDrops(composer, settings);
jobs.start();
