// Dark or light: as the system has it, until the user prefers the other.
import { $ } from "/dom.js";
import { onLanguage, t } from "/i18n.js";
import { load, save } from "/storage.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const systemTheme = () => (dark.matches ? "dark" : "light");
const theme = () => load("theme") ?? systemTheme();

function apply() {
  document.documentElement.dataset.theme = theme();
}

export function startTheme() {
  apply();
  const button = $("#theme");
  const name = () => {
    const label = t(theme() === "dark" ? "theme_light" : "theme_dark");
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  dark.addEventListener("change", () => { apply(); name(); });
  button.addEventListener("click", () => {
    const wanted = theme() === "dark" ? "light" : "dark";
    save("theme", wanted === systemTheme() ? null : wanted);  // back to following the system
    apply();
    name();
  });
  onLanguage(name);
}
