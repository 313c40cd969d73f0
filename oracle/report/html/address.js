// The page's address holds what is shown: the case, its quantity, the filter and the order of the rows.

const KEYS = ["case", "dtype", "step", "layer", "quantity", "filter", "sort"];

function fromAddress() {
  const found = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return Object.fromEntries(KEYS.filter((key) => key in found).map((key) => [key, found[key]]));
}

// Puts parts of it in; undefined or "" takes a part out. Whether the address is another now, which the page then hears of.
// silently: without an entry in the history, and without the page hearing of it.
function putInAddress(parts, silently = false) {
  const next = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...fromAddress(), ...parts })) if (value !== undefined && value !== "") next.set(key, value);
  const hash = next.size ? `#${next}` : "";
  if (location.hash === hash) return false;
  if (silently) history.replaceState(null, "", hash || location.href.split("#")[0]); else location.hash = hash;
  return true;
}
