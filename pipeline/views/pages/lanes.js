// One lane per Action Unit: its name, current value and curves. A click goes to that time, a drag marks an event.
import { drawLane, rowAt, tOf, xOf } from "./curves.js";

const DRAG_PX = 5;

export class Lanes {
  // hooks: spans(au) of marked events, seek(row), mark(au, start, end), chosen(au)
  constructor(aus, hooks) {
    Object.assign(this, { aus, hooks, curves: null, times: [0], view: { from: 0, to: 1 }, number: 0 });
    this.lanes = aus.map((au, number) => this.make(au, number));
    document.getElementById("lanes").append(...this.lanes.map((lane) => lane.element));
    document.addEventListener("themechange", () => this.draw());
    addEventListener("resize", () => this.draw());
  }

  get chosen() {
    return this.aus[this.number];
  }

  make(au, number) {
    const [element, track, cursor] = ["lane", "track", "cursor"].map((name) => {
      const div = document.createElement("div");
      div.className = name;
      return div;
    });
    const button = document.createElement("button"), value = document.createElement("output"), canvas = document.createElement("canvas");
    button.type = "button";
    button.append(`${au.id} ${au.name}`, value);
    button.addEventListener("click", () => this.choose(number));
    canvas.setAttribute("role", "img");
    track.append(canvas, cursor);
    element.append(button, track);
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => { element.hidden = !box.checked; this.draw(); });
    label.append(box, ` ${au.id}`);
    document.getElementById("shown").append(label);
    const lane = { au, element, button, value, canvas, cursor, draft: null };
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
    canvas.addEventListener("pointermove", (event) => {
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

  // curves: those of each AU, from the server; times: the x of each row
  open(curves, times) {
    Object.assign(this, { curves, times });
    for (const { canvas, au } of this.lanes) canvas.setAttribute("aria-label", this.describe(au));
  }

  describe(au) {
    const { probability, label } = this.curves[au.id];
    let words = `${au.id} ${au.name} over time.`;
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
    const colours = { line: style("--accent"), intensity: style("--ink"), label: style("--dim"), event: "#e0a030" };
    for (const lane of only ? [only] : this.lanes) {
      const spans = this.hooks.spans(lane.au);
      if (lane.draft) spans.push(lane.draft);
      drawLane(lane.canvas, this.times, this.curves[lane.au.id], this.view, spans, colours);
    }
    this.show(this.row);
  }

  // Puts the cursor on a row and shows the values there.
  show(row = 0) {
    this.row = row;
    for (const lane of this.lanes) {
      lane.value.textContent = this.curves[lane.au.id].probability?.[row]?.toFixed(2) ?? "-";
      lane.cursor.style.left = `${xOf(this.times[row], this.view, lane.canvas.clientWidth)}px`;
    }
  }
}
