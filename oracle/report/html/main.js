// Brings the page to life: data, table, case, training; what is shown stands in the address.

async function start() {
  let redraw = () => {};
  turnable(() => redraw());
  const began = performance.now();
  const data = await inflated(document.getElementById("data"));
  data.discrepancies.forEach((verdict) => DISCREPANCIES.add(verdict));
  const store = new Store(data.columns);
  delete data.columns;
  const view = new CaseView(store, data);

  const table = new RowTable(store, data.shown, document.getElementById("grid"), (row) => view.go(row), (name, ascending) => putInAddress({ sort: `${ascending ? "" : "-"}${name}` }, true));
  const filter = document.getElementById("filter"), shown = document.getElementById("shown"), trouble = document.getElementById("filter-trouble");
  const narrow = () => {
    const { tests, trouble: said } = parsed(filter.value, store.columns);
    trouble.textContent = said;
    trouble.hidden = !said;
    filter.setAttribute("aria-invalid", String(said !== ""));
    if (!said) shown.textContent = `${whole(table.filter(tests))} of ${whole(store.length)} rows`;
    putInAddress({ filter: filter.value }, true);
  };
  const byAddress = () => {
    const place = fromAddress(), order = place.sort || "";
    filter.value = place.filter || "";
    const name = order.replace(/^-/, "");
    table.sort(store.columns[name] ? name : null, !order.startsWith("-"));
    narrow();
    if (!("case" in place)) return false;
    view.show(place);
    return true;
  };
  const section = document.getElementById("case");
  const hasCase = byAddress();
  if (hasCase) section.scrollIntoView(); else if (section.dataset.case) view.show(section.dataset);
  if (!hasCase && filter.value) document.getElementById("table").scrollIntoView();
  window.addEventListener("hashchange", () => { if (byAddress()) section.scrollIntoView(); });
  filter.addEventListener("input", narrow);
  document.getElementById("clear").addEventListener("click", () => { filter.value = ""; putInAddress({ sort: "" }, true); table.sort(null, true); narrow(); filter.focus(); });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => { filter.value = button.dataset.filter; narrow(); document.getElementById("table").scrollIntoView(); filter.focus({ preventScroll: true }); });
  }
  for (const link of document.querySelectorAll("a[data-section]")) { // a part of the page; the address goes on holding what is shown
    link.addEventListener("click", (event) => { event.preventDefault(); document.querySelector(link.getAttribute("href")).scrollIntoView(); });
  }
  document.getElementById("download").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([table.csv()], { type: "text/csv" }));
    element("a", { href: url, download: "rows.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  const top = document.querySelector("header.top"); // a link's target is not to lie under it
  new ResizeObserver(() => { document.documentElement.style.scrollPaddingTop = `${getComputedStyle(top).position === "sticky" ? top.offsetHeight + 8 : 8}px`; }).observe(top);
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
