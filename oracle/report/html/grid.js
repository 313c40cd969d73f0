// The table of all rows: SlickGrid over the store's columns; only what is in sight becomes elements.

class RowTable {
  // shown: how each column is shown; open: called with a row to be shown; sorted: called with the column's name and the direction.
  constructor(store, shown, host, open, sorted) {
    this.store = store;
    this.rows = store.order;
    this.tests = [];
    this.host = host;
    const provider = { getLength: () => this.rows.length, getItem: (place) => ({ row: this.rows[place] }) };
    this.kinds = Object.fromEntries(shown.map((column) => [column.name, column.kind]));
    const columns = shown.filter((column) => column.width).map(({ name, width }) => ({
      id: name, name: name.replace("_", " "), field: name, width, sortable: true,
      cssClass: store.columns[name].words ? "" : "num", headerCssClass: store.columns[name].words ? "" : "num",
      formatter: (_row, _cell, _value, _column, item) => this.cell(name, item.row),
    }));
    this.grid = new Slick.Grid(host, provider, columns, {
      rowHeight: 25, enableColumnReorder: false, enableCellNavigation: true, enableTextSelectionOnCells: true,
      headerRowHeight: 27, multiColumnSort: false, forceFitColumns: false, tristateMultiColumnSort: false,
    });
    this.grid.onSort.subscribe((_event, sorting) => { this.sort(sorting.sortCol.field, sorting.sortAsc); sorted(sorting.sortCol.field, sorting.sortAsc); });
    host.setAttribute("aria-label", "All rows");
    // A grid holds rows, or groups of them, alone: what else takes the focus between it and them has to be such a group.
    for (const part of host.querySelectorAll(".slick-pane, .grid-canvas")) part.removeAttribute("tabindex");
    for (const part of host.querySelectorAll("[tabindex]:not([role])")) part.setAttribute("role", "rowgroup");
    for (const heading of this.headings()) {
      heading.tabIndex = 0;
      heading.setAttribute("aria-sort", "none");
      heading.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        heading.click();
      });
    }
    this.grid.onKeyDown.subscribe((event, place) => {
      const key = event.getNativeEvent ? event.getNativeEvent().key : event.key;
      if (key === "Enter") { open(this.store.row(this.rows[place.row])); event.preventDefault(); event.stopImmediatePropagation(); }
    });
    this.grid.onClick.subscribe((event, place) => {
      const target = event.getNativeEvent ? event.getNativeEvent().target : event.target;
      if (target.classList.contains("open")) open(this.store.row(this.rows[place.row]));
    });
    new ResizeObserver(() => this.grid.resizeCanvas()).observe(host);
  }

  cell(name, row) {
    const value = this.store.get(name, row);
    if (name === "case") return element("span", { class: "open", title: value }, value);
    if (name === "verdict") return element("span", { class: `v v-${value} ${isBad(value) ? "bad" : ""}` }, value);
    if (this.store.columns[name].words) return element("span", { title: value }, value);
    return element("span", {}, written(this.store, row, name, this.kinds[name]));
  }

  headings() { return this.host.querySelectorAll(".slick-header-column"); }

  // By a column, or, where `name` is null, in the order of computation.
  sort(name, ascending) {
    this.store.sort(name, ascending);
    for (const heading of this.headings()) {
      heading.setAttribute("aria-sort", heading.dataset.id !== name ? "none" : ascending ? "ascending" : "descending");
    }
    this.grid.setSortColumns(name ? [{ columnId: name, sortAsc: ascending }] : []);
    return this.filter(this.tests);
  }

  filter(tests) {
    this.tests = tests;
    this.rows = this.store.filtered(tests);
    this.grid.invalidateAllRows();
    this.grid.updateRowCount();
    this.grid.scrollTo(0);
    this.grid.render();
    return this.rows.length;
  }

  // What is shown as CSV; a spreadsheet takes no cell for a formula.
  csv() {
    const names = Object.keys(this.store.columns);
    const cell = (value) => {
      const text = typeof value === "string" ? value.replace(/^[=+@\t-]/, "'$&") : Number.isNaN(value) ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = Array.from(this.rows, (row) => names.map((name) => cell(this.store.get(name, row))).join(","));
    return [names.join(","), ...lines, ""].join("\n");
  }
}
