// The report's data: inflated once, kept column by column; filtering and sorting give lists of row numbers.

async function inflated(element) {
  const text = atob(element.textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  element.textContent = "";
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

const asNumber = (value) =>
  value === null ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : value;

class Store {
  constructor(columns) {
    this.columns = {};
    this.length = 0;
    for (const [name, column] of Object.entries(columns)) {
      this.columns[name] = column.words
        ? { words: column.words, lower: column.words.map((w) => w.toLowerCase()), codes: Int32Array.from(column.codes) }
        : { numbers: Float64Array.from(column.numbers, asNumber) };
      this.length = (column.codes || column.numbers).length;
    }
    this.order = Uint32Array.from({ length: this.length }, (_, i) => i);
    this.natural = this.order;
  }

  get(name, row) {
    const column = this.columns[name];
    return column.words ? column.words[column.codes[row]] : column.numbers[row];
  }

  row(row) {
    const found = { row };
    for (const name of Object.keys(this.columns)) found[name] = this.get(name, row);
    return found;
  }

  // Rows of a case in one dtype, in the order of computation.
  rowsOf(caseName, dtype) {
    const c = this.columns.case, d = this.columns.dtype;
    const wantCase = c.words.indexOf(caseName), wantDtype = d.words.indexOf(dtype);
    const found = [];
    for (let i = 0; i < this.length; i++) if (c.codes[i] === wantCase && d.codes[i] === wantDtype) found.push(this.row(i));
    return found;
  }

  sort(name, ascending) {
    if (!name) { this.order = this.natural; return; }
    const column = this.columns[name];
    let keys = column.numbers;
    if (column.words) {
      const rank = new Int32Array(column.words.length);
      [...column.words.keys()].sort((a, b) => (column.words[a] < column.words[b] ? -1 : 1)).forEach((code, place) => { rank[code] = place; });
      keys = Float64Array.from(column.codes, (code) => rank[code]);
    }
    // What is no number comes last, whichever way the others go; equals stay in the order of computation.
    const sign = ascending ? 1 : -1;
    this.order = this.natural.slice().sort((a, b) => {
      const x = keys[a], y = keys[b];
      if (x === y) return a - b;
      if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
      if (Number.isNaN(y)) return -1;
      return x < y ? -sign : sign;
    });
  }

  // Row numbers that fit every test, in the current order.
  filtered(tests) {
    if (!tests.length) return this.order;
    const found = new Uint32Array(this.length);
    let count = 0;
    for (let i = 0; i < this.length; i++) {
      const row = this.order[i];
      let fits = true;
      for (let t = 0; fits && t < tests.length; t++) fits = tests[t](row);
      if (fits) found[count++] = row;
    }
    return found.subarray(0, count);
  }
}
