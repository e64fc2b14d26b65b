// The LoRAs of a request: which, and how much.
import { $, el, iconButton } from "/dom.js";
import { onLanguage, t } from "/i18n.js";

const kLargestStrength = 100;

export class Loras {
  #names = [];
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    $("#lora-add").addEventListener("click", () => {
      this.#add({ name: this.#names[0], strength: 1 });
      $("#loras").lastElementChild.querySelector("select").focus();
      this.#onChange();
    });
    onLanguage(() => this.show(this.#names));
  }

  /// The names that the server has. What is chosen and gone with them is no longer chosen.
  show(names) {
    this.#names = names;
    $("#lora-field").hidden = names.length === 0;
    this.value = this.value;
  }

  /// [{ name, strength }]
  get value() {
    return [...$("#loras").children].map((row) => ({ name: $("select", row).value,
                                                     strength: $("input", row).valueAsNumber }));
  }

  set value(loras) {
    $("#loras").replaceChildren();
    for (const lora of loras) if (this.#names.includes(lora.name)) this.#add(lora);
  }

  /// The input whose strength is none; nothing if all are good.
  get wrong() {
    return [...$("#loras").children].map((row) => $("input", row))
      .find(({ valueAsNumber: value }) => !(Math.abs(value) <= kLargestStrength));
  }

  #add({ name, strength }) {
    const select = el("select", { "aria-label": t("lora_name") },
                      ...this.#names.map((each) => el("option", { value: each, text: each })));
    select.value = name;
    const input = el("input", { type: "number", step: "0.05", min: -kLargestStrength, max: kLargestStrength, value: strength,
                                inputmode: "decimal", "aria-label": t("lora_strength") });
    const row = el("div", { class: "lora" }, select, input);
    row.append(iconButton("close", t("lora_remove"), () => {
      row.remove();
      this.#onChange();
    }));
    $("#loras").append(row);
  }
}
