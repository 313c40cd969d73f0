"""Plots of a report for notebooks and papers, as matplotlib figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from oracle.blame import maps
from oracle.blame.details import Detail
from oracle.judging.rows import END_TO_END, LOCAL
from oracle.report.columns import COLUMNS
from oracle.report.table import step_rows
from oracle.running_error import LAMBDA
from oracle.wording.figures import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WITHIN, OUTSIDE = "#2a6fb0", "#c2410c"
LOGARITHMIC = tuple(column.name for column in COLUMNS if column.is_logarithmic)


def pyplot() -> Any:
    """matplotlib.pyplot. Raises: ImportError, in one sentence, if matplotlib is not installed."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'refbp[plot]'") from error
    return matplotlib.pyplot


def layers(table: pd.DataFrame, case: str, dtype: str, column: str = "max_rel") -> Figure:
    """A column of the table for one step of a case: outputs layer by layer, then gradients in reverse order.

    Raises: ValueError for a case, dtype or column that the table does not hold.
    """
    step, rows = step_rows(table, case, dtype)
    if column not in table or not pd.api.types.is_numeric_dtype(table[column]):
        raise ValueError(
            f"unknown figure {column!r}: a column of numbers is expected, such as {', '.join(LOGARITHMIC)}"
        )
    rows = rows[rows["quantity"].isin(("output", "grad_input"))]
    places = list(dict.fromkeys(zip(rows["layer"], rows["quantity"], strict=True)))
    drawn, axes = pyplot().subplots(figsize=(max(6.0, 0.28 * len(places)), 4.0), layout="constrained")
    for mode, style, colour in ((END_TO_END, "o-", OUTSIDE), (LOCAL, "s--", WITHIN)):
        own = rows[rows["mode"] == mode]
        values = dict(zip(zip(own["layer"], own["quantity"], strict=True), own[column], strict=True))
        heights = [values.get(place, math.nan) for place in places]
        if column in LOGARITHMIC:  # a logarithm has no place for what is exact
            heights = [height if 0 < height < math.inf else math.nan for height in heights]
        axes.plot(range(len(places)), heights, style, color=colour, label=mode, markersize=3, linewidth=1.2)
    if column in LOGARITHMIC:
        axes.set_yscale("log")
    if column == "z_max":
        axes.axhline(LAMBDA, color="gray", linewidth=0.8, linestyle=":", label="λ")
    names = [layer if quantity == "output" else f"∂ {layer}" for layer, quantity in places]
    axes.set_xticks(range(len(places)), names, rotation=60, ha="right", fontsize=7)
    axes.set_ylabel(column)
    axes.set_title(f"{case}, {dtype}, step {step}", fontsize=10)
    axes.legend(fontsize=8)
    return drawn  # type: ignore[no-any-return]


def errors(detail: Detail) -> Figure:
    """A map of error / tolerance, the histogram of z, and got against expected, for one quantity."""
    drawn_maps = maps.maps(detail)
    drawn, axes = pyplot().subplots(
        1, len(drawn_maps) + 2, figsize=(3.4 * (len(drawn_maps) + 2), 3.2), layout="constrained"
    )
    for found, own in zip(drawn_maps, axes, strict=False):
        _map(drawn, own, found)
    _histogram(axes[-2], maps.histogram(detail))
    expected, got = maps.points(detail)
    if expected.size:
        ends = [min(expected.min(), got.min()), max(expected.max(), got.max())]
        axes[-1].plot(ends, ends, color="gray", linestyle="--", linewidth=0.8)
    axes[-1].plot(expected, got, ".", color=OUTSIDE, markersize=3)
    axes[-1].set(title="got against expected", xlabel="expected", ylabel="got")
    place = detail.place
    part = "" if detail.is_whole else f", a part of {' × '.join(map(str, detail.shape))}"
    drawn.suptitle(f"{place.case}/{place.layer} {place.quantity}, {place.dtype}, {place.mode}{part}", fontsize=10)
    return drawn  # type: ignore[no-any-return]


def _map(drawn: Figure, axes: Any, found: maps.ErrorMap) -> None:
    with np.errstate(divide="ignore"):
        decades = np.log10(found.values)
    finite = decades[np.isfinite(decades)]
    top = max(1.0, float(np.max(np.abs(finite), initial=1.0)))
    image = axes.imshow(np.clip(decades, -top, top), cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto")
    drawn.colorbar(image, ax=axes, label="log10(error / tolerance)")
    axes.set(title=found.title, xlabel=found.columns, ylabel=found.rows)


def _histogram(axes: Any, found: maps.Histogram) -> None:
    places = range(len(found.counts))
    colours = [OUTSIDE if edge >= LAMBDA else WITHIN for edge in maps.EDGES[1:]]
    axes.bar(places, found.counts, color=colours, width=0.9)
    ticks = list(places)[::4]
    axes.set_xticks(ticks, [figure(maps.EDGES[tick]) for tick in ticks], fontsize=7)
    beside = f"{found.exact:,} exact" + (f", {found.infinite:,} where nothing may differ" if found.infinite else "")
    axes.set(title=f"histogram of z ({beside})", xlabel="z")
