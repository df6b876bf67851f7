// Draws one Action Unit's curves, labels and marked events on a canvas; independent of the rest of the page.

const HEIGHT = 46, BAR = 7, AXIS = 30;

// First index (0 to times.length) whose time is t or later.
export function firstFrom(times, t) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < t) low = middle + 1; else high = middle;
  }
  return low;
}

// The row shown at time t: the last that has begun.
export function rowAt(times, t) {
  return Math.max(0, firstFrom(times, t + 1e-6) - 1);
}

export function xOf(t, view, width) {
  return ((t - view.from) / (view.to - view.from)) * width;
}

export function tOf(x, view, width) {
  return view.from + (x / width) * (view.to - view.from);
}

// y of a share 0 to 1 of the highest value.
const yOf = (share) => 2 + (HEIGHT - BAR - 5) * (1 - share);

function size(canvas, height) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return [context, width];
}

// A line through the known values. Of several values on one pixel, the lowest and highest are drawn, so no peak is lost.
function line(context, times, values, top, view, width) {
  const from = Math.max(0, firstFrom(times, view.from) - 1), to = Math.min(times.length, firstFrom(times, view.to) + 1);
  const y = (value) => yOf(value / top);
  context.beginPath();
  let open = false, column = null, low = 0, high = 0;
  const flush = () => {
    if (column === null) return;
    if (open) context.lineTo(column, y(high)); else context.moveTo(column, y(high));
    context.lineTo(column, y(low));
    open = true;
    column = null;
  };
  for (let row = from; row < to; row++) {
    const value = values[row];
    if (value === null) { flush(); open = false; continue; }
    const x = Math.round(xOf(times[row], view, width) * 2) / 2;
    if (x !== column) { flush(); column = x; low = high = value; }
    else { low = Math.min(low, value); high = Math.max(high, value); }
  }
  flush();
  context.stroke();
}

function bars(context, times, label, view, width) {
  for (let row = 0; row < times.length; row++) {
    if (!label[row]) continue;
    let end = row;
    while (end + 1 < times.length && label[end + 1]) end++;
    const stop = end + 1 < times.length ? times[end + 1] : times[end];
    const x = xOf(times[row], view, width);
    context.fillRect(x, HEIGHT - BAR, Math.max(1, xOf(stop, view, width) - x), BAR);
    row = end;
  }
}

// A step of 1, 2 or 5 times a power of ten, so that about n steps fill a span.
export function niceStep(span, n) {
  const rough = span / n, power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((times) => times * power >= rough) ?? 10);
}

// The time axis above the lanes: seconds, and below them the number of the frame shown then.
export function drawAxis(canvas, times, frames, timed, view, colour) {
  const [context, width] = size(canvas, AXIS);
  if (!width) return;
  const step = Math.max(niceStep(view.to - view.from, Math.max(2, Math.floor(width / 90))), timed ? 0 : 1);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  context.fillStyle = context.strokeStyle = colour;
  context.font = "11px system-ui, sans-serif";
  for (let t = Math.ceil(view.from / step) * step; t <= view.to + step / 1e6; t += step) {
    const x = xOf(t, view, width);
    context.fillRect(Math.round(x), AXIS - 4, 1, 4);
    context.textAlign = x < 30 ? "left" : x > width - 30 ? "right" : "center";
    if (timed) context.fillText(`${t.toFixed(digits)} s`, x, 11);
    context.fillText(`frame ${frames[rowAt(times, t)]}`, x, 24);
  }
}

// au: {probability, intensity, label}, each a list or absent; spans: [{start, end, draft}] in rows. threshold: the
// probability from which the AU counts as present, or null.
export function drawLane(canvas, times, au, view, spans, colours, threshold) {
  const [context, width] = size(canvas, HEIGHT);
  if (!width) return;
  for (const span of spans) {
    const x = xOf(times[span.start], view, width);
    context.globalAlpha = span.draft ? 0.25 : 0.4;
    context.fillStyle = colours.event;
    context.fillRect(x, 0, Math.max(2, xOf(times[span.end], view, width) - x), HEIGHT);
  }
  context.globalAlpha = 1;
  context.lineWidth = 1.5;
  context.fillStyle = colours.label;
  if (au.label) bars(context, times, au.label, view, width);
  if (au.probability && threshold !== null) {
    context.lineWidth = 1;
    context.strokeStyle = colours.threshold;
    context.setLineDash([1, 3]);
    context.beginPath();
    context.moveTo(0, yOf(threshold));
    context.lineTo(width, yOf(threshold));
    context.stroke();
    context.lineWidth = 1.5;
  }
  context.strokeStyle = colours.intensity;
  context.setLineDash([4, 3]);
  if (au.intensity) line(context, times, au.intensity, 5, view, width);
  context.strokeStyle = colours.line;
  context.setLineDash([]);
  if (au.probability) line(context, times, au.probability, 1, view, width);
}
