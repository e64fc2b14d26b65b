// What of a picture is drawn anew: painted with a brush, framed as boxes, and added around it by dragging its edges.
import { $, el, openDialog } from "/dom.js";
import { onLanguage, t } from "/i18n.js";

const kMaskSide_px = 2048;  // of the longer side; the server scales it
const kRoom = 0.12;         // of the stage, free on each side for an edge to be dragged to
const kLargestScale = 16;   // of a picture that is small
const kStep_px = 16;        // of the edges
const kSides = ["left", "top", "right", "bottom"];
const kNone = { left: 0, top: 0, right: 0, bottom: 0 };
const kInk = "#e0218a";
const kMostBoxes = 16;       // that the server takes
const kSmallestBox_px = 8;   // less is a slip of the hand

const isNone = (margins) => kSides.every((side) => margins[side] === 0);

export class Editor {
  #image = null;
  #kept = [];      // what was done, as it was taken over: strokes, boxes, "clear", "invert", margins
  #done = [];      // likewise, while the editor is open
  #stroke = null;  // the stroke or box that is being drawn
  #ink = el("canvas");  // opaque where it is drawn anew
  #mask = null;
  #place = { scale: 1, x: 0, y: 0 };  // of the picture on the stage
  #onChange;

  /// `onChange(was_partly)` is called when something was taken over.
  constructor(onChange) {
    this.#onChange = onChange;
    $("#editor-undo").addEventListener("click", () => this.#undo());
    $("#editor-clear").addEventListener("click", () => this.#do({ kind: "clear" }));
    $("#editor-invert").addEventListener("click", () => this.#do({ kind: "invert" }));
    $("#editor-done").addEventListener("click", () => this.#takeOver());
    $("#editor").addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#undo();
    });
    addEventListener("resize", () => { if ($("#editor").open) this.#fit(); });
    this.#wireBrush($("#editor-mask"));
    for (const side of kSides) this.#wireEdge(side, $(`#edge-${side}`));
    onLanguage(() => { if ($("#editor").open) this.#show(); });
  }

  /// Another picture, of which nothing is painted yet; null: none.
  set image(image) {
    this.#image = image;
    this.#kept = [];
    this.#mask = null;
    if (image) this.#replay(this.#kept);
  }

  /// Pixels of the picture that are added on each side.
  get margins() { return marginsOf(this.#kept); }
  /// A data URL; null: nothing is painted.
  get mask() { return this.#mask; }
  /// Parts that are each drawn by themselves: left, top, width, height in pixels of the picture with all that is added.
  get boxes() {
    const { left, top } = this.margins;
    return boxesOf(this.#kept).map(([x, y, width, height]) => [x + left, y + top, width, height]);
  }
  /// Whether some of it is drawn anew together, and the rest is kept.
  get isPart() { return this.#image !== null && (this.#mask !== null || !isNone(this.margins)); }
  /// Whether some of it is kept.
  get isPartly() { return this.isPart || boxesOf(this.#kept).length > 0; }

  open() {
    this.#done = [...this.#kept];
    this.#replay(this.#done);
    openDialog($("#editor"));
    this.#fit();
  }

  /// Nothing is painted, nothing added.
  forget() {
    const before = this.isPartly;
    this.image = this.#image;
    this.#onChange(before);
  }

  #takeOver() {
    const before = this.isPartly;
    this.#kept = this.#done;
    this.#mask = this.#exported();
    $("#editor").close();
    this.#onChange(before);
  }

  // --- what was done

  #do(action) {
    this.#done.push(action);
    this.#replay(this.#done);
    this.#fit();
  }

  #undo() {
    if (!this.#done.length) return;
    this.#done.pop();
    this.#replay(this.#done);
    this.#fit();
  }

  #replay(actions) {
    const { naturalWidth: width, naturalHeight: height } = this.#image;
    const scale = Math.min(1, kMaskSide_px / Math.max(width, height));
    this.#ink.width = Math.max(1, Math.round(width * scale));
    this.#ink.height = Math.max(1, Math.round(height * scale));
    for (const action of actions) this.#apply(action);
  }

  #apply(action) {
    const context = this.#ink.getContext("2d", { willReadFrequently: true });
    const { width, height } = this.#ink;
    context.globalCompositeOperation = "source-over";
    context.fillStyle = kInk;
    if (action.kind === "clear") context.clearRect(0, 0, width, height);
    if (action.kind === "invert") {
      context.globalCompositeOperation = "xor";
      context.fillRect(0, 0, width, height);
    }
    if (action.kind === "stroke") this.#draw(action, action.points);
  }

  /// Points of a stroke, whose coordinates are those of the picture.
  #draw({ erases, size }, points) {
    const context = this.#ink.getContext("2d");
    const scale = this.#ink.width / this.#image.naturalWidth;
    context.globalCompositeOperation = erases ? "destination-out" : "source-over";
    context.strokeStyle = context.fillStyle = kInk;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = size * scale;
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x * scale, y * scale);
    if (points.length === 1) context.lineTo(points[0][0] * scale + 0.01, points[0][1] * scale);
    context.stroke();
  }

  /// White is drawn anew; null if nothing is.
  #exported() {
    const { width, height } = this.#ink;
    const pixels = this.#ink.getContext("2d").getImageData(0, 0, width, height);
    let any = false;
    for (let i = 0; i < pixels.data.length; i += 4) {
      const value = pixels.data[i + 3];
      any ||= value > 127;
      pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = value;
      pixels.data[i + 3] = 255;
    }
    if (!any) return null;
    const canvas = el("canvas");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas.toDataURL("image/png");
  }

  /// What is drawn anew as an opaque shape, on a canvas that shows the picture with all that is added.
  drawPart(canvas) {
    const { left, top, right, bottom } = this.margins;
    const { naturalWidth: width, naturalHeight: height } = this.#image;
    const context = canvas.getContext("2d");
    const scale = canvas.width / (width + left + right);
    const [x, y, w, h] = [left * scale, top * scale, width * scale, height * scale];
    context.fillStyle = kInk;
    if (left + top + right + bottom > 0) {
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.clearRect(x, y, w, h);
    }
    if (this.#mask) context.drawImage(this.#ink, x, y, w, h);
    for (const box of this.boxes) context.fillRect(...box.map((px) => px * scale));
  }

  /// The same, as a mark on the picture.
  drawMark(canvas) {
    if (!this.isPartly) return;
    this.#replay(this.#kept);
    const layer = el("canvas");
    [layer.width, layer.height] = [canvas.width, canvas.height];
    this.drawPart(layer);
    const context = canvas.getContext("2d");
    context.globalAlpha = 0.5;
    context.drawImage(layer, 0, 0);
    context.globalAlpha = 1;
  }

  // --- the stage

  /// Puts the picture, with what is added, in the middle, as large as it fits.
  #fit() {
    const { clientWidth, clientHeight } = $("#editor-stage");
    const { left, top, right, bottom } = marginsOf(this.#done);
    const width = this.#image.naturalWidth + left + right;
    const height = this.#image.naturalHeight + top + bottom;
    const scale = Math.min(kLargestScale, clientWidth * (1 - 2 * kRoom) / width, clientHeight * (1 - 2 * kRoom) / height);
    this.#place = { scale, x: (clientWidth - width * scale) / 2 + left * scale,
                    y: (clientHeight - height * scale) / 2 + top * scale };
    this.#show();
  }

  #show(margins = marginsOf(this.#done)) {
    const { scale, x, y } = this.#place;
    const { naturalWidth: width, naturalHeight: height } = this.#image;
    const picture = $("#editor-picture");
    if (picture.src !== this.#image.src) picture.src = this.#image.src;
    picture.classList.toggle("tiny", scale > 2);
    place(picture, x, y, width * scale, height * scale);
    const mask = $("#editor-mask");
    place(mask, x, y, width * scale, height * scale);
    [mask.width, mask.height] = [this.#ink.width, this.#ink.height];
    this.#showInk();
    const { left, top, right, bottom } = margins;
    place($("#editor-frame"), x - left * scale, y - top * scale, (width + left + right) * scale,
          (height + top + bottom) * scale);
    for (const side of kSides) this.#showEdge(side, margins[side]);
    $("#editor-undo").disabled = this.#done.length === 0;
    $("#editor-extent").textContent = t("editor_extent", { width: width + left + right, height: height + top + bottom });
  }

  #showInk() {
    const mask = $("#editor-mask");
    const context = mask.getContext("2d");
    context.clearRect(0, 0, mask.width, mask.height);
    context.drawImage(this.#ink, 0, 0);
    const drawn = this.#stroke?.kind === "box" ? [this.#boxOf(this.#stroke.points)] : [];
    const { scale, x, y } = this.#place;
    $("#editor-boxes").replaceChildren(...[...boxesOf(this.#done), ...drawn].map(([left, top, width, height]) => {
      const frame = el("div", { class: "editor-box" });
      place(frame, x + left * scale, y + top * scale, width * scale, height * scale);
      return frame;
    }));
  }

  // --- the brush

  get #brush_px() {
    // The slider is a share of the picture's shorter side.
    const side = Math.min(this.#image.naturalWidth, this.#image.naturalHeight);
    return Math.max(1, side * Number($("#brush-size").value) / 100);
  }

  #wireBrush(canvas) {
    const pointOf = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / this.#place.scale, (event.clientY - box.top) / this.#place.scale];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      const tool = $("[name=tool]:checked").value;
      this.#stroke = tool === "box" ? { kind: "box", points: [pointOf(event)] }
        : { kind: "stroke", erases: tool === "eraser", size: this.#brush_px, points: [pointOf(event)] };
      this.#extend([]);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.#showBrush(event);
      if (!this.#stroke || !event.isPrimary) return;
      const events = event.getCoalescedEvents?.() ?? [];
      this.#extend((events.length ? events : [event]).map(pointOf));
    });
    const end = () => {
      if (!this.#stroke) return;
      const { kind, points } = this.#stroke;
      const box = kind === "box" && this.#boxOf(points);
      if (!box) this.#done.push(this.#stroke);
      else if (Math.min(box[2], box[3]) >= kSmallestBox_px && boxesOf(this.#done).length < kMostBoxes) this.#done.push({ kind, box });
      this.#stroke = null;
      this.#show();
    };
    for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, end);
    canvas.addEventListener("pointerleave", () => { $("#editor-brush").hidden = true; });
  }

  #extend(points) {
    const last = this.#stroke.points.at(-1);
    this.#stroke.points.push(...points);
    if (this.#stroke.kind === "stroke") this.#draw(this.#stroke, [last, ...points]);
    this.#showInk();
  }

  /// Left, top, width and height between the first and the last of `points`, within the picture.
  #boxOf(points) {
    const within = ([x, y]) => [Math.min(Math.max(x, 0), this.#image.naturalWidth),
                                Math.min(Math.max(y, 0), this.#image.naturalHeight)].map(Math.round);
    const [[x0, y0], [x1, y1]] = [points[0], points.at(-1)].map(within);
    return [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];
  }

  /// Where a mouse would paint; a finger covers it anyway.
  #showBrush(event) {
    const brush = $("#editor-brush");
    brush.hidden = event.pointerType === "touch" || $("[name=tool]:checked").value === "box";
    const size = this.#brush_px * this.#place.scale;
    const box = $("#editor-stage").getBoundingClientRect();
    place(brush, event.clientX - box.left - size / 2, event.clientY - box.top - size / 2, size, size);
  }

  // --- the edges

  #wireEdge(side, handle) {
    const isAcross = side === "left" || side === "right";
    const outward = side === "left" || side === "top" ? -1 : 1;
    let start = null;  // {at, margins} of a drag
    const at = (event) => (isAcross ? event.clientX : event.clientY);
    const dragged = (event) =>
      this.#limited(start.margins, side, start.margins[side] + outward * (at(event) - start.at) / this.#place.scale);
    handle.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
      start = { at: at(event), margins: marginsOf(this.#done) };
    });
    handle.addEventListener("pointermove", (event) => { if (start) this.#show(dragged(event)); });
    handle.addEventListener("pointerup", (event) => {
      if (!start) return;
      const margins = dragged(event);
      const changed = margins[side] !== start.margins[side];
      start = null;
      if (changed) this.#setMargins(margins);
    });
    handle.addEventListener("pointercancel", () => { start = null; this.#fit(); });
    handle.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: isAcross ? -1 : 0, ArrowRight: isAcross ? 1 : 0, ArrowUp: isAcross ? 0 : -1,
                      ArrowDown: isAcross ? 0 : 1 }[event.key];
      if (!steps) return;
      event.preventDefault();
      const margins = marginsOf(this.#done);
      this.#setMargins(this.#limited(margins, side, margins[side] + steps * outward * kStep_px));
    });
  }

  /// No more on a side than the picture has.
  #limited(margins, side, wanted_px) {
    const most = side === "left" || side === "right" ? this.#image.naturalWidth : this.#image.naturalHeight;
    const steps = Math.round(Math.min(Math.max(wanted_px, 0), most) / kStep_px);
    return { ...margins, [side]: steps * kStep_px };
  }

  #setMargins(margins) {
    this.#done.push({ kind: "margins", margins });
    this.#fit();
  }

  #showEdge(side, value) {
    const handle = $(`#edge-${side}`);
    handle.setAttribute("aria-valuenow", value);
    handle.setAttribute("aria-valuetext", t("editor_added", { count: value }));
    handle.setAttribute("aria-valuemax", side === "left" || side === "right" ? this.#image.naturalWidth
                                                                             : this.#image.naturalHeight);
    $("span", handle).textContent = value ? `+${value}` : "";
  }
}

/// "clear" has none.
const marginsOf = (actions) =>
  actions.findLast(({ kind }) => kind === "margins" || kind === "clear")?.margins ?? kNone;

/// Those since "clear".
const boxesOf = (actions) => actions.slice(actions.findLastIndex(({ kind }) => kind === "clear") + 1)
  .filter(({ kind }) => kind === "box").map(({ box }) => box);

function place(element, x, y, width, height) {
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
}
