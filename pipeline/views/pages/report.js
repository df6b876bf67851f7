// Draws each plot when it comes into view, in the colours of the page's theme.
"use strict";
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const touch = matchMedia("(hover: none)").matches;
  const drawn = new Set();

  const NARROW_PX = 560, PAPER_PX = 680, PAPER_HEIGHT_PX = 480;  // a clip's faces and its timeline on one sheet
  const PAPER = { "--ink": "#1a242c", "--line": "#c9d2d8" };  // the print style's, which is not yet in effect before printing

  function themed(colour = style) {
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line") };
    const colours = { paper_bgcolor: "transparent", plot_bgcolor: "transparent", "font.color": colour("--ink") };
    for (const name of ["xaxis", "yaxis"]) {
      for (const [key, value] of Object.entries(axis)) colours[`${name}.${key}`] = value;
    }
    return colours;
  }

  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  const specOf = (plot) => JSON.parse(document.querySelector(`[data-plot="${plot.id}"]`).textContent);

  // Returns the drawing for the screen, or for paper of a width: everything is settled before Plotly draws it, at once.
  function compose(plot, width) {
    const { data, layout } = specOf(plot);
    layout.dragmode = touch ? false : "zoom";  // a finger scrolls the page
    layout.uirevision = "keep";  // what is zoomed stays zoomed
    for (const [path, value] of Object.entries(themed(width && ((name) => PAPER[name])))) {
      const keys = path.split("."), last = keys.pop();
      keys.reduce((part, key) => (part[key] ??= {}), layout)[last] = value;
    }
    if (width) Object.assign(layout, { width, height: Math.min(layout.height, PAPER_HEIGHT_PX), autosize: false });
    if (width) (layout.font ??= {}).size = 8;
    const { yaxis } = layout;
    if ((width ?? plot.clientWidth) < NARROW_PX && yaxis.ticktext) yaxis.ticktext = yaxis.tickvals;  // no room for names
    for (const trace of data) {
      const { frames, about } = trace.meta ?? {};
      if (frames) trace.customdata = about.map((title) => frames.map((frame) => [frame, title]));
    }
    const select = document.getElementById(`${plot.id}-colour`);
    if (select) Object.assign(data[0], painted(parsed(`${plot.id}-extra`), select.value));
    return [data, layout, { responsive: !width, displayModeBar: false }];
  }

  async function draw(plot) {
    await Plotly.newPlot(plot, ...compose(plot));
    drawn.add(plot);
    if (["linear", "date"].includes(plot._fullLayout.xaxis.type)) steer(plot);
    document.getElementById(`${plot.id}-colour`)?.addEventListener("change", () => Plotly.react(plot, ...compose(plot)));
  }

  // Keys pan and zoom as dragging does.
  function steer(plot) {
    const whole = [...plot._fullLayout.xaxis.range];
    const status = document.getElementById(`${plot.id}-range`);
    plot.tabIndex = 0;
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-label", `${plot.getAttribute("aria-label")} Arrow keys move, plus and minus zoom, 0 shows all.`);
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const [from, to] = plot._fullLayout.xaxis.range;
      const width = to - from, middle = (from + to) / 2;
      const moves = {
        ArrowLeft: () => [from - width / 10, to - width / 10],
        ArrowRight: () => [from + width / 10, to + width / 10],
        "+": () => [middle - width / 4, middle + width / 4],
        "-": () => [middle - width, middle + width],
        0: () => whole,
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const range = moves[event.key]();
      Plotly.relayout(plot, { "xaxis.range": range });
      status.textContent = `shown: ${range.map((value) => value.toPrecision(3)).join(" to ")}`;
    });
  }

  // Subjects get hues a golden angle apart; AU columns get shades; unknown frames are grey.
  function painted(extra, column) {
    const values = column ? extra.columns[column] : extra.codes;
    const shade = (value) => (value === null ? "rgba(138,143,148,0.25)" : `hsl(${210 - 180 * value} 75% 52%)`);
    const hue = (code) => `hsl(${(code * 137.508) % 360} 60% 52%)`;
    return {
      marker: { size: 5, color: values.map(column ? shade : hue) },
      customdata: column ? values.map((value) => value ?? "unknown") : values.map((code) => extra.subjects[code]),
      hovertemplate: `%{text}<br>${column || "subject"}: %{customdata}<extra></extra>`,
    };
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !drawn.has(target)) { seen.unobserve(target); draw(target); }
    }
  }, { rootMargin: "400px" });
  const plots = [...document.querySelectorAll(".plot")];
  for (const plot of plots) {
    plot.style.minHeight = `${specOf(plot).layout.height}px`;  // so that the page does not jump when it is drawn
    seen.observe(plot);
  }
  // Paper gets every plot, also those that have not been in view, dark on white and as wide as the sheet.
  addEventListener("beforeprint", () => {
    for (const plot of plots) {
      if (!drawn.has(plot)) { seen.unobserve(plot); draw(plot); }
      Plotly.react(plot, ...compose(plot, PAPER_PX));
    }
  });
  addEventListener("afterprint", () => { for (const plot of plots) Plotly.react(plot, ...compose(plot)); });
  document.addEventListener("themechange", () => drawn.forEach((plot) => Plotly.relayout(plot, themed())));
})();
