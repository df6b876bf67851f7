// The viewer's page: the list of clips, playing in time, the AU lanes, and keys.
import { drawLane, firstFrom, rowAt, tOf, xOf } from "./curves.js";
import { Marks } from "./marks.js";
import { Player } from "./player.js";

const MAX_LISTED = 300, MIN_SPAN_S = 0.5, DRAG_PX = 5;
const $ = (id) => document.getElementById(id);
const say = (text) => { $("message").textContent = text; };
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const { clips, aus, sprite, n_without_crops: nMissing } = await get("api/clips");
const player = new Player($("face"), sprite, say);
// times: x of each row, in seconds, or rows where a clip has no time, as stills
const state = { clip: 0, row: 0, t: 0, data: null, times: [0], view: { from: 0, to: 1 }, au: 0, begin: null, playing: false };
const lanes = [];
const name = (index) => `${clips[index].subject}/${clips[index].clip}`;
const marks = new Marks({ clipName: name, go: goTo, changed: () => draw(), say });

// --- list ---
function listed() {
  const filter = Object.fromEntries(new FormData($("filter")));
  const text = filter.text.toLowerCase();
  const kept = clips.map((clip, index) => ({ ...clip, index })).filter((clip) =>
    name(clip.index).toLowerCase().includes(text) && clip.share_ok * 100 >= Number(filter.share_ok) &&
    (clip.face_px ?? 0) >= Number(filter.face_px) && (clip.sharpness ?? 0) >= Number(filter.sharpness));
  if (filter.order !== "name") kept.sort((a, b) => (a[filter.order] ?? 0) - (b[filter.order] ?? 0));
  return kept;
}

function showList() {
  const kept = listed();
  const more = kept.length > MAX_LISTED ? `; the first ${MAX_LISTED} are listed, narrow the filter for others` : "";
  const missing = nMissing ? ` ${nMissing} of the features are not in the store.` : "";
  $("count").textContent = `${kept.length} of ${clips.length} clips${more}.${missing}`;
  $("clips").replaceChildren(...kept.slice(0, MAX_LISTED).map((clip) => {
    const item = document.createElement("li"), button = document.createElement("button"), small = document.createElement("small");
    button.type = "button";
    button.textContent = name(clip.index);
    small.textContent = `${(100 * clip.share_ok).toFixed(0)}% ok, face ${clip.face_px?.toFixed(0) ?? "-"} px, ` +
      `sharpness ${clip.sharpness?.toFixed(0) ?? "-"}, ${clip.duration_s.toFixed(1)} s`;
    button.append(small);
    button.dataset.index = clip.index;
    if (clip.index === state.clip) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => open(clip.index));
    item.append(button);
    return item;
  }));
}

function step(by) {
  const kept = listed(), now = kept.findIndex((clip) => clip.index === state.clip);
  const next = kept[Math.min(Math.max(now + by, 0), kept.length - 1)];
  if (next) open(next.index);
}

// --- lanes ---
function makeLane(au, number) {
  const lane = document.createElement("div"), button = document.createElement("button"), value = document.createElement("output");
  const track = document.createElement("div"), canvas = document.createElement("canvas"), cursor = document.createElement("div");
  lane.className = "lane";
  track.className = "track";
  cursor.className = "cursor";
  button.type = "button";
  button.append(`${au.id} ${au.name}`, value);
  button.addEventListener("click", () => choose(number));
  canvas.setAttribute("role", "img");
  track.append(canvas, cursor);
  lane.append(button, track);
  const made = { au, lane, button, value, canvas, cursor, draft: null };
  listen(made, number);
  const label = document.createElement("label"), box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.addEventListener("change", () => { lane.hidden = !box.checked; draw(); });
  label.append(box, ` ${au.id}`);
  $("shown").append(label);
  return made;
}

// A click goes there; a drag marks from there to here.
function listen(lane, number) {
  const { canvas } = lane;
  let from = null;
  const row = (event) => {
    const x = Math.min(Math.max(event.clientX - canvas.getBoundingClientRect().left, 0), canvas.clientWidth);
    return rowAt(state.times, tOf(x, state.view, canvas.clientWidth));
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    from = { x: event.clientX, row: row(event) };
    choose(number);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from || (Math.abs(event.clientX - from.x) < DRAG_PX && !lane.draft)) return;
    const to = row(event);
    lane.draft = { start: Math.min(from.row, to), end: Math.max(from.row, to), draft: true };
    draw(lane);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    const draft = lane.draft, to = row(event);
    from = lane.draft = null;
    if (draft) marks.add(state.clip, lane.au.id, draft.start, draft.end, state.times);
    else seek(to);
  });
  canvas.addEventListener("pointercancel", () => { from = lane.draft = null; draw(lane); });
}

function choose(number) {
  state.au = number;
  lanes.forEach((lane, i) => lane.button.setAttribute("aria-pressed", String(i === number)));
  $("au").textContent = aus[number] ? aus[number].id : "-";
  if (state.begin !== null) { state.begin = null; showBegin(); }
}

function draw(only) {
  if (!state.data) return;
  const colours = { line: style("--accent"), intensity: style("--ink"), label: style("--dim"), event: "#e0a030" };
  for (const lane of only ? [only] : lanes) {
    const spans = marks.of(state.clip, lane.au.id);
    if (lane.draft) spans.push(lane.draft);
    drawLane(lane.canvas, state.times, state.data.aus[lane.au.id], state.view, spans, colours);
  }
  showRow();
}

// --- time ---
function showRow() {
  const { data, row, times } = state, clip = clips[state.clip];
  const words = `frame ${data.frame[row]} (${row + 1} of ${clip.n_frames}), ${data.timestamp[row].toFixed(3)} s, ${data.status[row]}`;
  $("where").textContent = words;
  $("face").setAttribute("aria-label", `Aligned face of ${name(state.clip)}, ${words}`);
  $("scrub").value = row;
  $("scrub").setAttribute("aria-valuetext", words);
  for (const lane of lanes) {
    const curves = data.aus[lane.au.id];
    lane.value.textContent = curves.probability?.[row]?.toFixed(2) ?? "-";
    lane.cursor.style.left = `${xOf(times[row], state.view, lane.canvas.clientWidth)}px`;
  }
}

function seek(row) {
  state.row = Math.min(Math.max(row, 0), state.times.length - 1);
  state.t = state.times[state.row];
  const { from, to } = state.view;
  if (state.t < from || state.t > to) look(state.t, to - from); else showRow();
  player.show(state.row);
}

// Shows a span of the curves around t, within the clip.
function look(t, span) {
  const first = state.times[0], last = state.times[state.times.length - 1], whole = last - first || 1;
  const width = Math.min(Math.max(span, Math.min(MIN_SPAN_S, whole)), whole);
  const from = Math.min(Math.max(t - width / 2, first), first + whole - width);
  state.view = { from, to: from + width };
  $("span").textContent = width < whole ? `${from.toFixed(1)} to ${(from + width).toFixed(1)} s` : "the whole clip";
  draw();
}

const zoom = (by) => look(state.t, (state.view.to - state.view.from) * by);

function play(on) {
  if (on && state.row === state.times.length - 1) seek(0);
  state.playing = on;
  $("play").textContent = on ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(on));
  if (on) { let last = performance.now(); requestAnimationFrame(function tick(now) { last = advance(now, last, tick); }); }
}

function advance(now, last, tick) {
  if (!state.playing) return now;
  const end = state.times[state.times.length - 1];
  const t = state.t + (Math.max(now - last, 0) / 1000) * Number($("speed").value), row = rowAt(state.times, t);
  if (t >= end) {
    seek(state.times.length - 1);
    if ($("repeat").checked) seek(0); else { play(false); return now; }
  } else if (player.ready(row)) {  // else the clock waits for the crops
    if (row !== state.row) seek(row);
    state.t = t;
  }
  requestAnimationFrame(tick);
  return now;
}

// --- events ---
function showBegin() {
  $("out").disabled = state.begin === null;
  $("in").textContent = state.begin === null ? "Begin event (I)" : `Began at ${state.times[state.begin].toFixed(2)} s (I)`;
}

function begin() {
  if (!aus.length) return;
  state.begin = state.row;
  showBegin();
  say(`${aus[state.au].id} begins at ${state.times[state.row].toFixed(2)} s: go to its end and press O.`);
}

function end() {
  if (state.begin === null) return;
  const from = state.begin;
  state.begin = null;
  showBegin();
  marks.add(state.clip, aus[state.au].id, from, state.row, state.times);
}

async function goTo(event) {
  if (event.clip !== state.clip) await open(event.clip);
  choose(aus.findIndex((au) => au.id === event.au));
  seek(event.start);
}

// --- clips ---
async function open(index) {
  play(false);
  try {
    const data = await get(`api/clips/${index}`), clip = clips[index], stamps = data.timestamp;
    const timed = stamps.length > 1 && stamps[stamps.length - 1] > stamps[0];
    Object.assign(state, { clip: index, data, times: timed ? stamps : stamps.map((_, row) => row), row: 0, begin: null });
    say("");
    $("title").textContent = name(index);
    $("about").textContent = `${clip.n_frames} frames, ${clip.duration_s.toFixed(2)} s, ${(100 * clip.share_ok).toFixed(1)}% ok. ${clip.warning}`;
    $("scrub").max = clip.n_frames - 1;
    for (const lane of lanes) lane.canvas.setAttribute("aria-label", describe(lane.au, data));
    player.open(index, clip.n_frames);
    showBegin();
    state.t = state.times[0];
    look(state.t, Infinity);
    seek(0);
    showList();
  } catch (error) { say(error.message); }
}

function describe(au, data) {
  const { probability, label } = data.aus[au.id];
  let words = `${au.id} ${au.name} over time.`;
  if (probability) {
    const highest = probability.reduce((best, value, row) => (value !== null && value > (probability[best] ?? -1) ? row : best), 0);
    words += ` Highest ${(probability[highest] ?? 0).toFixed(2)} at ${data.timestamp[highest].toFixed(2)} s.`;
  }
  if (label) words += ` Labelled present in ${label.filter((value) => value === 1).length} frames.`;
  return words;
}

// --- controls and keys ---
const keys = {
  " ": () => play(!state.playing),
  ArrowLeft: (event) => seek(event.shiftKey ? firstFrom(state.times, state.t - 1) : state.row - 1),
  ArrowRight: (event) => seek(event.shiftKey ? firstFrom(state.times, state.t + 1) : state.row + 1),
  Home: () => seek(0),
  End: () => seek(state.times.length - 1),
  ArrowUp: () => choose(Math.max(state.au - 1, 0)),
  ArrowDown: () => choose(Math.min(state.au + 1, aus.length - 1)),
  i: begin, o: end, n: () => step(1), p: () => step(-1), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
  Escape: () => { state.begin = null; showBegin(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state.data) return;
  const at = event.target, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (at.matches("select, input:not([type=checkbox], [type=range])")) return;
  if (key === " " && at.matches("button, summary, input")) return;
  if (at.matches("[type=range]") && !event.shiftKey && /^(Arrow|Home|End|Page)/.test(key)) return;
  if (keys[key]) { event.preventDefault(); keys[key](event); }
});
$("play").addEventListener("click", () => play(!state.playing));
$("back").addEventListener("click", () => seek(state.row - 1));
$("forward").addEventListener("click", () => seek(state.row + 1));
$("scrub").addEventListener("input", () => { play(false); seek(Number($("scrub").value)); });
$("in").addEventListener("click", begin);
$("out").addEventListener("click", end);
$("closer").addEventListener("click", () => zoom(0.5));
$("wider").addEventListener("click", () => zoom(2));
$("filter").addEventListener("input", showList);
$("filter").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("themechange", () => draw());
addEventListener("resize", () => draw());

lanes.push(...aus.map(makeLane));
$("lanes").append(...lanes.map((lane) => lane.lane));
$("in").disabled = !aus.length;
$("filters").open = matchMedia("(min-width: 46rem)").matches;
choose(0);
await open(0);
