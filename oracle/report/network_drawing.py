"""A drawing of a small network with its numbers: a column per layer, a circle per neuron, a line per weight.

It shows the first sample. A layer of another shape, or with too many neurons, is drawn as a box with its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from oracle.execution.walk import BACKWARD, FORWARD, GIVEN, LOSS, Line, Section
from oracle.wording.figures import figure

MOST_NEURONS = 8
COLUMN, ROW, RADIUS, TOP, LEFT = 158, 74, 25, 46, 70


@dataclass(frozen=True)
class NeuronColumn:
    """A column: its heading, its shape, and the numbers of the first sample and their gradients, by neuron."""

    name: str
    shape: tuple[int, ...]
    values: tuple[float, ...] = ()
    gradients: tuple[float, ...] = ()


@dataclass(frozen=True)
class Weights:
    """The weights between two columns, and their gradients, by (to, from)."""

    values: dict[tuple[int, ...], float]
    gradients: dict[tuple[int, ...], float]


# The style of a picture that stands alone. A page has its own colours.
STYLE = Markup(
    "<style>svg { background: #fff } text { font: 12px sans-serif; text-anchor: middle; fill: #1b1f24 } "
    ".name { font-weight: 700 } circle, rect { fill: #fff; stroke: #1b1f24 } .gradient { fill: #b23a0a } "
    ".weight { font-size: 10px; paint-order: stroke; stroke: #fff; stroke-width: 3px } "
    ".link { stroke: #888 } .positive { stroke: #2767a5 } "
    ".negative { stroke: #b23a0a; stroke-dasharray: 5 3 }</style>"
)


def drawing(sections: Sequence[Section], own_style: bool = False) -> Markup:
    """An SVG element; empty if the walk shows no forward pass."""
    columns = list(columns_of(sections))
    if len(columns) < 2:
        return Markup()
    tallest = max(max(len(column.values), 1) for column in columns)
    width, height = LEFT + COLUMN * (len(columns) - 1) + 90, TOP + ROW * tallest + 30
    inside = Markup()
    for place, column in enumerate(columns[1:], 1):
        weights, before = weights_of(sections, column.name), len(columns[place - 1].values)
        if weights.values and column.values and before:
            inside += edges(weights, place, before, len(column.values), tallest)
        elif before == len(column.values):  # an activation, neuron by neuron
            inside += links(place, before, tallest)
    for place, column in enumerate(columns):
        inside += drawn(column, place, tallest)
    label = "The network: values in the circles, gradients below them, weights on the lines with their gradients"
    return (
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" '
            'style="max-width: 100%; height: auto" role="img" aria-label="{}">'
        ).format(width, height, width, label)
        + (STYLE if own_style else Markup())
        + inside
        + Markup("</svg>")
    )


def columns_of(sections: Sequence[Section]) -> Iterator[NeuronColumn]:
    def first_sample(section: Section | None) -> tuple[float, ...]:
        if section is None or len(section.shape) != 2 or section.shape[1] > MOST_NEURONS:
            return ()
        return tuple(line.value for line in section.lines if line.index[0] == 0)

    def backward(place: str, *symbols: str) -> Section | None:
        found = (own for own in sections if own.stage == BACKWARD and own.place == place and own.symbol in symbols)
        return next(found, None)

    forward = [own for own in sections if own.stage == FORWARD]
    given = next((own for own in sections if own.stage == GIVEN and own.place == "input"), None)
    if given is not None:
        into = backward(forward[0].place, "∂L/∂n", "∂L/∂z") if forward else None
        yield NeuronColumn("input", given.shape, first_sample(given), first_sample(into))
    for place, section in enumerate(forward):
        # ∂L of a layer's output is the gradient of the next one's input, or the loss's.
        following = forward[place + 1].place if place + 1 < len(forward) else ""
        gradient = backward(section.place, "δ") or backward(following, "∂L/∂n", "∂L/∂z")
        if gradient is None:
            gradient = next((own for own in sections if own.stage == BACKWARD and own.place.startswith("loss (")), None)
        yield NeuronColumn(section.place, section.shape, first_sample(section), first_sample(gradient))
    for section in sections:
        if section.stage == LOSS:
            yield NeuronColumn(
                section.place, section.shape, tuple(line.value for line in section.lines if not section.shape)
            )


def weights_of(sections: Sequence[Section], place: str) -> Weights:
    name = f"{place.partition(' (')[0]}.weight"

    def by_index(lines: Sequence[Line]) -> dict[tuple[int, ...], float]:
        return {line.index: line.value for line in lines if len(line.index) == 2}

    values = next((own.lines for own in sections if own.stage == GIVEN and own.place == name), ())
    gradients = (
        own.lines for own in sections if own.stage == BACKWARD and own.place == place and own.symbol == "∂weight"
    )
    return Weights(by_index(values), by_index(next(gradients, ())))


def at(place: int, neuron: int, neurons: int, tallest: int) -> tuple[float, float]:
    return LEFT + COLUMN * place, TOP + ROW * (neuron + (tallest - neurons) / 2) + ROW / 2


def edges(weights: Weights, place: int, before: int, here: int, tallest: int) -> Markup:
    """The lines of the weights, and in front of all lines their numbers."""
    lines, labels, largest = Markup(), Markup(), max(map(abs, weights.values.values()), default=0.0) or 1.0
    for (to, origin), value in weights.values.items():
        if to >= here or origin >= before:
            continue
        (x1, y1), (x2, y2) = at(place - 1, origin, before, tallest), at(place, to, here, tallest)
        said = f"w[{to}, {origin}] = {value:.6g}"
        if (to, origin) in weights.gradients:
            said += f", ∂L/∂w = {weights.gradients[to, origin]:.6g}"
        start, end, width = x1 + RADIUS, x2 - RADIUS, 0.8 + 2.5 * abs(value) / largest
        lines += Markup(
            '<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}" stroke-width="{:.2f}"><title>{}</title></line>'
        ).format(start, y1, end, y2, "negative" if value < 0 else "positive", width, said)
        share = 0.2 + 0.2 * ((origin + 2 * to) % 4)  # labels of lines that cross stand apart
        x, y = start + (end - start) * share, y1 + (y2 - y1) * share
        labels += Markup('<text x="{:.1f}" y="{:.1f}" class="weight">{}</text>').format(x, y + 3, figure(value))
    return lines + labels


def links(place: int, neurons: int, tallest: int) -> Markup:
    drawn = Markup()
    for neuron in range(neurons):
        (x1, y), (x2, _) = at(place - 1, neuron, neurons, tallest), at(place, neuron, neurons, tallest)
        drawn += Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="link"/>').format(x1 + RADIUS, y, x2 - RADIUS, y)
    return drawn


def drawn(column: NeuronColumn, place: int, tallest: int) -> Markup:
    x, _ = at(place, 0, 1, tallest)
    made = Markup('<text x="{}" y="18" class="name">{}</text>').format(x, column.name.partition(" (")[0])
    kind = column.name.partition(" (")[2].rstrip(")")
    made += Markup('<text x="{}" y="33" class="type">{}</text>').format(x, kind)
    if not column.values:
        x, y = at(place, 0, 1, tallest)
        shape = " × ".join(map(str, column.shape)) or "a number"
        return made + Markup(
            '<rect x="{}" y="{}" width="110" height="40" rx="6"/><text x="{}" y="{}" class="value">{}</text>'
        ).format(x - 55, y - 20, x, y + 4, shape)
    for neuron, value in enumerate(column.values):
        x, y = at(place, neuron, len(column.values), tallest)
        made += Markup(
            '<circle cx="{}" cy="{}" r="{}"><title>{}</title></circle><text x="{}" y="{}" class="value">{}</text>'
        ).format(x, y, RADIUS, f"{value:.16g}", x, y + 4, figure(value))
        if neuron < len(column.gradients):
            said = f"∂ {figure(column.gradients[neuron])}"
            made += Markup('<text x="{}" y="{}" class="gradient">{}</text>').format(x, y + RADIUS + 12, said)
    return made
