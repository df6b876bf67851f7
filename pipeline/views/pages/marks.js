// The marked events: kept when the page reloads, listed, annotated, deleted, and saved as CSV made by the server.

const KEY = `tclr-events ${location.pathname}`;

export class Marks {
  // hooks: clipName(index), go(event), changed(), say(text)
  constructor(hooks) {
    this.hooks = hooks;
    this.events = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    this.saved = this.events.length === 0;
    this.table = document.getElementById("events");
    this.button = document.getElementById("export");
    this.button.addEventListener("click", () => this.save());
    addEventListener("beforeunload", (event) => { if (!this.saved) event.preventDefault(); });
    this.show();
  }

  of(clip, au) {
    return this.events.filter((event) => event.clip === clip && event.au === au);
  }

  add(clip, au, start, end, times) {
    const [first, last] = start <= end ? [start, end] : [end, start];
    this.events.push({ clip, au, start: first, end: last, from: times[first], to: times[last], note: "" });
    this.change();
    this.hooks.say(`Marked ${au} from ${times[first].toFixed(2)} to ${times[last].toFixed(2)} s.`);
  }

  change() {
    this.saved = this.events.length === 0;
    this.keep();
    this.show();
    this.hooks.changed();
  }

  keep() {
    sessionStorage.setItem(KEY, JSON.stringify(this.events));
  }

  show() {
    const n = this.events.length;
    document.getElementById("n-events").textContent = n ? `${n} marked.` : "None marked yet.";
    this.button.disabled = !n;
    this.table.hidden = !n;
    this.table.tBodies[0].replaceChildren(...this.events.map((event) => this.row(event)));
  }

  row(event) {
    const row = document.createElement("tr"), name = this.hooks.clipName(event.clip);
    for (const text of [name, event.au, event.from.toFixed(2), event.to.toFixed(2)]) row.insertCell().textContent = text;
    const note = document.createElement("input");
    note.value = event.note;
    note.maxLength = 1000;
    note.setAttribute("aria-label", `Note on ${event.au} of ${name}`);
    note.addEventListener("input", () => { event.note = note.value; this.saved = false; this.keep(); });
    row.insertCell().append(note);
    const action = (text, what) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `${text} ${event.au} of ${name} at ${event.from.toFixed(2)} s`);
      button.addEventListener("click", what);
      return button;
    };
    row.insertCell().append(action("Go to", () => this.hooks.go(event)), " ", action("Delete", () => {
      this.events.splice(this.events.indexOf(event), 1);
      this.change();
      this.button.focus();
    }));
    return row;
  }

  async save() {
    const events = this.events.map(({ clip, au, start, end, note }) => ({ clip, au, start, end, note }));
    const answer = await fetch("api/events.csv", { method: "POST", body: JSON.stringify(events) });
    if (!answer.ok) { this.hooks.say(await answer.text()); return; }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "events.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    this.saved = true;
    this.hooks.say(`Saved ${events.length} event${events.length === 1 ? "" : "s"} as events.csv.`);
  }
}
