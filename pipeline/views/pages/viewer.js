// The viewer's page: opens clips, keeps the time, and connects list, player, lanes, events and keys.
import { ClipList, nameOf } from "./clip_list.js";
import { firstFrom, rowAt } from "./curves.js";
import { Lanes, titleOf } from "./lanes.js";
import { Marks } from "./marks.js";
import { Player } from "./player.js";

const MIN_SPAN_S = 0.5;
const $ = (id) => document.getElementById(id);
const say = (text) => { $("message").textContent = text; };

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const { clips, aus, au_source: source, sprite, n_without_crops: nMissing } = await get("api/clips");
// times: x of each row in seconds, or row numbers of a clip without times (stills); begin: {au, row} of an open event
const state = { clip: 0, row: 0, t: 0, data: null, times: [0], begin: null, playing: false };
const name = (index) => nameOf(clips[index]);
const list = new ClipList(clips, nMissing, open);
const player = new Player($("face"), sprite, say);
$("no-crops").hidden = sprite !== null;
const marks = new Marks({ clipName: name, go: goTo, changed: () => lanes.draw(), say });
const lanes = new Lanes(aus, {
  spans: (au) => marks.of(state.clip, au.id),
  mark: (au, start, end) => marks.add(state.clip, au.id, start, end, state.times),
  seek,
  chosen: (au) => { $("au").textContent = au ? titleOf(au) : "-"; },
});

// --- time ---
function seek(row) {
  state.row = Math.min(Math.max(row, 0), state.times.length - 1);
  state.t = state.times[state.row];
  const { from, to } = lanes.view, { data } = state;
  const words = `frame ${data.frame[state.row]} (${state.row + 1} of ${data.frame.length}), ` +
    `${data.timestamp[state.row].toFixed(3)} s, ${data.status[state.row]}`;
  $("where").textContent = words;
  $("face").setAttribute("aria-label", `Aligned face of ${name(state.clip)}, ${words}`);
  $("scrub").value = state.row;
  $("scrub").setAttribute("aria-valuetext", words);
  lanes.show(state.row);
  if (state.t < from || state.t > to) look(state.t, to - from);
  player.show(state.row);
}

// Shows a span of the curves around t, within the clip.
function look(t, span) {
  const first = state.times[0], last = state.times[state.times.length - 1], whole = last - first || 1;
  const width = Math.min(Math.max(span, Math.min(MIN_SPAN_S, whole)), whole);
  const from = Math.min(Math.max(t - width / 2, first), first + whole - width);
  lanes.view = { from, to: from + width };
  $("span").textContent = width < whole ? `${from.toFixed(1)} to ${(from + width).toFixed(1)} s` : "the whole clip";
  lanes.draw();
}

const zoom = (by) => look(state.t, (lanes.view.to - lanes.view.from) * by);

function play(on) {
  if (on && state.row === state.times.length - 1) seek(0);
  if (on && !state.playing) { let last = performance.now(); requestAnimationFrame(function tick(now) { last = advance(now, last, tick); }); }
  state.playing = on;
  $("play").textContent = on ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(on));
}

// One step of the clock, which waits for crops to arrive.
function advance(now, last, tick) {
  if (!state.playing) return now;
  const t = state.t + (Math.max(now - last, 0) / 1000) * Number($("speed").value), row = rowAt(state.times, t);
  if (t >= state.times[state.times.length - 1]) {
    seek(state.times.length - 1);
    if (!$("repeat").checked) { play(false); return now; }
    seek(0);
  } else if (player.ready(row)) {
    if (row !== state.row) seek(row);
    state.t = t;
  }
  requestAnimationFrame(tick);
  return now;
}

// --- events ---
function setBegin(mark) {
  state.begin = mark;
  $("out").disabled = mark === null;
  $("in").textContent = mark === null ? "Begin event (I)" : `${mark.au} began at ${state.times[mark.row].toFixed(2)} s (I)`;
}

function begin() {
  if (!aus.length) return;
  setBegin({ au: lanes.chosen.id, row: state.row });
  say(`${lanes.chosen.id} begins at ${state.times[state.row].toFixed(2)} s. Go to its end and press O.`);
}

function end() {
  if (state.begin === null) return;
  marks.add(state.clip, state.begin.au, state.begin.row, state.row, state.times);
  setBegin(null);
}

async function goTo(event) {
  if (event.clip !== state.clip) await open(event.clip);
  lanes.choose(aus.findIndex((au) => au.id === event.au));
  seek(event.start);
}

// --- clips ---
async function open(index) {
  play(false);
  try {
    const data = await get(`api/clips/${index}`), clip = clips[index], stamps = data.timestamp;
    const timed = stamps.length > 1 && stamps[stamps.length - 1] > stamps[0];
    Object.assign(state, { clip: index, data, times: timed ? stamps : stamps.map((_, row) => row) });
    say("");
    $("title").textContent = name(index);
    $("about").textContent = `${clip.n_frames} frames, ${clip.duration_s.toFixed(2)} s, ${(100 * clip.share_ok).toFixed(1)}% ok. ${clip.warning}`;
    $("scrub").max = clip.n_frames - 1;
    setBegin(null);
    lanes.open(data.aus, state.times, data.frame, timed);
    player.open(index, clip.n_frames);
    look(state.times[0], Infinity);
    seek(0);
    list.show(index);
  } catch (error) { say(error.message); }
}

// --- controls and keys ---
const keys = {
  " ": () => play(!state.playing),
  ArrowLeft: (event) => seek(event.shiftKey ? firstFrom(state.times, state.t - 1) : state.row - 1),
  ArrowRight: (event) => seek(event.shiftKey ? firstFrom(state.times, state.t + 1) : state.row + 1),
  Home: () => seek(0),
  End: () => seek(state.times.length - 1),
  ArrowUp: () => lanes.choose(lanes.number - 1),
  ArrowDown: () => lanes.choose(lanes.number + 1),
  i: begin, o: end, n: () => list.step(1), p: () => list.step(-1),
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Escape: () => setBegin(null),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state.data) return;
  const at = event.target, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (at.matches("select, input:not([type=checkbox], [type=range])")) return;
  if (key === " " && at.matches("button, summary, input")) return;
  if (at.matches("[type=range]") && !event.shiftKey && /^(Arrow|Home|End|Page)/.test(key)) return;  // the slider handles these keys
  if (keys[key]) { event.preventDefault(); keys[key](event); }
});
const controls = {
  play: () => play(!state.playing), back: () => seek(state.row - 1), forward: () => seek(state.row + 1),
  in: begin, out: end, closer: () => zoom(0.5), wider: () => zoom(2),
};
for (const [id, act] of Object.entries(controls)) $(id).addEventListener("click", act);
$("scrub").addEventListener("input", () => { play(false); seek(Number($("scrub").value)); });

$("source").textContent = `AUs come from ${source}.`;
$("in").disabled = !aus.length;
lanes.choose(0);
await open(0);
