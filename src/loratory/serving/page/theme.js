// Before anything is drawn: the colours that were chosen here last. Without this file the page follows the system,
// and the choice holds until the page is left.
"use strict";
(() => {
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* a browser that keeps nothing */ } };
  const known = (theme) => (["light", "dark"].includes(theme) ? theme : "auto");
  root.dataset.theme = known(kept());
  document.addEventListener("DOMContentLoaded", () => {
    for (const one of document.querySelectorAll("input[name=theme]")) {
      one.checked = one.value === root.dataset.theme;
      one.addEventListener("change", () => { root.dataset.theme = one.value; keep(one.value); });
    }
  });
})();
