// One step of one case: its layers as a column, values going down on the left, gradients going up on the right.

const CONTAINERS = new Set(["Sequential", "Residual", "Concat"]);
// Of a network with more layers and operations, only modules with something to see are open.
const MOST_OPEN = 40;

class CaseView {
  constructor(store, data) {
    this.store = store;
    this.data = data;
    this.name = document.getElementById("case-name");
    this.dtype = document.getElementById("case-dtype");
    this.step = document.getElementById("case-step");
    this.figureName = document.getElementById("growth-figure-name");
    this.selected = null;
    document.getElementById("case-names").append(...store.columns.case.words.map((value) => element("option", { value })));
    this.dtype.append(...store.columns.dtype.words.map((value) => element("option", {}, value)));
    this.name.addEventListener("change", () => { if (store.columns.case.words.includes(this.name.value)) this.go({ case: this.name.value, dtype: this.dtype.value }); });
    this.dtype.addEventListener("change", () => this.go({ case: this.name.value, dtype: this.dtype.value }));
    this.step.addEventListener("change", () => this.go({ case: this.name.value, dtype: this.dtype.value, step: this.step.value }));
    document.getElementById("pick").addEventListener("submit", (event) => event.preventDefault());
    this.figureName.addEventListener("change", () => this.growth());
  }

  go(place) {
    const { case: name, dtype, step, layer, quantity } = place;
    if (!putInAddress({ case: name, dtype, step, layer, quantity })) this.show(place);
  }

  show({ case: name, dtype, step, layer, quantity }) {
    let rows = this.store.rowsOf(name, dtype);
    if (!rows.length) rows = this.store.rowsOf(name, dtype = this.store.columns.dtype.words.find((other) => this.store.rowsOf(name, other).length) || dtype);
    const bad = rows.find((row) => row.role === "culprit") || rows.find((row) => isBad(row.verdict));
    const all = [...new Set(rows.map((row) => row.step))];
    const chosen = step !== undefined && all.includes(Number(step)) ? Number(step) : bad ? bad.step : all[0];
    this.rows = rows.filter((row) => row.step === chosen);
    [this.name.value, this.dtype.value] = [name, dtype];
    const badSteps = new Set(rows.filter((row) => isBad(row.verdict)).map((row) => row.step));
    this.step.replaceChildren(...all.map((value) => element("option", { value }, badSteps.has(value) ? `${value} ◀` : String(value))));
    this.step.value = String(chosen);
    this.facts();
    this.draw();
    const here = this.rows.find((row) => row.role === "culprit") || this.rows.find((row) => isBad(row.verdict));
    const fallback = here || this.rows.find((row) => row.verdict !== "pass") || this.rows.find((row) => row.quantity === "grad_input") || this.rows[0];
    if (layer !== undefined && this.find(layer, quantity).length) this.choose(layer, quantity);
    else if (fallback) this.choose(fallback.layer, fallback.quantity);
    else document.getElementById("quantity").replaceChildren();
    this.growth();
  }

  // Beside the layers: what the case tests, what it ends with, and how to run it again.
  facts() {
    const told = this.told(), again = (this.data.again[this.name.value] || "").replaceAll("{dtype}", this.dtype.value);
    const said = [["tests", told.why], ["loss", told.loss], ["optimizer", told.optimizer]].filter(([, text]) => text);
    const run = again ? element("p", {}, element("code", {}, again), " ", element("button", { type: "button", class: "copy" }, "copy")) : "";
    document.getElementById("case-facts").replaceChildren(...said.map(([name, text]) => element("p", {}, element("span", { class: "what" }, name), ` ${text}`)), run);
  }

  told() { return this.data.cases[this.name.value] || { why: "", layers: {}, loss: "", optimizer: "" }; }

  find(layer, quantity) { return this.rows.filter((row) => row.layer === layer && row.quantity === quantity); }

  // The gravest verdict and the part of both judgements of a quantity.
  state(layer, quantity) {
    const rows = this.find(layer, quantity);
    if (!rows.length) return { verdict: "absent", role: "", rows };
    const gravity = this.data.gravity;
    const verdict = rows.map((row) => row.verdict).sort((a, b) => gravity.indexOf(b) - gravity.indexOf(a))[0];
    const role = rows.some((row) => row.role === "culprit") ? "culprit" : rows.some((row) => row.role === "consequence") ? "consequence" : "";
    return { verdict, role, rows };
  }

  draw() {
    this.previous = undefined;
    const layers = new Map();
    for (const row of this.rows) layers.set(row.layer, row.layer_type);
    const names = [...layers.keys()];
    const containers = names.filter((name) => CONTAINERS.has(layers.get(name)));
    const isDrawnInside = (name) => containers.some((other) => name.startsWith(`${other}.`));
    const host = document.getElementById("network");
    this.layers = layers;
    const top = this.tree(names.filter((name) => !isDrawnInside(name)));
    const last = top.filter((node) => node.path === "loss");
    const drawn = [...top.filter((node) => node.path !== "loss"), ...last].flatMap((node) => this.node(node, "", names));
    host.replaceChildren(element("div", { class: "terminal" }, "input"), ...drawn, ...(last.length ? [] : this.tail()));
  }

  // The modules by their dotted paths, each where the first of its parts runs: [{path, isRow: whether it has rows of its own, parts}].
  tree(names) {
    const top = [], nodes = new Map();
    for (const name of names) {
      let parts = top;
      const words = name.split("."), paths = words.map((_, place) => words.slice(0, place + 1).join("."));
      for (const path of paths) {
        if (!nodes.has(path)) { nodes.set(path, { path, isRow: false, parts: [] }); parts.push(nodes.get(path)); }
        parts = nodes.get(path).parts;
      }
      nodes.get(name).isRow = true;
    }
    return top;
  }

  // A layer, or a module with more than one part in a frame of its own; names are told from the module around.
  node(node, around, names) {
    while (!node.isRow && node.parts.length === 1) [node] = node.parts;
    if (!node.parts.length) return this.piece(node.path, names, around);
    const all = (own) => [...(own.isRow ? [own.path] : []), ...own.parts.flatMap(all)];
    const held = new Set(all(node)), rows = this.rows.filter((row) => held.has(row.layer));
    const made = element("details", { class: "module" },
      element("summary", { title: node.path }, element("span", { class: "name" }, node.path), element("span", { class: "type" }, `${node.parts.length} part${node.parts.length === 1 ? "" : "s"}`), rows.some((row) => row.role === "culprit") ? element("span", { class: "culprit-mark" }, "◀ culprit") : null),
      node.isRow ? this.box(node.path, around, true) : null,
      ...node.parts.flatMap((part) => this.node(part, node.path, names)));
    made.open = names.length <= MOST_OPEN || rows.some((row) => row.verdict !== "pass"); // shut where all is well and there is much else
    return [made];
  }

  // The edges above a layer: its neighbour's output comes down beside them in the piece before.
  edges(name) {
    const above = this.previous;
    return [element("div", { class: "edges" }, above === undefined ? this.blank("values") : this.edge(above, "output", "down"), this.edge(name, "grad_input", "up"))];
  }

  tail() {
    const lastLayer = this.previous;
    if (lastLayer === undefined) return [];
    return [element("div", { class: "edges" }, this.edge(lastLayer, "output", "down"), this.blank("upstream gradient", "up")), element("div", { class: "terminal" }, "output")];
  }

  blank(text, way = "down") { return element("span", { class: `edge v-absent ${way}` }, element("span", { class: "arrow" }), text); }

  piece(name, names, around = undefined) {
    const made = this.edges(name);
    const type = this.layers.get(name);
    if (!CONTAINERS.has(type)) { made.push(this.box(name, around)); this.previous = name; return made; }
    const children = names.filter((other) => other.startsWith(`${name}.`) && !names.some((middle) => middle !== name && middle.startsWith(`${name}.`) && other.startsWith(`${middle}.`)));
    const inside = [];
    const entry = this.previous;
    for (const child of children) {
      if (type !== "Sequential") { this.previous = entry; inside.push(element("div", { class: "branch note" }, `branch ${child.slice(name.length + 1)}`)); }
      inside.push(...this.piece(child, names));
      if (type !== "Sequential") inside.push(element("div", { class: "edges" }, this.edge(child, "output", "down"), this.blank("", "up")));
    }
    const last = children[children.length - 1];
    if (type === "Sequential" && last !== undefined) inside.push(element("div", { class: "edges" }, this.edge(last, "output", "down"), this.blank("", "up")));
    if (type === "Residual" && children.length === 1) inside.push(element("div", { class: "branch note" }, "and the input itself, added"));
    made.push(this.box(name), element("div", { class: "group" }, ...inside));
    this.previous = name;
    return made;
  }

  button(layer, quantity, base, ...content) {
    const { verdict, role, rows } = this.state(layer, quantity);
    const words = verdict === "absent" ? "not in the report" : `${verdict}${role ? `, ${role}` : ""}`;
    const made = element("button", { type: "button", class: `${base} v-${verdict}${isBad(verdict) ? " bad" : ""}${role ? ` role-${role}` : ""}`, "data-layer": layer, "data-quantity": quantity, "aria-pressed": "false", "aria-label": `${layer || "parameters"} ${quantity}: ${words}`, title: `${quantity} of ${layer || "parameters"}: ${words}`, onclick: () => this.choose(layer, quantity) }, ...content);
    made.disabled = !rows.length;
    return made;
  }

  edge(layer, quantity, way) {
    const { verdict, role, rows } = this.state(layer, quantity);
    const z = rows.length ? rows.map((row) => row.z_max).reduce((a, b) => (b > a || Number.isNaN(a) ? b : a)) : NaN;
    const says = isBad(verdict) ? ` ${role === "consequence" ? "follows" : verdict}` : "";
    return this.button(layer, quantity, `edge ${way}`, element("span", { class: "arrow" }), `${quantity}${says}${Number.isNaN(z) || role === "consequence" ? "" : ` z ${figure(z)}`}`);
  }

  // around: the module from which its name is told, by default the one that holds it; isWhole: all of its quantities are in the box.
  box(name, around = name.slice(0, Math.max(name.lastIndexOf("."), 0)), isWhole = false) {
    const quantities = [...new Set(this.rows.filter((row) => row.layer === name).map((row) => row.quantity))];
    const atFault = this.rows.some((row) => row.layer === name && row.role === "culprit");
    const pills = quantities.filter((quantity) => isWhole || (quantity !== "output" && quantity !== "grad_input")).map((quantity) => this.button(name, quantity, "pill", quantity === "grad_output" ? "δ grad_output" : quantity || this.find(name, quantity)[0].verdict));
    if (name === "loss" && !isWhole) pills.unshift(this.button(name, "output", "pill", "value"));
    const options = this.told().layers[name];
    const short = around ? name.slice(around.length + 1) : name;
    return element("div", { class: `layer${atFault ? " at-fault" : ""}` },
      element("div", { class: "head", title: name }, element("span", { class: "name" }, short || "(whole case)"), element("span", { class: "type" }, this.layers.get(name)), atFault ? element("span", { class: "culprit-mark" }, "◀ culprit") : null),
      options ? element("div", { class: "options" }, options) : null,
      pills.length ? element("div", { class: "pills" }, ...pills) : null);
  }

  choose(layer, quantity) {
    this.selected = { layer, quantity };
    for (const button of document.querySelectorAll("#network button")) button.setAttribute("aria-pressed", String(button.dataset.layer === layer && button.dataset.quantity === quantity));
    const pressed = document.querySelector('#network button[aria-pressed="true"]');
    const host = document.getElementById("network");
    for (let around = pressed?.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
    if (pressed && (pressed.offsetTop < host.scrollTop || pressed.offsetTop > host.scrollTop + host.clientHeight)) host.scrollTop = pressed.offsetTop - host.offsetTop - 120;
    const { rows, role } = this.state(layer, quantity);
    const labelled = Object.keys(this.store.columns).map((name) => this.data.shown.find((column) => column.name === name)).filter((column) => column.label);
    const facts = labelled.map(({ name, label, kind }) => [label, (row) => this.fact(row, name, kind)]);
    const table = element("table", { class: "plain" }, element("thead", {}, element("tr", {}, element("td"), ...rows.map((row) => element("th", { class: "num", scope: "col" }, row.mode)))), element("tbody", {}, ...facts.map(([label, of]) => element("tr", {}, element("th", { scope: "row" }, label), ...rows.map((row) => element("td", { class: "num" }, of(row)))))));
    const kept = this.data.details.filter((detail) => detail.case === this.name.value && detail.dtype === this.dtype.value && detail.step === Number(this.step.value) && detail.layer === layer && detail.quantity === quantity);
    const maps = element("div", { id: "maps" }), figures = element("div", { id: "figures" });
    const draw = (detail) => { maps.replaceChildren(errorMaps(detail)); figures.replaceChildren(errorFigures(detail, this.data.lambda)); };
    const modes = element("select", { id: "detail-mode", onchange: () => draw(kept[modes.selectedIndex]) }, ...kept.map((detail) => element("option", {}, detail.mode)));
    const here = this.data.details.filter((detail) => detail.case === this.name.value && detail.dtype === this.dtype.value);
    const others = [...new Map(here.map((detail) => [`${detail.step} ${detail.layer} ${detail.quantity}`, detail])).values()];
    const choices = element("select", { id: "detail-pick", onchange: () => { const other = others[choices.selectedIndex - 1]; if (other) this.go(other); } }, element("option", {}, "…"), ...others.map((detail) => element("option", {}, `${detail.layer} ${detail.quantity}${detail.step ? `, step ${detail.step}` : ""}`)));
    choices.selectedIndex = 1 + others.findIndex((detail) => detail.layer === layer && detail.quantity === quantity && detail.step === Number(this.step.value));
    const notes = [...rows.filter((row) => row.diagnosis).map((row) => `${row.mode}: ${row.diagnosis}`), ...rows.filter((row) => row.cause).map((row) => `likely cause: ${row.cause}`)];
    document.getElementById("quantity").replaceChildren(
      element("h3", {}, `${layer || "whole case"} ${quantity} `, role ? element("span", { class: "tag v-wrong" }, role) : ""),
      ...notes.map((note) => element("p", { class: "note" }, note)),
      others.length ? element("div", { class: "bar" }, element("label", {}, "errors of ", choices), kept.length > 1 ? element("label", {}, "judged ", modes) : null) : element("p", { class: "note" }, "Element by element, discrepancies only are kept."),
      element("div", { class: "look" }, element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures of the quantity" }, table), maps), figures);
    if (kept.length) draw(kept[0]);
    else if (others.length) maps.replaceChildren(element("p", { class: "note" }, "No arrays are kept of this quantity; the list above names those that are."));
  }

  // What a column says of a row, beside its label.
  fact(row, name, kind) {
    if (name === "verdict") return element("span", { class: `tag v-${row.verdict}` }, row.verdict);
    if (name === "shape") return row.shape.split(" ").filter(Boolean).join(" × ") || "a number";
    if (name === "worst_index") return index(row.worst_index);
    if (name === "n_outside") return `${whole(row.n_outside)} of ${whole(row.n)}`;
    return kind === "text" ? row[name] : written(this.store, row.row, name, kind);
  }

  // Where rounding leaves the fewest digits: at least one fewer than a number of the dtype has.
  digits() {
    const most = this.data.digits[this.dtype.value], host = document.getElementById("digits");
    const lost = this.rows.filter((row) => row.digits_left <= most - 1).sort((a, b) => a.digits_left - b.digits_left).slice(0, 6);
    const places = lost.flatMap((row) => [` ${row.digits_left.toFixed(1)} in `, element("button", { type: "button", class: "link", onclick: () => this.choose(row.layer, row.quantity) }, `${row.layer} ${row.quantity}`), ` (${row.mode})`, row === lost[lost.length - 1] ? "." : ","]);
    host.hidden = most === undefined;
    if (most !== undefined) host.replaceChildren(...(lost.length ? [`Of the ${most.toFixed(1)} digits of ${this.dtype.value}, rounding leaves`, ...places] : [`Of the ${most.toFixed(1)} digits of ${this.dtype.value}, rounding takes less than one anywhere.`]));
  }

  growth() {
    const name = this.figureName.value, points = new Map();
    for (const row of this.rows) {
      if ((row.quantity !== "output" && row.quantity !== "grad_input") || CONTAINERS.has(row.layer_type)) continue;
      const key = `${row.layer} ${row.quantity}`;
      if (!points.has(key)) points.set(key, { label: row.quantity === "output" ? row.layer : `∂ ${row.layer}`, local: NaN, whole: NaN });
      if (row.mode === "local") points.get(key).local = row[name]; else if (row.mode === "end to end") points.get(key).whole = row[name];
    }
    this.digits();
    const host = document.getElementById("growth");
    document.getElementById("growth-figure").hidden = points.size < 2;
    if (points.size >= 2) drawGrowth(host, [...points.values()], this.data.shown.find((column) => column.name === name), this.data.lambda);
  }
}
