// Light or dark: as the browser has it, until the reader turns it; what is drawn in its colours is drawn again.

function turnable(redraw) {
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("oracle-theme", root.dataset.theme); } catch { /* a page without storage forgets */ }
    redraw();
  });
}
