// The table of all rows: SlickGrid over the store's columns; only what is in sight becomes elements.

const COLUMN_WIDTHS = [
  ["case", 250], ["dtype", 66], ["step", 46], ["layer", 130], ["layer_type", 110], ["quantity", 120], ["mode", 88],
  ["verdict", 92], ["role", 96], ["z_max", 70], ["max_abs", 76], ["max_rel", 76], ["max_ulp", 76], ["effective_bits", 104],
  ["bound_ratio", 92], ["n", 66], ["n_outside", 78], ["shape", 96], ["worst_index", 96], ["got", 150], ["expected", 150],
  ["tolerance", 80], ["z_rms", 70], ["cosine", 66], ["decided", 66], ["diagnosis", 420], ["cause", 420], ["cause_name", 120],
];

class RowTable {
  constructor(store, host, open) {
    this.store = store;
    this.rows = store.order;
    this.query = "";
    const provider = { getLength: () => this.rows.length, getItem: (place) => ({ row: this.rows[place] }) };
    const columns = COLUMN_WIDTHS.filter(([name]) => store.columns[name]).map(([name, width]) => ({
      id: name, name: name.replace("_", " "), field: name, width, sortable: true,
      cssClass: store.columns[name].words ? "" : "num", headerCssClass: store.columns[name].words ? "" : "num",
      formatter: (_row, _cell, _value, _column, item) => this.cell(name, item.row),
    }));
    this.grid = new Slick.Grid(host, provider, columns, {
      rowHeight: 25, enableColumnReorder: false, enableCellNavigation: true, enableTextSelectionOnCells: true,
      headerRowHeight: 27, multiColumnSort: false, forceFitColumns: false, tristateMultiColumnSort: false,
    });
    this.grid.onSort.subscribe((_event, sorting) => this.sort(sorting.sortCol.field, sorting.sortAsc));
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
    const text = { step: whole, n: whole, n_outside: whole, cosine: share, decided: share }[name] || figure;
    return element("span", {}, name === "got" || name === "expected" ? compared(this.store, row, name) : text(value));
  }

  sort(name, ascending) {
    this.store.sort(name, ascending);
    this.filter(this.query);
  }

  filter(query) {
    this.query = query;
    this.rows = this.store.filtered(query);
    this.grid.invalidateAllRows();
    this.grid.updateRowCount();
    this.grid.scrollTo(0);
    this.grid.render();
    return this.rows.length;
  }
}
