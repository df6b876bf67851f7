// Draws each plot when it comes into view, in the colours of the page's theme.
"use strict";
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const touch = matchMedia("(hover: none)").matches;
  const drawn = new Set();

  function themed() {
    const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line") };
    const colours = { paper_bgcolor: "transparent", plot_bgcolor: "transparent", "font.color": style("--ink") };
    for (const name of ["xaxis", "yaxis"]) {
      for (const [key, value] of Object.entries(axis)) colours[`${name}.${key}`] = value;
    }
    return colours;
  }

  async function draw(plot) {
    const { data, layout } = JSON.parse(document.querySelector(`[data-plot="${plot.id}"]`).textContent);
    layout.dragmode = touch ? false : "zoom";  // a finger scrolls the page
    for (const [path, value] of Object.entries(themed())) {  // set before drawing: relayout would draw a second time
      const keys = path.split("."), last = keys.pop();
      keys.reduce((part, key) => (part[key] ??= {}), layout)[last] = value;
    }
    await Plotly.newPlot(plot, data, layout, { responsive: true, displayModeBar: false });
    drawn.add(plot);
    if (["linear", "date"].includes(plot._fullLayout.xaxis.type)) steer(plot);
    const select = document.getElementById(`${plot.id}-colour`);
    if (select) {
      const extra = JSON.parse(document.getElementById(`${plot.id}-extra`).textContent);
      const colour = () => paint(plot, extra, select.value);
      select.addEventListener("change", colour);
      await colour();
    }
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
  function paint(plot, extra, column) {
    const values = column ? extra.columns[column] : extra.codes;
    const shade = (value) => (value === null ? "rgba(138,143,148,0.25)" : `hsl(${210 - 180 * value} 75% 52%)`);
    const hue = (code) => `hsl(${(code * 137.508) % 360} 60% 52%)`;
    const shown = column ? values.map((value) => value ?? "unknown") : values.map((code) => extra.subjects[code]);
    return Plotly.restyle(plot, {
      "marker.color": [values.map(column ? shade : hue)],
      customdata: [shown],
      hovertemplate: `%{text}<br>${column || "subject"}: %{customdata}<extra></extra>`,
    });
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) { seen.unobserve(target); draw(target); }
    }
  }, { rootMargin: "400px" });
  for (const plot of document.querySelectorAll(".plot")) {
    const { layout } = JSON.parse(document.querySelector(`[data-plot="${plot.id}"]`).textContent);
    plot.style.minHeight = `${layout.height}px`;  // so that the page does not jump when it is drawn
    seen.observe(plot);
  }
  document.addEventListener("themechange", () => drawn.forEach((plot) => Plotly.relayout(plot, themed())));
})();
