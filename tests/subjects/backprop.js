// Backpropagation in JavaScript, for any program's conversation with the oracle (oracle/PROTOCOL.md). Run by Node.js, no packages.
//
// Arrays are {shape, data} with data in a Float64Array or Float32Array, row by row. A layer is forward(x) -> [y, backward] with
// backward(dy) -> [dx, {parameter: gradient}].
"use strict";

class Unsupported extends Error {}

// --- arrays ---------------------------------------------------------------------------------------------------------------

const SPELLED = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };
const KINDS = { float64: Float64Array, float32: Float32Array };
const size = (shape) => shape.reduce((a, b) => a * b, 1);

let Numbers = Float64Array; // of the case that is computed
const zeros = (shape) => ({ shape, data: new Numbers(size(shape)) });
const like = (x, f) => ({ shape: x.shape, data: x.data.map(f) });

function received({ shape, data, dtype }) {
  const numbers = data.map((v) => (typeof v === "string" ? SPELLED[v] : v));
  return { shape, data: (KINDS[dtype] || Array).from(numbers) };
}

function sent({ shape, data }) {
  return { shape, data: Array.from(data, (v) => (Number.isFinite(v) ? v : String(v))) };
}

// --- layers ---------------------------------------------------------------------------------------------------------------

const pair = (value) => (Array.isArray(value) ? value : [value, value]);

function only(what, options, allowed) {
  for (const [name, value] of Object.entries(allowed)) {
    if (JSON.stringify(options[name] ?? value) !== JSON.stringify(value)) throw new Unsupported(`${what} with ${name}=${options[name]}`);
  }
}

// y_i = Σ_j W_ij x_j + b_i;  dx = Wᵀ δ;  dW = δ xᵀ;  db = δ, each summed over the batch
function linear(options, { weight, bias }) {
  const [outputs, inputs] = weight.shape;
  return (x) => {
    const rows = size(x.shape) / inputs;
    const y = zeros([...x.shape.slice(0, -1), outputs]);
    for (let n = 0; n < rows; n++) for (let i = 0; i < outputs; i++) {
      let sum = bias ? bias.data[i] : 0;
      for (let j = 0; j < inputs; j++) sum += weight.data[i * inputs + j] * x.data[n * inputs + j];
      y.data[n * outputs + i] = sum;
    }
    const backward = (dy) => {
      const dx = zeros(x.shape), dW = new Float64Array(outputs * inputs), db = new Float64Array(outputs);
      const row = new Float64Array(inputs);
      for (let n = 0; n < rows; n++) {
        row.fill(0);
        for (let i = 0; i < outputs; i++) {
          const delta = dy.data[n * outputs + i];
          db[i] += delta;
          for (let j = 0; j < inputs; j++) {
            row[j] += weight.data[i * inputs + j] * delta;
            dW[i * inputs + j] += delta * x.data[n * inputs + j];
          }
        }
        dx.data.set(row, n * inputs);
      }
      return [dx, gradients({ weight, bias }, { weight: dW, bias: db })];
    };
    return [y, backward];
  };
}

function gradients(params, sums) {
  const present = Object.keys(sums).filter((name) => params[name]);
  return Object.fromEntries(present.map((name) => [name, { shape: params[name].shape, data: Numbers.from(sums[name]) }]));
}

// Where a window lies: calls each(output position, input position, kernel position) inside the image.
function windows([H, W], [P, Q], kernel, { stride, padding, dilation }, each) {
  const [kh, kw] = kernel, [sh, sw] = pair(stride), [ph, pw] = pair(padding), [dh, dw] = pair(dilation);
  for (let p = 0; p < P; p++) for (let q = 0; q < Q; q++) for (let k = 0; k < kh; k++) for (let l = 0; l < kw; l++) {
    const h = p * sh - ph + k * dh, w = q * sw - pw + l * dw;
    if (h >= 0 && h < H && w >= 0 && w < W) each(p * Q + q, h * W + w, k * kw + l);
  }
}

function outputSize(image, kernel, { stride, padding, dilation }) {
  const [s, p, d] = [pair(stride), pair(padding), pair(dilation)];
  return image.map((n, i) => Math.floor((n + 2 * p[i] - d[i] * (kernel[i] - 1) - 1) / s[i]) + 1);
}

// y[n,o] = Σ_c w[o,c] ⋆ x[n,c] + b[o];  dx[n,c] = Σ_o w[o,c] * δ[n,o] (full);  dw[o,c] = Σ_n δ[n,o] ⋆ x[n,c];  db[o] = Σ δ[n,o]
function conv2d(options, { weight, bias }) {
  only("Conv2d", options, { padding_mode: "zeros" });
  if (typeof options.padding === "string") throw new Unsupported("Conv2d with padding by name");
  const [O, c, ...kernel] = weight.shape, groups = options.groups, taps = size(kernel);
  return (x) => {
    if (x.shape.length !== 4) throw new Unsupported("Conv2d without a batch");
    const [N, C, ...image] = x.shape, out = outputSize(image, kernel, options);
    const pixels = size(image), spots = size(out);
    const y = zeros([N, O, ...out]);
    const planes = (each) => { // every pair of an output and an input plane that are connected
      for (let n = 0; n < N; n++) for (let o = 0; o < O; o++) for (let j = 0; j < c; j++) {
        const channel = Math.floor(o / (O / groups)) * c + j;
        each((n * O + o) * spots, (n * C + channel) * pixels, (o * c + j) * taps, o);
      }
    };
    const sums = new Float64Array(y.data.length);
    if (bias) sums.forEach((_, i) => { sums[i] = bias.data[Math.floor(i / spots) % O]; });
    planes((to, from, at) => windows(image, out, kernel, options, (p, h, k) => { sums[to + p] += weight.data[at + k] * x.data[from + h]; }));
    y.data.set(sums);
    const backward = (dy) => {
      const dx = new Float64Array(x.data.length), dW = new Float64Array(weight.data.length), db = new Float64Array(O);
      planes((to, from, at) => windows(image, out, kernel, options, (p, h, k) => {
        dx[from + h] += weight.data[at + k] * dy.data[to + p];
        dW[at + k] += dy.data[to + p] * x.data[from + h];
      }));
      dy.data.forEach((delta, i) => { db[Math.floor(i / spots) % O] += delta; });
      return [{ shape: x.shape, data: Numbers.from(dx) }, gradients({ weight, bias }, { weight: dW, bias: db })];
    };
    return [y, backward];
  };
}

// The sizes of a pooling, and a loop over its planes.
function pooling(options, x) {
  const kernel = pair(options.kernel_size);
  const given = { dilation: 1, ...options, stride: options.stride ?? options.kernel_size };
  const image = x.shape.slice(-2), out = outputSize(image, kernel, given);
  const each = (visit) => {
    for (let plane = 0; plane < size(x.shape) / size(image); plane++) {
      windows(image, out, kernel, given, (p, h) => visit(plane * size(out) + p, plane * size(image) + h));
    }
  };
  return { kernel, image, given, y: zeros([...x.shape.slice(0, -2), ...out]), out, each };
}

// y = max over the window;  δ goes to the first of the largest
function maxPool2d(options) {
  only("MaxPool2d", options, { ceil_mode: false, return_indices: false });
  return (x) => {
    const { y, each } = pooling(options, x);
    const winner = new Int32Array(y.data.length).fill(-1);
    each((p, h) => {
      if (winner[p] < 0 || x.data[h] > x.data[winner[p]] || Number.isNaN(x.data[h])) winner[p] = h;
    });
    winner.forEach((h, p) => { y.data[p] = x.data[h]; });
    const backward = (dy) => {
      const dx = new Float64Array(x.data.length);
      winner.forEach((h, p) => { dx[h] += dy.data[p]; });
      return [{ shape: x.shape, data: Numbers.from(dx) }, {}];
    };
    return [y, backward];
  };
}

// y = Σ x / n;  every x of the window gets δ / n
function avgPool2d(options) {
  only("AvgPool2d", options, { ceil_mode: false });
  return (x) => {
    const { kernel, y, out, image, given, each } = pooling(options, x);
    const count = new Float64Array(y.data.length), sums = new Float64Array(y.data.length);
    each((p, h) => { count[p] += 1; sums[p] += x.data[h]; });
    if (options.divisor_override != null) count.fill(options.divisor_override);
    else if (options.count_include_pad) count.fill(size(kernel));
    sums.forEach((sum, p) => { y.data[p] = sum / count[p]; });
    const backward = (dy) => {
      const dx = new Float64Array(x.data.length);
      each((p, h) => { dx[h] += dy.data[p] / count[p]; });
      return [{ shape: x.shape, data: Numbers.from(dx) }, {}];
    };
    return [y, backward];
  };
}

// y = f(x);  dx = δ f'(x), where f' is written in x and y
const elementwise = (f, derivative) => () => (x) => {
  const y = like(x, f);
  return [y, (dy) => [like(dy, (delta, i) => delta * derivative(x.data[i], y.data[i])), {}]];
};

function flatten(options) {
  return (x) => {
    const at = (dim) => (dim < 0 ? dim + x.shape.length : dim);
    const [first, last] = [at(options.start_dim), at(options.end_dim)];
    const shape = [...x.shape.slice(0, first), size(x.shape.slice(first, last + 1)), ...x.shape.slice(last + 1)];
    return [{ shape, data: x.data }, (dy) => [{ shape: x.shape, data: dy.data }, {}]];
  };
}

const LAYERS = {
  Linear: linear,
  Conv2d: conv2d,
  MaxPool2d: maxPool2d,
  AvgPool2d: avgPool2d,
  Flatten: flatten,
  Identity: elementwise((x) => x, () => 1),
  ReLU: () => (x) => [ // ReLU'(0) = 0, and no 0 · ∞ beside it
    like(x, (v) => (v > 0 || Number.isNaN(v) ? v : 0)),
    (dy) => [like(dy, (delta, i) => (x.data[i] <= 0 ? 0 : delta)), {}],
  ],
  Sigmoid: elementwise((x) => 1 / (1 + Math.exp(-x)), (x, y) => y * (1 - y)),
  Tanh: elementwise(Math.tanh, (x, y) => 1 - y * y),
};

// --- losses: (z, target) -> [value, dz] --------------------------------------------------------------------------------------

// L = Σ (z - t)² / n;  dz = 2 (z - t) / n;  dt = -dz
function mse(options, z, target) {
  const n = options.reduction === "mean" ? z.data.length : 1;
  const difference = Float64Array.from(z.data, (v, i) => v - target.data[i]);
  const value = difference.reduce((sum, d) => sum + d * d, 0) / n;
  const dz = like(z, (_, i) => (2 * difference[i]) / n);
  return [value, dz, { target: like(dz, (v) => -v) }];
}

// L = -Σ log softmax(z)[t] / n;  dz = (softmax(z) - onehot(t)) / n
function crossEntropy(options, z, target) {
  only("CrossEntropyLoss", options, { weight: null, label_smoothing: 0 });
  if (z.shape.length !== 2 || target.shape.length !== 1) throw new Unsupported("CrossEntropyLoss of anything but rows and classes");
  if (target.data.includes(options.ignore_index)) throw new Unsupported("CrossEntropyLoss with ignored rows");
  const [N, C] = z.shape, n = options.reduction === "mean" ? N : 1, dz = zeros(z.shape);
  let value = 0;
  for (let i = 0; i < N; i++) {
    const row = Float64Array.from(z.data.subarray(i * C, (i + 1) * C)), top = Math.max(...row);
    const total = row.reduce((sum, v) => sum + Math.exp(v - top), 0);
    value -= (row[target.data[i]] - top - Math.log(total)) / n;
    row.forEach((v, j) => { dz.data[i * C + j] = (Math.exp(v - top) / total - (j === target.data[i] ? 1 : 0)) / n; });
  }
  return [value, dz, {}];
}

const LOSSES = { MSELoss: mse, CrossEntropyLoss: crossEntropy };

function lossOf({ type, options }, z, targets) {
  if (!["mean", "sum"].includes(options.reduction)) throw new Unsupported(`${type} with reduction=${options.reduction}`);
  return LOSSES[type](options, z, ...targets);
}

// --- SGD -------------------------------------------------------------------------------------------------------------------

// g ← ±g + λθ;  v ← g at first, else μv + (1 - τ)g;  θ ← θ - η (g + μv with Nesterov's rule, else v, without momentum g)
function update({ lr, momentum, dampening, weight_decay, nesterov, maximize }, theta, grad, velocity) {
  const g = grad.data.map((v, i) => (maximize ? -v : v) + weight_decay * theta.data[i]);
  const v = momentum === 0 ? null : velocity ? g.map((d, i) => momentum * velocity.data[i] + (1 - dampening) * d) : g;
  const step = v === null ? g : nesterov ? g.map((d, i) => d + momentum * v[i]) : v;
  return [like(theta, (value, i) => value - lr * step[i]), v && { shape: theta.shape, data: v }];
}

// --- a case: forward, loss, backward, update ------------------------------------------------------------------------------------

function run(description, arrays) {
  Numbers = KINDS[description.dtype];
  const params = {}, velocity = {}, trace = {};
  for (const [name, array] of Object.entries(arrays)) {
    if (name.startsWith("params/")) params[name.slice(7)] = array;
    if (name.startsWith("optimizer_state/momentum/")) velocity[name.slice(25)] = array;
  }
  for (let step = 0; step < description.steps; step++) {
    const record = (layer, quantity, array) => { trace[`${step}/${layer}/${quantity}`] = sent(array); };
    const grads = arrays["grads/0/" + Object.keys(params)[0]] ? given(arrays, params, step) : pass(description, arrays, params, step, record);
    if (description.optimizer) updateAll(description.optimizer, params, velocity, grads, record);
  }
  return trace;
}

const perStep = (arrays, field, step) => { // what comes per step is cycled through
  const count = new Set(Object.keys(arrays).filter((n) => n.startsWith(`${field}/`)).map((n) => n.split("/")[1])).size;
  return count ? `${field}/${step % count}` : null;
};

const given = (arrays, params, step) => Object.fromEntries(Object.keys(params).map((name) => [name, arrays[`${perStep(arrays, "grads", step)}/${name}`]]));

function pass({ layers, loss }, arrays, params, step, record) {
  const own = (name) => Object.fromEntries(Object.keys(params).filter((p) => p.startsWith(`${name}.`)).map((p) => [p.slice(name.length + 1), params[p]]));
  let x = arrays[perStep(arrays, "inputs", step)];
  const tape = layers.map(({ name, type, options, same_as }) => {
    record(name, "input", x);
    const [y, backward] = LAYERS[type](options, own(same_as ?? name))(x);
    record(name, "output", y);
    x = y;
    return { name, owner: same_as ?? name, backward };
  });
  let delta = arrays[perStep(arrays, "grad_outputs", step)];
  if (loss) {
    if (delta) throw new Unsupported("a loss with an upstream gradient");
    const at = perStep(arrays, "targets", step);
    record("loss", "input", x);
    const [value, dz, others] = lossOf(loss, x, [arrays[`${at}/0`]]);
    record("loss", "output", { shape: [], data: Numbers.of(value) });
    record("loss", "grad_input", dz);
    for (const [name, grad] of Object.entries(others)) record("loss", `grad.${name}`, grad);
    delta = dz;
  }
  const grads = {};
  for (const { name, owner, backward } of delta ? tape.reverse() : []) {
    record(name, "grad_output", delta);
    const [dx, dparams] = backward(delta);
    record(name, "grad_input", dx);
    for (const [short, grad] of Object.entries(dparams)) {
      const full = `${owner}.${short}`; // a layer that stands twice adds its gradients up
      grads[full] = grads[full] ? like(grad, (v, i) => v + grads[full].data[i]) : grad;
      record(owner, `grad.${short}`, grads[full]);
    }
    delta = dx;
  }
  return grads;
}

function updateAll({ options, groups }, params, velocity, grads, record) {
  for (const { params: names, ...own } of groups ?? [{ params: Object.keys(params) }]) {
    for (const full of names) {
      const dot = full.lastIndexOf("."), [layer, short] = [full.slice(0, Math.max(dot, 0)), full.slice(dot + 1)];
      const [theta, v] = update({ ...options, ...own }, params[full], grads[full], velocity[full]);
      params[full] = theta;
      record(layer, `param.${short}`, theta);
      if (v) record(layer, `momentum.${short}`, velocity[full] = v);
    }
  }
}

// --- the conversation ----------------------------------------------------------------------------------------------------------

const HELLO = {
  protocol: 1,
  name: "backprop.js",
  supports: [...Object.keys(LAYERS), ...Object.keys(LOSSES), "SGD"],
  dtypes: ["float64", "float32"],
};

function answer({ request, id, case: description, arrays }) {
  if (request === "hello") return HELLO;
  const read = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, received(array)]));
  try {
    return { id, trace: run(description, read) };
  } catch (error) {
    if (error instanceof Unsupported) return { id, unsupported: `${HELLO.name} has no ${error.message}` };
    return { id, error: String(error) };
  }
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
});
