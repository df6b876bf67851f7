// The list of clips: filters by name and quality, sorts, and marks the open clip.

const MAX_LISTED = 300;

export const nameOf = (clip) => `${clip.subject}/${clip.clip}`;

export class ClipList {
  // clips and nMissing come from the server; open(index) is called when a clip is chosen
  constructor(clips, nMissing, open) {
    Object.assign(this, { clips, nMissing, open, now: 0 });
    this.form = document.getElementById("filter");
    this.form.addEventListener("input", () => this.show());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("filters").open = matchMedia("(min-width: 46rem)").matches;
  }

  kept() {
    const filter = Object.fromEntries(new FormData(this.form));
    const text = filter.text.toLowerCase();
    const kept = this.clips.map((clip, index) => ({ ...clip, index })).filter((clip) =>
      nameOf(clip).toLowerCase().includes(text) && clip.share_ok * 100 >= Number(filter.share_ok) &&
      (clip.face_px ?? 0) >= Number(filter.face_px) && (clip.sharpness ?? 0) >= Number(filter.sharpness));
    if (filter.order !== "name") kept.sort((a, b) => (a[filter.order] ?? 0) - (b[filter.order] ?? 0));
    return kept;
  }

  show(now = this.now) {
    this.now = now;
    const kept = this.kept();
    const more = kept.length > MAX_LISTED ? `; the first ${MAX_LISTED} are listed, narrow the filter to see others` : "";
    const missing = this.nMissing ? ` ${this.nMissing} more are missing from the store.` : "";
    document.getElementById("count").textContent = `${kept.length} of ${this.clips.length} clips${more}.${missing}`;
    document.getElementById("clips").replaceChildren(...kept.slice(0, MAX_LISTED).map((clip) => this.item(clip)));
  }

  item(clip) {
    const item = document.createElement("li"), button = document.createElement("button"), small = document.createElement("small");
    button.type = "button";
    button.textContent = nameOf(clip);
    small.textContent = `${(100 * clip.share_ok).toFixed(0)}% ok, face ${clip.face_px?.toFixed(0) ?? "-"} px, ` +
      `sharpness ${clip.sharpness?.toFixed(0) ?? "-"}, ${clip.duration_s.toFixed(1)} s`;
    button.append(small);
    if (clip.index === this.now) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => this.open(clip.index));
    item.append(button);
    return item;
  }

  // Opens the next (by = 1) or previous (by = -1) clip of the list.
  step(by) {
    const kept = this.kept(), place = kept.findIndex((clip) => clip.index === this.now);
    const next = kept[Math.min(Math.max(place + by, 0), kept.length - 1)];
    if (next) this.open(next.index);
  }
}
