// How things are written: elements, figures, verdicts. A figure is never 0 for something that is not.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "−inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-2 && size < 1e4 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
  return text.replace("e+", "e").replace(/^-/, "−");
}

// Shares and cosines: 1 only where it is exactly that.
function share(value) {
  if (Number.isNaN(value)) return "";
  if (value < 1 && value > 0.999) return ">0.999";
  return figure(value);
}

// Already cut to the digits that mean something.
const plain = (value) => (Number.isNaN(value) ? "" : Math.abs(value) === Infinity ? figure(value) : String(value).replace(/^-/, "−"));
// What was compared may be NaN itself; of a row in which nothing was, there is nothing to show.
function compared(store, row, name) {
  const value = store.get(name, row);
  if (!Number.isNaN(value)) return plain(value);
  const wasCompared = store.get("n", row) > 0 && (store.get("n_outside", row) > 0 || !isBad(store.get("verdict", row)));
  return wasCompared ? "NaN" : "";
}

// A number of a column as its kind is written.
function written(store, row, name, kind) {
  if (kind === "measured") return compared(store, row, name);
  return ({ count: whole, share, cosine: share }[kind] || figure)(store.get(name, row));
}

const whole = (value) => value.toLocaleString("en");
const DISCREPANCIES = new Set();
const isBad = (verdict) => DISCREPANCIES.has(verdict);
const index = (text) => `(${text.split(" ").filter(Boolean).join(", ")})`;
