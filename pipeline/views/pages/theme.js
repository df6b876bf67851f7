// The button that switches between automatic, light and dark; a change fires the event "themechange".
"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const recall = () => { try { return localStorage.getItem("tclr-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("tclr-theme", theme); } catch { /* private mode: not kept */ } };
  const tell = () => document.dispatchEvent(new Event("themechange"));
  const set = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    tell();
  };
  let now = themes.includes(recall()) ? recall() : "auto";
  set(now);
  button.hidden = false;
  button.addEventListener("click", () => {
    now = themes[(themes.indexOf(now) + 1) % themes.length];
    keep(now);
    set(now);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
})();
