"""A figure over several runs as a small plot: points, lines between neighbours, a gap where a run lacks the figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from oracle.wording.figures import figure

WIDTH, HEIGHT, EDGE = 260, 84, 8


def drawing(values: Sequence[float], names: Sequence[str], label: str, limit: float | None = None) -> Markup:
    """SVG; empty if no run has the figure.

    With a limit the scale is logarithmic and shows the limit; points beyond it have another shape as well as another colour.
    """
    heights = [_height(value, limit) for value in values]
    known = [height for height in heights if math.isfinite(height)]
    if all(math.isnan(height) for height in heights):
        return Markup()
    marks = [_height(limit, limit)] if limit is not None else []
    low, high = min((*known, *marks), default=0.0), max((*known, *marks), default=0.0)
    high += 1 if math.inf in heights else 0

    def y(height: float) -> float:
        place = 0.5 if high == low else (min(height, high) - low) / (high - low)
        return HEIGHT - EDGE - place * (HEIGHT - 2 * EDGE)

    def x(number: int) -> float:
        return WIDTH / 2 if len(values) == 1 else EDGE + number * (WIDTH - 2 * EDGE) / (len(values) - 1)

    said = "; ".join(f"{name} {figure(value) or 'none'}" for name, value in zip(names, values, strict=True))
    parts = [
        f'<svg class="course" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}: {escape(said)}">'
    ]
    if limit is not None:
        parts.append(f'<line class="limit" x1="0" x2="{WIDTH}" y1="{y(marks[0]):.1f}" y2="{y(marks[0]):.1f}"/>')
    for number in range(1, len(values)):
        if not any(math.isnan(height) for height in heights[number - 1 : number + 1]):
            ends = x(number - 1), y(heights[number - 1]), x(number), y(heights[number])
            parts.append('<line class="way" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(*ends))
    for number, (value, height) in enumerate(zip(values, heights, strict=True)):
        if not math.isnan(height):
            is_beyond = limit is not None and value > limit
            parts.append(_point(x(number), y(height), f"{names[number]}: {figure(value)}", is_beyond))
    return Markup("".join([*parts, "</svg>"]))


def _height(value: float, limit: float | None) -> float:
    if limit is None or not value < math.inf:
        return value
    return math.log10(max(value, limit / 1000))


def _point(x: float, y: float, title: str, is_beyond: bool) -> str:
    said = f"<title>{escape(title)}</title>"
    if is_beyond:
        return f'<path class="beyond" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z">{said}</path>'
    return f'<circle class="within" cx="{x:.1f}" cy="{y:.1f}" r="3">{said}</circle>'
