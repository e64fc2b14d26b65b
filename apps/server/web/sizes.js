// The choice of a size: the model's own shapes as radio buttons, and any other size in numbers.
import { $, $$, el, shape } from "/dom.js";
import { onLanguage, t } from "/i18n.js";

const kRatios = [[1, 1], [2, 3], [3, 2], [9, 16], [16, 9], [3, 4], [4, 3], [4, 5], [5, 4], [1, 2], [2, 1]];

/// The familiar name of a shape: 848x1264 is called 2:3.
function ratioName(width, height) {
  const distance = ([w, h]) => Math.abs(Math.log((w / h) / (width / height)));
  return kRatios.reduce((best, ratio) => (distance(ratio) < distance(best) ? ratio : best)).join(":");
}

export class Sizes {
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    $("#swap").addEventListener("click", () => {
      this.#setCustom(Number($("#height").value), Number($("#width").value));
      onChange();
    });
    onLanguage(() => {
      const label = $("#sizes .custom-label");
      if (label) label.textContent = t("custom");
    });
  }

  /// Offers the sizes of `model`, and keeps what was chosen if it is one of them.
  show(model) {
    const options = model.sizes.map(([width, height]) => this.#option(`${width}x${height}`, shape(width, height),
      el("span", { text: ratioName(width, height) }), el("small", { text: `${width} × ${height}` })));
    const custom = this.#option("custom", shape(1, 1), el("span", { class: "custom-label", text: t("custom") }));
    custom.classList.add("custom");
    $("#sizes").replaceChildren(...options, custom);
    for (const input of [$("#width"), $("#height")]) input.min = input.step = model.size_multiple;
    $("#sizes").setAttribute("role", "radiogroup");
    $("#sizes").setAttribute("aria-label", t("size"));
  }

  #option(value, ...content) {
    const input = el("input", { type: "radio", name: "size", value, onchange: () => this.#chosen() });
    return el("label", { class: "size" }, input, ...content);
  }

  get value() {
    const chosen = $("#sizes input:checked")?.value;
    const [width, height] = chosen && chosen !== "custom" ? chosen.split("x")
                                                          : [$("#width").value, $("#height").value];
    return { width: Number(width), height: Number(height) };
  }

  set value({ width, height }) {
    const preset = $$("#sizes input").find((input) => input.value === `${width}x${height}`);
    (preset ?? $("#sizes input[value=custom]")).checked = true;
    this.#setCustom(width, height);
    $("#custom-size").hidden = Boolean(preset);
  }

  #setCustom(width, height) {
    $("#width").value = width;
    $("#height").value = height;
  }

  #chosen() {
    const custom = $("#sizes input:checked").value === "custom";
    if (!custom) this.#setCustom(this.value.width, this.value.height);  // where "custom" will start from
    $("#custom-size").hidden = !custom;
    this.#onChange();
  }
}
