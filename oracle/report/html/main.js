// Brings the page to life: data, table, case, training; links of the form #case=…&dtype=… open a case.

async function start() {
  const theme = document.getElementById("theme");
  let redraw = () => {};
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("oracle-theme", root.dataset.theme); } catch { /* a page without storage forgets */ }
    redraw();
  });
  const began = performance.now();
  const data = await inflated(document.getElementById("data"));
  data.discrepancies.forEach((verdict) => DISCREPANCIES.add(verdict));
  const store = new Store(data.columns);
  delete data.columns;
  const view = new CaseView(store, data);

  const opened = () => {
    if (!location.hash.startsWith("#case=")) return false;
    const place = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    view.show(place);
    document.getElementById("case").scrollIntoView();
    return true;
  };
  const section = document.getElementById("case");
  if (!opened() && section.dataset.case) view.show(section.dataset);
  window.addEventListener("hashchange", opened);

  const table = new RowTable(store, document.getElementById("grid"), (row) => view.go(row));
  const filter = document.getElementById("filter"), shown = document.getElementById("shown");
  const narrow = () => { const count = table.filter(filter.value); shown.textContent = `${whole(count)} of ${whole(store.length)} rows`; };
  filter.addEventListener("input", narrow);
  document.getElementById("clear").addEventListener("click", () => { filter.value = ""; table.grid.setSortColumns([]); table.sort(null, true); narrow(); filter.focus(); });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => { filter.value = button.dataset.filter; narrow(); document.getElementById("table").scrollIntoView(); filter.focus({ preventScroll: true }); });
  }
  narrow();
  for (const host of document.querySelectorAll("[data-training]")) drawTraining(host, data.training[Number(host.dataset.training)]);
  redraw = () => { redrawCharts(); if (view.selected) view.choose(view.selected.layer, view.selected.quantity); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  let width = innerWidth;
  window.addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redrawCharts(); } });
  document.documentElement.dataset.ready = String(Math.round(performance.now() - began));
}

start().catch((error) => {
  const trouble = document.getElementById("trouble");
  trouble.hidden = false;
  trouble.textContent = `The page's data could not be shown (${error.message}); table.csv beside it holds every row.`;
  throw error;
});
