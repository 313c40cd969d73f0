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
    """Where an array belongs: `quantity` is output, grad_output, grad_input, grad.<param>, param.<param>, buffer.<name>,
    momentum.<param> (other optimizers: their own state names), or one of the branches that a layer took, such as mask.

    The loss is the layer "loss"; `input` is what a layer was really given. Steps count from 0; layers have the case's dotted
    names, "0" for the first unless it has another.
    """

    step: int
    layer: str
    quantity: str


class Unsupported(Exception):
    """Raised by a subject that has no such layer or option, or by a function that `check_op` tries; the message says what.

    The case is then `unsupported`: nobody is blamed, and it does not count as passed. `oracle.refuse` raises it.
    """


@dataclass
class Trace:
    """Arrays by key, in the order in which they were computed; copies, never views of the subject's own memory.

    Shape: as torch's; each array in the case's dtype, in which the subject computed it. Another one is judged `wrong`.
    `faults` holds what was delivered from outside and cannot be used, with the reason.

    A subject of one layer type, that takes the other side's derivative at the kink:

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
    # What `record` has copied: nobody else holds it.
    _copies: dict[Key, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given, self.arrays = self.arrays, {}
        for key, array in given.items():
            if isinstance(array, np.ndarray) and array.flags.owndata and not array.flags.writeable:
                self._keep(_place(*key), array)
            else:
                self.record(*key, array)

    def owned(self) -> Trace:
        """The same, every array a copy that nobody else holds, also of those that were not recorded but put into `arrays`."""
        made = Trace(faults={Key(*key): str(reason) for key, reason in self.faults.items()})
        for key, array in self.arrays.items():
            if self._copies.get(key) is array:
                made._keep(key, array)
            else:
                made.record(*key, array)
        return made

    def record(self, step: int, layer: str, quantity: str, array: Any) -> None:
        """Keep a read-only copy of an array of NumPy, torch, JAX or another library, of a number, or of nested lists of numbers;
        a second one in the same place replaces the first.

        Raises: TypeError for a place that is none, and for what are no numbers.
        """
        key = _place(step, layer, quantity)
        try:
            copy = np.array(array if isinstance(array, (list, tuple)) else numpy_of(array))
        except Exception as error:  # whatever a library raises where it converts
            said = " ".join(message(error).split())
            raise TypeError(f"{layer} {quantity} at step {step} is no array: {said}") from error
        self._keep(key, copy)
        self._copies[key] = copy

    def _keep(self, key: Key, array: Array) -> None:
        if not is_numeric(array.dtype):
            raise TypeError(f"{key.layer} {key.quantity} at step {key.step} holds {array.dtype}, expected real numbers")
        array.flags.writeable = False
        self.arrays[key] = array

    def get(self, step: int, layer: str, quantity: str) -> Array | None:
        """What was recorded there, None where nothing was."""
        return self.arrays.get(Key(step, layer, quantity))

    def of_step(self, step: int) -> dict[tuple[str, str], Array]:
        """(layer, quantity) -> array of one step."""
        return {(key.layer, key.quantity): array for key, array in self.arrays.items() if key.step == step}

    def __iter__(self) -> Iterator[Key]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def _place(step: Any, layer: Any, quantity: Any) -> Key:
    """Raises: TypeError for what is none."""
    if not isinstance(step, (int, np.integer)) or not all(isinstance(name, str) for name in (layer, quantity)):
        raise TypeError(
            f"a trace records by step, layer name and quantity, such as (0, '0', 'output'), got {(step, layer, quantity)}"
        )
    return Key(int(step), layer, quantity)


class Subject(Protocol):
    """An implementation that is judged. `run` raises Unsupported for what it lacks; whatever else it raises is a crash.

    The case that it is given is its own: it may train in `params` and `optimizer_state`; the other arrays are read-only. Cases of
    which several steps add up their gradients, `case.update_every`, are only for one with `accumulates = True`.
    """

    @property
    def name(self) -> str: ...

    def run(self, case: Case) -> Trace: ...


NO_ACCUMULATION = "does not add up gradients over several steps, or does not say so: `accumulates = True`"


def traced(subject: Subject, case: Case) -> Trace:
    """What a subject shows of a case, which becomes its own. Raises: Unsupported, and whatever else it raises."""
    if case.update_every > 1 and not getattr(subject, "accumulates", False):
        raise Unsupported(f"{subject.name} {NO_ACCUMULATION}")
    return subject.run(case.handed_out())
