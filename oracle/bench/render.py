"""Benchmarks as Markdown and as a picture. This module only renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from oracle.bench import load
from oracle.bench.dropped import DROPPED
from oracle.bench.section import Chart, Measurement, Result
from oracle.report import markdown
from oracle.report.plots import pyplot
from oracle.wording.figures import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#2a6fb0", "#c2410c", "#4d7c0f", "#7e22ce", "#64748b")


def report(sections: Mapping[str, Mapping[str, Any]], picture: str | None) -> str:
    """All sections, each with the machine of its measurement; `picture` is the file name of the picture."""
    parts = ["# Benchmarks", "Written by `oracle bench`; each run is a process of its own."]
    if picture is not None:
        parts.append(f"![Every figure of the last runs]({picture})")
    for name, kept in sections.items():
        section, runs = load(name), [Result.from_json(run) for run in kept["runs"]]
        parts += [f"## {section.title}", where(kept["machine"]), section.about, markdown.table(goals(runs))]
        last = runs[-1]
        if last.details:
            details = pd.DataFrame(last.details)
            numbers = [str(column) for column in details.select_dtypes("number")]
            parts += [f"Run {len(runs)} in detail:", markdown.table(details, figures=numbers)]
        parts += last.remarks
    parts += ["## Tried and dropped", markdown.table(pd.DataFrame(DROPPED, columns=["idea", "gain", "why"]))]
    return "\n\n".join(parts) + "\n"


def where(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    others = "" if machine["others"] is None else f" Other processes kept {machine['others']:g} cores busy meanwhile."
    return (
        f"{machine['processor']}, {machine['cores']} cores; {machine['platform']}; Python {machine['python']}, {versions}; "
        f"{'; '.join(machine['pools'])}.{others}"
    )


def goals(runs: Sequence[Result]) -> pd.DataFrame:
    """A row per measurement, with its median and quartiles in each run, and whether every run met the limit."""
    rows = []
    for own in zip(*(run.measurements for run in runs), strict=True):
        row = {"": own[0].what, "limit": limit(own[0])}
        row |= {f"run {number}": spread(one) for number, one in enumerate(own, 1)}
        rows.append(row | {"met": met(own)})
    return pd.DataFrame(rows)


def limit(one: Measurement) -> str:
    return "" if one.limit is None else f"{'≥' if one.at_least else '≤'} {one.limit:g}{one.unit}"


def spread(one: Measurement) -> str:
    return f"{figure(one.value)}{one.unit} ({figure(one.low)}–{figure(one.high)})"


def met(own: Sequence[Measurement]) -> str:
    if own[0].met is None:
        return ""
    kept = sum(bool(one.met) for one in own)
    return "yes" if kept == len(own) else "no" if kept == 0 else f"in {kept} of {len(own)}"


def picture(results: Sequence[Result]) -> Figure | None:
    """All charts side by side; None if there are none. Raises: ImportError without matplotlib."""
    charts = [chart for result in results for chart in result.charts]
    if not charts:
        return None
    drawn, axes = pyplot().subplots(
        1, len(charts), figsize=(6.4 * len(charts), 4.2), layout="constrained", squeeze=False
    )
    for own, chart in zip(axes[0], charts, strict=True):
        draw(own, chart)
    return drawn  # type: ignore[no-any-return]


def draw(axes: Any, chart: Chart) -> None:
    names = list(dict.fromkeys(x for points in chart.series.values() for x, _ in points if isinstance(x, str)))
    width = 0.8 / max(len(chart.series), 1)
    for number, (name, points) in enumerate(chart.series.items()):
        colour, heights = COLOURS[number % len(COLOURS)], [y for _, y in points]
        if names:
            places = [names.index(str(x)) + width * (number - (len(chart.series) - 1) / 2) for x, _ in points]
            axes.bar(places, heights, width, color=colour, label=name)
        else:
            axes.plot([x for x, _ in points], heights, "o-", color=colour, label=name, markersize=3)
    if names:
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
    if chart.logarithmic:
        axes.set_yscale("log")
        if not names:
            axes.set_xscale("log")
    if chart.mark is not None:
        axes.axhline(chart.mark, color="gray", linewidth=0.8, linestyle=":")
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    axes.legend(fontsize=8)
