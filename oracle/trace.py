"""A Trace: what a subject computed for a Case, as (step, layer, quantity) -> array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from oracle.case.arrays import Array, is_numeric
from oracle.case.case import Case
from oracle.case.foreign import numpy_of
from oracle.wording.errors import message


class Key(NamedTuple):
    """The place of an array in a trace: step, layer and quantity.

    Attributes:
        step: the training step, from 0.
        layer: the case's dotted layer name, such as "0" for an unnamed first layer; "loss" for the loss.
        quantity: input (what the layer was really given), output, grad_output, grad_input, grad.<param>, param.<param>,
            buffer.<name>, momentum.<param> (other optimizers: their own state names), or mask of a dropout layer.
    """

    step: int
    layer: str
    quantity: str


class Unsupported(Exception):
    """Raised by a subject, or a function in `check_op`, that lacks a layer or option; the message names it.

    The case then has the verdict `unsupported`: it is not a discrepancy, and has not passed. `oracle.refuse` raises it for you.
    """


@dataclass
class Trace:
    """The arrays that a subject computed, by `Key`, in the order of computation. They are copies, never the subject's memory.

    Shape: torch's. An array whose dtype is not the case's gets the verdict `wrong`.
    Attributes:
        arrays: the arrays, by key.
        faults: the reason for each array that a program or file delivered and that cannot be used, by key.

    This subject knows one layer type, and takes the derivative of the other side at the kink:

    >>> class Mine:
    ...     name = "mine"
    ...     profile = oracle.Profile(quantities=("output", "grad_input"))
    ...
    ...     def run(self, case):
    ...         if [spec.type for spec in case.layers] != ["ReLU"]:
    ...             raise oracle.Unsupported("anything but a single ReLU")
    ...         (x,), (grad_output,) = case.inputs, case.grad_outputs
    ...         trace = oracle.Trace()
    ...         trace.record(0, "0", "output", np.maximum(x, 0))
    ...         trace.record(0, "0", "grad_input", np.where(x >= 0, grad_output, 0))
    ...         return trace
    >>> report = oracle.run(Mine(), cases="kink/ReLU*", dtypes=["float32"])
    >>> report.cases[["case", "verdict"]].values.tolist()
    [['kink/ReLU', 'convention'], ['kink/ReLU6', 'unsupported']]
    """

    arrays: dict[Key, Array] = field(default_factory=dict)
    faults: dict[Key, str] = field(default_factory=dict)
    # The copies that `record` made, which no one else can change.
    _copies: dict[Key, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given, self.arrays = self.arrays, {}
        for key, array in given.items():
            if isinstance(array, np.ndarray) and array.flags.owndata and not array.flags.writeable:
                self._keep(_key(*key), array)
            else:
                self.record(*key, array)

    def owned(self) -> Trace:
        """The same trace with a copy of every array, also of those that were put into `arrays` without `record`."""
        made = Trace(faults={Key(*key): str(reason) for key, reason in self.faults.items()})
        for key, array in self.arrays.items():
            if self._copies.get(key) is array:
                made._keep(key, array)
            else:
                made.record(*key, array)
        return made

    def record(self, step: int, layer: str, quantity: str, array: Any) -> None:
        """Keep a read-only copy of an array, replacing an earlier one with the same key.

        The array may be one of NumPy, torch, JAX or another library, a number, or nested lists of numbers.

        Raises: TypeError for a step, layer or quantity of another type, or values that are not real numbers.
        """
        key = _key(step, layer, quantity)
        try:
            copy = np.array(array if isinstance(array, (list, tuple)) else numpy_of(array))
        except Exception as error:  # a library may raise anything when it converts an array
            said = " ".join(message(error).split())
            raise TypeError(f"{layer} {quantity} at step {step} is not an array: {said}") from error
        self._keep(key, copy)
        self._copies[key] = copy

    def _keep(self, key: Key, array: Array) -> None:
        if not is_numeric(array.dtype):
            raise TypeError(f"{key.layer} {key.quantity} at step {key.step} holds {array.dtype}, expected real numbers")
        array.flags.writeable = False
        self.arrays[key] = array

    def get(self, step: int, layer: str, quantity: str) -> Array | None:
        """The array that was recorded there, or None."""
        return self.arrays.get(Key(step, layer, quantity))

    def of_step(self, step: int) -> dict[tuple[str, str], Array]:
        """(layer, quantity) -> array of one step."""
        return {(key.layer, key.quantity): array for key, array in self.arrays.items() if key.step == step}

    def __iter__(self) -> Iterator[Key]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def _key(step: Any, layer: Any, quantity: Any) -> Key:
    """The key. Raises: TypeError for a step, layer or quantity of another type."""
    if not isinstance(step, (int, np.integer)) or not all(isinstance(name, str) for name in (layer, quantity)):
        raise TypeError(
            f"a trace records by step, layer name and quantity, such as (0, '0', 'output'), got {(step, layer, quantity)}"
        )
    return Key(int(step), layer, quantity)


class Subject(Protocol):
    """An implementation that is judged. `run` raises Unsupported for anything that it lacks; any other exception is a crash.

    The case is a copy for the subject: it may write to `params` and `optimizer_state`; the other arrays are read-only. Cases that
    add up the gradients of several steps (`case.update_every` > 1) are only run on a subject with `accumulates = True`.
    """

    @property
    def name(self) -> str: ...

    def run(self, case: Case) -> Trace: ...


NO_ACCUMULATION = "does not add up gradients over several steps, or does not say so: `accumulates = True`"


def traced(subject: Subject, case: Case) -> Trace:
    """The subject's trace of a case, of which it gets a copy. Raises: Unsupported, and any exception of the subject."""
    if case.update_every > 1 and not getattr(subject, "accumulates", False):
        raise Unsupported(f"{subject.name} {NO_ACCUMULATION}")
    return subject.run(case.handed_out())
