// The filter's language: terms that must all fit. A term that cannot be understood is answered, never passed over.

const TERM = /-?(?:[a-z_]+(?:>=|<=|!=|>|<|=|:\^|:))?(?:"[^"]*"|[^\s"]+)|\S+/g;
const PARTS = /^(-?)(?:([a-z_]+)(>=|<=|!=|>|<|=|:\^|:))?(.*)$/;
const OF_WORDS = {
  "=": (word, wanted) => word === wanted, "!=": (word, wanted) => word !== wanted,
  ":": (word, wanted) => word.includes(wanted), ":^": (word, wanted) => word.startsWith(wanted),
};
const OF_NUMBERS = {
  "=": (x, y) => x === y || (Number.isNaN(x) && Number.isNaN(y)), "!=": (x, y) => !OF_NUMBERS["="](x, y),
  ">": (x, y) => x > y, "<": (x, y) => x < y, ">=": (x, y) => x >= y, "<=": (x, y) => x <= y,
};
const SPELLED = { nan: NaN, inf: Infinity, "-inf": -Infinity };

// {tests, trouble}: functions of a row number, and what could not be understood, in a sentence; "" where all was.
function parsed(query, columns) {
  const tests = [], text = query.trim().toLowerCase();
  if ((text.match(/"/g) || []).length % 2) return { tests, trouble: 'A quote is not closed: write "two words" for words with a blank between them.' };
  for (const term of text.match(TERM) || []) {
    const [, minus, name, operator, rest] = PARTS.exec(term);
    const wanted = rest.replace(/^"(.*)"$/, "$1");
    if (wanted === "") continue; // not typed to its end
    const found = name === undefined ? anywhere(wanted, columns) : inColumn(name, operator, wanted, columns);
    if (typeof found === "string") return { tests: [], trouble: found };
    tests.push(minus ? (row) => !found(row) : found);
  }
  return { tests, trouble: "" };
}

function inColumn(name, operator, wanted, columns) {
  const column = columns[name];
  if (!column) {
    const near = Object.keys(columns).filter((other) => other.includes(name) || name.includes(other) || other[0] === name[0]);
    return `"${name}" is not a column: ${near.length ? `near it are ${near.join(", ")}` : `there are ${Object.keys(columns).join(", ")}`}. To look for the words themselves, write "${name}${operator}${wanted}" in quotes.`;
  }
  if (column.words) {
    const fits = OF_WORDS[operator];
    return fits ? oneOf(column, column.lower.map((word) => fits(word, wanted))) : `${name} holds words: compare it with =, !=, : (contains) or :^ (starts with), not with ${operator}.`;
  }
  const limit = wanted in SPELLED ? SPELLED[wanted] : Number(wanted), compare = OF_NUMBERS[operator];
  if (!compare) return `${name} holds numbers: compare it with =, !=, >, >=, < or <=, not with ${operator}.`;
  if (Number.isNaN(limit) && wanted !== "nan") return `${name} is compared with a number, and "${wanted}" is none.`;
  return (row) => compare(column.numbers[row], limit);
}

function anywhere(word, columns) {
  const tests = Object.values(columns).filter((column) => column.words)
    .map((column) => [column, column.lower.map((own) => own.includes(word))])
    .filter(([, hits]) => hits.includes(true)).map(([column, hits]) => oneOf(column, hits));
  return (row) => tests.some((test) => test(row));
}

function oneOf(column, hits) {
  const allowed = Uint8Array.from(hits), codes = column.codes;
  return (row) => allowed[codes[row]] === 1;
}
