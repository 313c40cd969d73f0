"""A random program of torch, from its seed and number alone: lines that compute, view, and write in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from oracle.case.arrays import Array, cast
from oracle.fuzz import data
from oracle.fuzz.operations import OPERATIONS, STATEMENTS, Unfit, Values
from oracle.fuzz.walk import Levels, at, generator
from oracle.subjects.torch import tensor

LEVELS: Levels = {
    "dtype": ("float32", "float32", "float64", "float32 autocast", "float16", "bfloat16"),
    "length": (3, 6, 10),
    "data": data.KINDS,
    "magnitude": (1.0, 1.0, 1.0, 1e-3, 30.0),
    "shape": ((4, 3), (2, 3, 4), (5,), (1, 6), (3, 1, 2), (8, 5), (2, 17)),
}
# A line is refused if its value is larger, or holds more numbers: the lines after it would say little.
LARGEST, MOST_NUMBERS = 1e3, 2000
# A line that nothing fits is drawn again.
ATTEMPTS = 12


@dataclass(frozen=True, eq=False)
class RandomProgram:
    """A program.

    Attributes:
        arrays: its inputs, by name, in their dtype.
        lines: its statements.
        operation: the operation that it was drawn for.
        result: the name of its last value, which it returns.
    """

    name: str
    dtype: str
    autocast: bool
    operation: str
    arrays: dict[str, Array]
    lines: tuple[str, ...]
    result: str

    @property
    def source(self) -> str:
        """The program as a function of torch, in Python."""
        body = [f"    {line}" for line in (*self.lines, f"return {self.result}")]
        if self.autocast:
            body = ['    with torch.autocast("cpu", torch.bfloat16):', *(f"    {line}" for line in body)]
        return "\n".join([f"def program({', '.join(self.arrays)}):", *body])

    @property
    def function(self) -> Callable[..., torch.Tensor]:
        names: dict[str, Any] = {"torch": torch}
        exec(compile(self.source, f"<{self.name}>", "exec"), names)
        return names["program"]  # type: ignore[no-any-return]


def drawn(seed: int, point: int, name: str) -> RandomProgram:
    """The program at a point of the walk. Each operation comes in turn; those around it are drawn at random."""
    lap, turn = divmod(point, len(OPERATIONS))
    operation = list(OPERATIONS)[int(generator(seed, "programs", "order", lap).permutation(len(OPERATIONS))[turn])]
    choice = at(LEVELS, seed, "programs", point)
    rng = generator(seed, point, "programs")
    dtype, _, autocast = choice["dtype"].partition(" ")
    shapes = {"a": choice["shape"], "b": choice["shape"], "c": choice["shape"][-1:], "w": (choice["shape"][-1], 3)}
    arrays = {
        own: cast(_numbers(rng, shape, choice["data"] if own == "a" else "normal", choice["magnitude"], dtype), dtype)
        for own, shape in shapes.items()
    }
    lines = _lines(rng, arrays, bool(autocast), choice["length"], operation)
    arrays = {own: array for own, array in arrays.items() if _uses(lines, own)}
    return RandomProgram(name, dtype, bool(autocast), operation, arrays, tuple(lines), f"v{len(lines) - 1}")


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: str, size: float, dtype: str) -> Array:
    return np.clip(data.values(rng, shape, kind, size, dtype), -LARGEST / 4, LARGEST / 4)


def _assigns(line: str) -> bool:
    return line.partition(" = ")[0].isidentifier()


def _lines(rng: np.random.Generator, arrays: dict[str, Array], autocast: bool, length: int, wanted: str) -> list[str]:
    """Lines that torch runs and differentiates. In the second half the wanted operation is tried until a value fits it."""
    lines, held = ["v0 = a * 0.8 + b"], None
    for place in range(length * 2):
        if len(lines) == length:
            break
        held = held or _run(arrays, lines, autocast)
        assert held is not None, "the first line always runs"
        for attempt in range(ATTEMPTS):
            name = wanted if attempt < 3 and place >= length // 2 and wanted else str(rng.choice(list(OPERATIONS)))
            try:
                text = OPERATIONS[name](Values(rng, held))
            except Unfit:
                continue
            line = text if name in STATEMENTS else f"v{len(lines)} = {text}"
            made = _run(arrays, [*lines, line], autocast)
            if made is not None:
                lines, held, wanted = [*lines, line], made, "" if name == wanted else wanted
                break
    return [*lines, _result(arrays, lines, autocast)]


def _result(arrays: dict[str, Array], lines: list[str], autocast: bool) -> str:
    """The last value, plus the sums of some values that nothing else uses, so that most lines count."""
    names = [line.partition(" = ")[0] for line in lines if _assigns(line)]
    text = f"v{len(lines)} = {names[-1]} * 1.0"
    for name in names[:-1]:
        used = _uses([line for line in lines if not line.startswith(f"{name} = ")], name)
        longer = f"{text} + 0.3 * {name}.sum()"
        if not used and _run(arrays, [*lines, longer], autocast) is not None:
            text = longer
    return text


def _uses(lines: Sequence[str], name: str) -> bool:
    return any(re.search(rf"\b{name}\b", line) for line in lines)


def _run(arrays: dict[str, Array], lines: Sequence[str], autocast: bool) -> dict[str, torch.Tensor] | None:
    """The values after these lines; None if torch refuses them, or a value is too large, or there is no gradient."""
    held: dict[str, Any] = {name: tensor(own).requires_grad_() for name, own in arrays.items()}
    try:
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            for line in lines:
                exec(line, {"torch": torch}, held)
        made = {name: own for name, own in held.items() if name.startswith("v")}
        if not all(_is_usable(own) for own in made.values()):
            return None
        torch.autograd.grad(list(made.values())[-1].sum(), [held[name] for name in arrays], allow_unused=True)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None
    return {name: own.detach() for name, own in held.items()}


def _is_usable(own: torch.Tensor) -> bool:
    if not 0 < own.numel() <= MOST_NUMBERS or not own.requires_grad:
        return False
    return bool(torch.isfinite(own).all()) and float(own.detach().abs().max()) <= LARGEST
