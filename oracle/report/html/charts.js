// Lines over steps or over depth, drawn by uPlot in the page's colours; a new theme draws them again.

const CHARTS = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawChart(host, make) {
  CHARTS.set(host, make);
  host.replaceChildren();
  const { options, data } = make();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  new uPlot({
    width: Math.max(260, host.clientWidth), height: 240, ...options,
    axes: options.axes.map((own) => {
      const lines = own.values === logTicks ? decades : {};
      return { ...axis, ...own, grid: { ...axis.grid, ...lines }, ticks: { ...axis.ticks, ...lines } };
    }),
  }, data, host);
}

function redrawCharts() {
  for (const [host, make] of CHARTS) if (host.isConnected) drawChart(host, make);
}

// A logarithm has no place for 0, for what is infinite and for what is none: a gap in the line.
const drawable = (values) => values.map((value) => (value > 0 && value < Infinity ? value : null));

const logTicks = (_plot, ticks) => ticks.map((tick) => (tick === null || !isDecade(tick) ? "" : tick >= 1e-2 && tick < 1e4 ? String(tick) : tick.toExponential(0).replace("e+", "e")));
const isDecade = (tick) => Math.abs(Math.log10(tick) - Math.round(Math.log10(tick))) < 1e-9;
const decades = { filter: (_plot, ticks) => ticks.map((tick) => (isDecade(tick) ? tick : null)) };
const labels = (values) => (_plot, _series, _value, place) => (place === null || place === undefined ? "" : figure(values[place]));

function steps(count) { return Array.from({ length: count }, (_, i) => i + 1); }

// A stroke where the losses part.
function markStep(plot, step) {
  if (step === null) return;
  const x = plot.valToPos(step, "x", true), { ctx: context, bbox } = plot;
  context.save();
  context.strokeStyle = context.fillStyle = colour("--soft");
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(x, bbox.top);
  context.lineTo(x, bbox.top + bbox.height);
  context.stroke();
  context.textAlign = "left";
  context.textBaseline = "top";
  context.fillText(`losses part: step ${step}`, x + 5, bbox.top + 2);
  context.restore();
}

function drawTraining(host, run) {
  const isGaps = host.dataset.what === "gaps";
  drawChart(host, () => {
    const gaps = run.gaps.map(asNumber), losses = run.losses.map((own) => own.map(asNumber));
    const shown = isGaps ? [gaps] : losses;
    const names = isGaps ? ["gap"] : [run.subject, run.reference];
    const strokes = [colour("--wrong"), colour("--pass")];
    return {
      data: [steps(run.gaps.length), ...shown.map(isGaps ? drawable : (own) => own.map((v) => (Number.isFinite(v) ? v : null)))],
      options: {
        title: isGaps ? "largest gap between parameters" : "loss",
        scales: { x: { time: false }, y: { distr: isGaps ? 3 : 1 } },
        axes: [{ label: "step", labelSize: 18, size: 34 }, { size: 62, ...(isGaps ? { values: logTicks } : {}) }],
        hooks: { draw: [(plot) => markStep(plot, run.parted)] },
        series: [{ label: "step" }, ...shown.map((own, i) => ({
          label: names[i], stroke: strokes[i], width: i ? 1.2 : 2, dash: i ? [6, 4] : undefined, value: labels(own), points: { show: own.length === 1 },
        }))],
      },
    };
  });
}

function drawGrowth(host, points, column, threshold) {
  drawChart(host, () => {
    const isLog = column.is_logarithmic;
    const local = points.map((point) => point.local), wholeNet = points.map((point) => point.whole);
    const prepare = isLog ? drawable : (own) => own.map((v) => (Number.isFinite(v) ? v : null));
    const data = [points.map((_, i) => i), prepare(wholeNet), prepare(local)];
    const series = [
      { label: "at", value: (_p, _s, _v, place) => (place === null || place === undefined ? "" : points[place].label) },
      { label: "end to end", stroke: colour("--wrong"), width: 2, value: labels(wholeNet), spanGaps: false, points: { show: true, size: 5 } },
      { label: "local", stroke: colour("--pass"), width: 1.2, dash: [6, 4], value: labels(local), points: { show: true, size: 4 } },
    ];
    if (column.name === "z_max") {
      data.push(points.map(() => threshold));
      series.push({ label: "λ", stroke: colour("--soft"), width: 1, dash: [2, 3], points: { show: false }, value: () => figure(threshold) });
    }
    const every = Math.max(1, Math.ceil(points.length / (host.clientWidth / 24)));
    return {
      data,
      options: {
        height: 300,
        scales: { x: { time: false, range: [-0.5, points.length - 0.5] }, y: { distr: isLog ? 3 : 1 } },
        axes: [
          { rotate: -55, size: 92, splits: () => points.map((_, i) => i).filter((i) => i % every === 0), values: (_p, splits) => splits.map((i) => points[i].label) },
          { size: 62, ...(isLog ? { values: logTicks } : {}) },
        ],
        series,
      },
    };
  });
}
