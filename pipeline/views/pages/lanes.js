// One lane per Action Unit: its name, current value and curves. A click goes to that time, a drag marks an event.
import { drawAxis, drawLane, rowAt, tOf, xOf } from "./curves.js";

const DRAG_PX = 5;

export const titleOf = (au) => `${au.id} ${au.name}`.trim();
const shown = (value) => value?.toFixed(2) ?? "-";

export class Lanes {
  // hooks: spans(au) of marked events, seek(row), mark(au, start, end), chosen(au)
  constructor(aus, hooks) {
    Object.assign(this, { aus, hooks, curves: null, times: [0], frames: [0], view: { from: 0, to: 1 }, number: 0 });
    this.axis = document.getElementById("axis");
    this.lanes = aus.map((au, number) => this.make(au, number));
    document.getElementById("lanes").append(...this.lanes.map((lane) => lane.element));
    document.addEventListener("themechange", () => this.draw());
    addEventListener("resize", () => this.draw());
  }

  get chosen() {
    return this.aus[this.number];
  }

  make(au, number) {
    const [element, track, cursor, tip] = ["lane", "track", "cursor", "tip"].map((name) => {
      const div = document.createElement("div");
      div.className = name;
      return div;
    });
    const button = document.createElement("button"), value = document.createElement("output"), canvas = document.createElement("canvas");
    button.type = "button";
    const from = document.createElement("small");
    if (au.threshold !== null) from.textContent = `present from ${shown(au.threshold)}`;
    const title = document.createElement("span");
    title.append(titleOf(au), from);
    button.append(title, value);
    button.addEventListener("click", () => this.choose(number));
    canvas.setAttribute("role", "img");
    tip.hidden = true;
    track.append(canvas, cursor, tip);
    element.append(button, track);
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => { element.hidden = !box.checked; this.draw(); });
    label.append(box, ` ${titleOf(au)}`);
    document.getElementById("shown").append(label);
    const lane = { au, element, button, value, canvas, cursor, tip, draft: null };
    this.listen(lane, number);
    return lane;
  }

  listen(lane, number) {
    const { canvas } = lane;
    let from = null;
    const row = (event) => {
      const x = Math.min(Math.max(event.clientX - canvas.getBoundingClientRect().left, 0), canvas.clientWidth);
      return rowAt(this.times, tOf(x, this.view, canvas.clientWidth));
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      from = { x: event.clientX, row: row(event) };
      this.choose(number);
    });
    canvas.addEventListener("pointerleave", () => { lane.tip.hidden = true; });
    canvas.addEventListener("pointermove", (event) => {
      this.hint(lane, row(event));
      if (!from || (Math.abs(event.clientX - from.x) < DRAG_PX && !lane.draft)) return;
      const to = row(event);
      lane.draft = { start: Math.min(from.row, to), end: Math.max(from.row, to), draft: true };
      this.draw(lane);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!from) return;
      const { draft } = lane, to = row(event);
      from = lane.draft = null;
      if (draft) this.hooks.mark(lane.au, draft.start, draft.end); else this.hooks.seek(to);
    });
    canvas.addEventListener("pointercancel", () => { from = lane.draft = null; this.draw(lane); });
  }

  choose(number) {
    this.number = Math.min(Math.max(number, 0), Math.max(this.aus.length - 1, 0));
    this.lanes.forEach((lane, i) => lane.button.setAttribute("aria-pressed", String(i === this.number)));
    this.hooks.chosen(this.chosen);
  }

  // curves: those of each AU, from the server; times: the x of each row, in seconds if timed; frames: its source's number
  open(curves, times, frames, timed) {
    Object.assign(this, { curves, times, frames, timed });
    for (const { canvas, au } of this.lanes) canvas.setAttribute("aria-label", this.describe(au));
  }

  // Says beside the pointer what is there: frame, time, values.
  hint(lane, row) {
    if (!this.curves) return;
    const { probability, intensity, label } = this.curves[lane.au.id], { tip, canvas } = lane;
    const words = [`frame ${this.frames[row]}${this.timed ? `, ${this.times[row].toFixed(3)} s` : ""}`];
    if (probability) words.push(shown(probability[row]));
    if (intensity) words.push(`intensity ${shown(intensity[row])}`);
    if (label && label[row] !== null) words.push(label[row] ? "labelled present" : "labelled absent");
    tip.textContent = words.join(", ");
    tip.hidden = false;
    const x = xOf(this.times[row], this.view, canvas.clientWidth);
    tip.style.left = `${Math.max(0, Math.min(x + 8, canvas.clientWidth - tip.offsetWidth))}px`;
  }

  describe(au) {
    const { probability, label } = this.curves[au.id];
    let words = `${titleOf(au)} over time.`;
    if (au.threshold !== null) words += ` Present from ${shown(au.threshold)}.`;
    if (probability) {
      const highest = probability.reduce((best, value, row) => (value !== null && value > (probability[best] ?? -1) ? row : best), 0);
      words += ` Highest ${(probability[highest] ?? 0).toFixed(2)} at ${this.times[highest].toFixed(2)} s.`;
    }
    if (label) words += ` Labelled present in ${label.filter((value) => value === 1).length} frames.`;
    return words;
  }

  draw(only) {
    if (!this.curves) return;
    const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const colours = { line: style("--accent"), intensity: style("--ink"), label: style("--dim"), threshold: style("--ink"), event: "#e0a030" };
    drawAxis(this.axis, this.times, this.frames, this.timed, this.view, style("--dim"));
    for (const lane of only ? [only] : this.lanes) {
      const spans = this.hooks.spans(lane.au);
      if (lane.draft) spans.push(lane.draft);
      drawLane(lane.canvas, this.times, this.curves[lane.au.id], this.view, spans, colours, lane.au.threshold);
    }
    this.show(this.row);
  }

  // Puts the cursor on a row and shows the values there.
  show(row = 0) {
    this.row = row;
    for (const lane of this.lanes) {
      const value = this.curves[lane.au.id].probability?.[row];
      lane.value.textContent = shown(value);
      lane.value.classList.toggle("present", lane.au.threshold !== null && (value ?? -1) >= lane.au.threshold);
      lane.cursor.style.left = `${xOf(this.times[row], this.view, lane.canvas.clientWidth)}px`;
    }
  }
}
