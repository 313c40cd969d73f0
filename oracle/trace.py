"""A Trace: what an implementation computed for a Case, as (step, layer, quantity) -> array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from oracle.arrays import Array, is_numeric
from oracle.case import Case


class Key(NamedTuple):
    """Where an array belongs: `quantity` is output, grad_output, grad_input, grad.<param>, param.<param>, buffer.<name>,
    momentum.<param> (other optimizers: their own state names), or one of the branches that a layer took, such as mask.

    The loss is the layer "loss"; `input` is what a layer was really given.
    """

    step: int
    layer: str
    quantity: str


class Unsupported(Exception):
    """Raised by a subject that has no such layer or option; the message says what it lacks."""


@dataclass
class Trace:
    """Arrays by key, in the order in which they were computed; copies, never views of the implementation's own memory."""

    arrays: dict[Key, Array] = field(default_factory=dict)

    def record(self, step: int, layer: str, quantity: str, array: Any) -> None:
        """Raises: TypeError for what are no numbers."""
        copy = np.array(array)
        if not is_numeric(copy.dtype):
            raise TypeError(f"{layer} {quantity} at step {step} holds {copy.dtype}, expected real numbers")
        copy.flags.writeable = False
        self.arrays[Key(step, layer, quantity)] = copy

    def get(self, step: int, layer: str, quantity: str) -> Array | None:
        return self.arrays.get(Key(step, layer, quantity))

    def of_step(self, step: int) -> dict[tuple[str, str], Array]:
        return {(key.layer, key.quantity): array for key, array in self.arrays.items() if key.step == step}

    def __iter__(self) -> Iterator[Key]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class Subject(Protocol):
    """An implementation under test. `run` raises Unsupported for what it lacks; whatever else it raises is a crash."""

    @property
    def name(self) -> str: ...

    def run(self, case: Case) -> Trace: ...
