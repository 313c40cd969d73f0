// One quantity's errors, element by element: maps over its axes, the histogram of z, got against expected, the worst elements.

function rgb(text) {
  const digits = text.replace("#", "");
  const full = digits.length === 3 ? [...digits].map((d) => d + d).join("") : digits;
  return [0, 2, 4].map((at) => parseInt(full.slice(at, at + 2), 16));
}

const between = (from, to, part) => from.map((value, i) => Math.round(value + (to[i] - value) * part));

// The least and the largest of what is outside and finite, over all maps of a quantity: the ends of its scale.
function outsideRange(maps) {
  const outside = maps.flatMap((map) => map.values.map(asNumber)).filter((value) => value > 1 && value < Infinity);
  return outside.length ? [outside.reduce((a, b) => Math.min(a, b)), outside.reduce((a, b) => Math.max(a, b))] : null;
}

// Within the tolerance in blues, three decades deep; outside in oranges; the end of a scale that stands out is the largest.
function palette(range) {
  const [exact, inLow, inHigh, outLow, outHigh, infinite] = ["exact", "in-low", "in-high", "out-low", "out-high", "infinite"].map((name) => rgb(colour(`--${name}`)));
  return (ratio) => {
    if (ratio === 0) return exact;
    if (ratio === Infinity) return infinite;
    const decade = Math.log10(ratio);
    return ratio <= 1 ? between(inLow, inHigh, Math.min(1, Math.max(0, 1 + decade / 3))) : between(outLow, outHigh, range[1] > range[0] ? Math.min(1, Math.max(0, (decade - Math.log10(range[0])) / (Math.log10(range[1]) - Math.log10(range[0])))) : 1);
  };
}

function mapFigure(map, range) {
  const values = map.values.map(asNumber), paint = palette(range);
  const cell = Math.max(2, Math.min(22, Math.floor(360 / map.width), Math.floor(300 / map.height)));
  const canvas = element("canvas", { class: "map", width: map.width, height: map.height, role: "img" });
  canvas.style.width = `${map.width * cell}px`;
  canvas.style.aspectRatio = `${map.width} / ${map.height}`;
  const context = canvas.getContext("2d"), image = context.createImageData(map.width, map.height);
  values.forEach((value, i) => image.data.set([...paint(value), 255], 4 * i));
  context.putImageData(image, 0, 0);
  const outside = values.filter((value) => value > 1).length;
  const says = `${map.title}: ${whole(outside)} of ${whole(values.length)} cells outside the tolerance`;
  canvas.setAttribute("aria-label", says);
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.min(map.width - 1, Math.floor(((event.clientX - box.left) / box.width) * map.width));
    const y = Math.min(map.height - 1, Math.floor(((event.clientY - box.top) / box.height) * map.height));
    canvas.title = `${map.rows || "row"} ${y}, ${map.columns} ${x}: ${figure(values[y * map.width + x])} × tolerance`;
  });
  return element("figure", {}, element("figcaption", {}, element("b", {}, map.title), ` · ${whole(outside)} of ${whole(values.length)} cells outside`),
    element("div", { class: "axes" }, element("span", { class: "y" }, map.rows ? `${map.rows} →` : ""), canvas, element("span", { class: "x" }, `${map.columns} →`)));
}

function scaleLegend(range) {
  const ramp = (from, to) => { const made = element("i", { class: "ramp" }); made.style.background = `linear-gradient(90deg, var(--${from}), var(--${to}))`; return made; };
  const block = (name) => { const made = element("i"); made.style.background = `var(--${name})`; return made; };
  return element("p", { class: "scale" }, element("span", {}, block("exact"), "exact"), element("span", {}, ramp("in-low", "in-high"), "0.001 to 1 × tolerance"), range && element("span", {}, ramp("out-low", "out-high"), `${figure(range[0])} to ${figure(range[1])} × tolerance`), element("span", {}, block("infinite"), "nothing may differ, and it does"));
}

function histogramFigure(histogram, threshold) {
  const width = 380, height = 180, left = 34, bottom = 30, top = 14;
  const bars = [["exact", histogram.exact, false], ...histogram.counts.map((count, i) => [histogram.edges[i], count, histogram.edges[i + 1] > threshold]), ["inf", histogram.infinite, true]];
  const most = Math.max(1, ...bars.map((bar) => bar[1]));
  const step = (width - left) / bars.length;
  const high = (count) => (count ? 6 + (height - bottom - top - 6) * (count / most) : 0);
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "histogram of z" });
  bars.forEach(([label, count, outside], i) => {
    const bar = svg("rect", { class: `bar${outside ? " outside" : ""}`, x: left + i * step + 1, width: step - 2, y: height - bottom - high(count), height: high(count) });
    bar.append(svg("title", {}, `${typeof label === "string" ? label : `z from ${figure(label)}`}: ${whole(count)}`));
    drawing.append(bar);
    const isDecade = typeof label === "number" && Math.abs(Math.log10(label) % 1) < 0.01 && Math.round(Math.log10(label)) % 2 === 0;
    if (typeof label === "string" || isDecade) drawing.append(svg("text", { x: left + i * step + (typeof label === "string" ? step / 2 : 0), y: height - bottom + 14, "text-anchor": typeof label === "string" && i === 0 ? "middle" : "middle" }, typeof label === "string" ? (label === "exact" ? "0" : "∞") : figure(label)));
  });
  drawing.append(svg("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }), svg("text", { x: left - 4, y: top + 6, "text-anchor": "end" }, whole(most)), svg("text", { x: left + (width - left) / 2, y: height - 2, "text-anchor": "middle" }, `z, half a decade a bar; orange beyond λ = ${figure(threshold)}`));
  return element("figure", {}, element("figcaption", {}, element("b", {}, "histogram of z")), drawing);
}

function scatterFigure([expected, got], size) {
  const xs = expected.map(asNumber), ys = got.map(asNumber);
  if (!xs.length) return null;
  const width = 300, height = 240, left = 8, bottom = 34;
  const low = Math.min(...xs, ...ys), high = Math.max(...xs, ...ys), span = high - low || 1;
  const x = (value) => left + ((value - low) / span) * (width - left - 8), y = (value) => height - bottom - ((value - low) / span) * (height - bottom - 8);
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "got against expected" },
    svg("line", { class: "same", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }), svg("line", { class: "axis", x1: left, x2: width - 8, y1: height - bottom, y2: height - bottom }), svg("line", { class: "axis", x1: left, x2: left, y1: 8, y2: height - bottom }),
    ...xs.map((value, i) => svg("circle", { class: "dot", cx: x(value), cy: y(ys[i]), r: 2.4 })),
    svg("text", { x: left, y: height - 20 }, figure(low)), svg("text", { x: width - 8, y: height - 20, "text-anchor": "end" }, figure(high)), svg("text", { x: width / 2, y: height - 5, "text-anchor": "middle" }, "expected →"), svg("text", { x: left + 5, y: 16 }, "got ↑"));
  return element("figure", { class: "scatter" }, element("figcaption", {}, element("b", {}, "got against expected"), ` · ${xs.length < size ? `${whole(xs.length)} of ` : ""}${whole(size)} elements, on the dashed line where alike`), drawing);
}

function worstFigure(worst) {
  const head = ["index", "got", "expected", "± tolerance", "z"];
  const body = worst.map((one) => element("tr", {}, element("td", {}, `(${one.index.join(", ")})`), ...[plain(asNumber(one.got)), plain(asNumber(one.expected)), figure(asNumber(one.tolerance)), figure(asNumber(one.z))].map((text) => element("td", { class: "num" }, text))));
  return element("figure", {}, element("figcaption", {}, element("b", {}, "worst elements")), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Worst elements" }, element("table", { class: "plain" }, element("thead", {}, element("tr", {}, ...head.map((text, i) => element("th", { class: i ? "num" : "" }, text)))), element("tbody", {}, ...body))));
}

function errorMaps(detail) {
  const range = outsideRange(detail.maps);
  const part = detail.part && element("p", { class: "note" }, `Of ${detail.shape.join(" × ")} elements the part ${detail.part.shape.join(" × ")} from (${detail.part.origin.join(", ")}) is kept.`);
  return element("div", { class: "error-maps" }, part, element("div", { class: "views" }, ...detail.maps.map((map) => mapFigure(map, range))), scaleLegend(range));
}

function errorFigures(detail, threshold) {
  return element("div", { class: "views" }, histogramFigure(detail.histogram, threshold), scatterFigure(detail.points, (detail.part ? detail.part.shape : detail.shape).reduce((a, b) => a * b, 1)), worstFigure(detail.worst));
}
