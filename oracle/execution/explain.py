"""A case walked in numbers, each beside the reference's, in the order in which backpropagation computes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, Case, named_layers
from oracle.errors import in_a_line
from oracle.trace import Subject, Trace, Unsupported

MOST_NUMBERS = 12
# Forward equations of the layers that have weights in front of what they are given.
FORWARD = {
    "Linear": "z = W n + b, forward equation",
    "Conv": "z = W ⋆ n + b, its windows' cross-correlation",
}


@dataclass(frozen=True)
class Line:
    """One number of the walk: what it is, the subject's value and the reference's."""

    name: str
    value: float
    reference: float


@dataclass(frozen=True)
class Section:
    """A stage of the walk, with the equation that gives its numbers; `left_out` numbers are not shown."""

    title: str
    lines: tuple[Line, ...]
    left_out: int = 0


def walk(case: Case, subject: Subject, reference: Subject, step: int = 0) -> Iterator[Section]:
    """Forward (z, n), the loss, backward (delta, then the gradients, layer by layer), the update.

    Raises: ValueError for a subject or reference that cannot run the case.
    """
    ours, theirs = traced(case, subject), traced(case.astype("float64"), reference)
    specs = [(name, spec.type) for name, spec in named_layers(case.layers) if spec.type not in CONTAINERS]

    def section(title: str, layer: str, quantity: str, symbol: str) -> Iterator[Section]:
        mine, other = ours.get(step, layer, quantity), theirs.get(step, layer, quantity)
        if other is None:
            return
        if mine is None:
            yield Section(f"{title}: {subject.name} does not show it", ())
        elif mine.shape != other.shape:
            yield Section(f"{title}: {subject.name} has shape {mine.shape}, expected {other.shape}", ())
        else:
            yield numbers(title, symbol, mine, other)

    for name, type in specs:
        weighted = f"{name}.weight" in case.params
        what = FORWARD.get(type.rstrip("123d"), "z = f(n)" if weighted else "n = f(z)")
        yield from section(f"forward   {name} ({type}): {what}", name, "output", "z" if weighted else "n")
    yield from section("loss      L", "loss", "output", "L")
    yield from section("backward  loss: ∂L/∂(its input)", "loss", "grad_input", "∂L/∂n")
    for name, type in reversed(specs):
        own = [key.rpartition(".")[2] for key in case.params if key.rpartition(".")[0] == name]
        if own:
            yield from section(f"backward  {name} ({type}): δ, eq. (4)", name, "grad_output", "δ")
            for short in own:
                title = f"backward  {name} ({type}): ∂L/∂{short} from δ, eq. (5)"
                yield from section(title, name, f"grad.{short}", f"∂{short}")
        if own:
            yield from section(
                f"backward  {name} ({type}): ∂L/∂n from δ, the bracket of eq. (4)", name, "grad_input", "∂L/∂n"
            )
        else:
            yield from section(f"backward  {name} ({type}): f'(z) ⊙ ∂L/∂n, eq. (4)", name, "grad_input", "∂L/∂z")
    for name in case.params:
        layer, _, short = name.rpartition(".")
        decay = "with its weight decay" if _decays(case, name) else "without decay"
        yield from section(f"update    {name}, eq. (6) {decay}", layer, f"param.{short}", short)


def traced(case: Case, subject: Subject) -> Trace:
    """What the subject computes. Raises: ValueError, in one sentence, where it gives no trace."""
    try:
        trace = subject.run(case.handed_out())
    except (Exception, SystemExit) as error:  # whatever it raises
        why = str(error) if isinstance(error, Unsupported) else in_a_line(error)
        raise ValueError(f"{subject.name} cannot run {case.name}: {' '.join(why.split())}") from error
    if not isinstance(trace, Trace):
        raise ValueError(f"{subject.name} returned {type(trace).__name__} for {case.name}, expected an oracle.Trace")
    return trace


def _decays(case: Case, name: str) -> bool:
    if case.optimizer is None:
        return False
    own = [group for group in case.optimizer.groups if name in group.get("params", ())]
    options = {**case.optimizer.options, **(own[0] if own else {})}
    return bool(options.get("weight_decay"))


def numbers(title: str, symbol: str, mine: Array, other: Array) -> Section:
    lines = []
    for index in list(np.ndindex(mine.shape))[:MOST_NUMBERS]:
        place = f"[{', '.join(map(str, index))}]" if index else ""
        lines.append(Line(symbol + place, float(mine[index]), float(other[index])))
    return Section(title, tuple(lines), mine.size - len(lines))
