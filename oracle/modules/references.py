"""The user's references: functions that say what a call should compute. They replace the derivative of the call's own forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from oracle.case.arrays import Array
from oracle.case.nested import leaves
from oracle.modules.operations import Called
from oracle.programs import numpy_calls
from oracle.programs.common_errors import Derived
from oracle.programs.execution import Run, WithErrors
from oracle.programs.program import Program, Snapshot, all_in, replaced
from oracle.programs.table import NoRule
from oracle.programs.torch_calls import record
from oracle.running_error import ErrorArray
from oracle.subjects.torch import tensor
from oracle.wording.errors import in_a_line


class LiftedPair:
    """A reference that returned (output, backward), run on error arrays."""

    def __init__(self, output: Any, backward: Any, places: Sequence[int]) -> None:
        self.outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        self._backward, self._places = backward, places

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        found = _several(self._backward(*_with_zeros(grad_outputs, self.outputs)))
        return [found[place] if place < len(found) else None for place in self._places]


@dataclass
class RecordedPair:
    """A reference that returns (output, backward), recorded call by call in the library in which it is written.

    Its backward is recorded when the gradients are known, and the forward once more with it, because it reads what that computed.

    numbers: the arrays with which the reference is called.
    places: those of the inputs that have a gradient.
    record: records a function of such arrays.
    """

    called: Called
    numbers: Sequence[Array]
    places: Sequence[int]
    arithmetic: WithErrors
    record: Callable[[Callable[..., Any], Sequence[Array]], Program]

    def __post_init__(self) -> None:
        self.outputs = self._run(())[0]

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        due = _with_zeros(grad_outputs, self.outputs)
        try:
            made, given = self._run([own.value.astype(own.dtype) for own in due])
        except NoRule:
            raise
        except Exception as error:
            raise NoRule(f"the backward of its reference raises {in_a_line(error)}") from error
        rest = iter(made[len(self.outputs) :])
        found = [next(rest) if is_given else None for is_given in given]
        return [found[place] if place < len(found) else None for place in self.places]

    def _run(self, upstream: Sequence[Array]) -> tuple[list[Any], list[bool]]:
        """The outputs, with upstream gradients also those gradients that the backward gives, and which ones it gives."""
        given: list[bool] = []

        def program(*values: Any) -> list[Any]:
            made = _call(self.called, values[: len(self.numbers)])
            if not _is_pair(made):
                raise _OtherForm
            outputs = [own for own in leaves(made[0]) if hasattr(own, "dtype")]
            grads = _several(made[1](*values[len(self.numbers) :])) if upstream else ()
            given.extend(own is not None for own in grads)
            return [*outputs, *(own for own in grads if own is not None)]

        made = Run(self.record(program, [*self.numbers, *upstream]), replace(self.arithmetic, opens=True))
        return made.outputs, given


class _OtherForm(Exception):
    """A reference returned a pair where its output alone is expected, or the other way round."""


def by_reference(called: Called, inputs: Sequence[Snapshot], arithmetic: WithErrors) -> Derived:
    """The reference applied to the arguments of the call; `inputs` are those of its tensors that have a gradient."""
    tensors = list(all_in((called.args, called.kwargs), Snapshot))
    places = [_place(own, tensors) for own in inputs]
    if any(own.is_complex for own in tensors):  # which error arrays hold in parts, and a reference does not
        return _in_tensors(called, tensors, places, arithmetic)
    try:
        made = _call(called, [arithmetic.lifted(own.numbers) for own in tensors])
    except Exception:  # it is written in functions that error arrays lack, or in torch
        return _by_recording(called, tensors, places, arithmetic)
    if _is_pair(made):
        return LiftedPair(made[0], made[1], places)
    return _in_tensors(called, tensors, places, arithmetic)


def _by_recording(
    called: Called, tensors: Sequence[Snapshot], places: Sequence[int], arithmetic: WithErrors
) -> Derived:
    """A reference recorded in NumPy, if it returns a pair there, or else in torch. Raises: NoRule."""
    refused: dict[str, Exception] = {}
    for library, attempt in (("NumPy's arrays", _in_arrays), ("tensors", _in_tensors)):
        try:
            return attempt(called, tensors, places, arithmetic)
        except _OtherForm:
            pass
        except Exception as error:
            refused[library] = error
    lacking = next((own for own in refused.values() if isinstance(own, NoRule)), None)
    if lacking is not None:
        raise lacking
    said = [f"{in_a_line(error)} with {library}" for library, error in refused.items()]
    if len({str(error) for error in refused.values()}) == 1:
        said = [in_a_line(error) for error in refused.values()][:1]
    raise NoRule(f"its reference raises {', and '.join(said)}")


def _place(own: Snapshot, tensors: Sequence[Snapshot]) -> int:
    for place, other in enumerate(tensors):
        if (other.storage, other.geometry) == (own.storage, own.geometry):
            return place
    raise NoRule("its reference is called without one of its inputs")


def _call(called: Called, values: Sequence[Any]) -> Any:
    rest = iter(values)
    args, kwargs = replaced((called.args, dict(called.kwargs)), Snapshot, lambda _: next(rest))
    return called.reference(*args, **kwargs)


def _is_pair(made: Any) -> bool:
    return isinstance(made, tuple) and len(made) == 2 and callable(made[1])


def _several(found: Any) -> Sequence[Any]:
    return found if isinstance(found, (tuple, list)) else (found,)


def _with_zeros(grad_outputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """The gradients of the outputs; zeros for an output that got none, as autograd gives them to a custom Function."""
    return [
        ErrorArray.exact(np.zeros(own.shape), own.model) if grad is None else grad
        for grad, own in zip(grad_outputs, outputs, strict=True)
    ]


def _in_arrays(called: Called, tensors: Sequence[Snapshot], places: Sequence[int], arithmetic: WithErrors) -> Derived:
    """A reference in NumPy that returns a pair. Raises: _OtherForm."""

    def recorded(function: Callable[..., Any], numbers: Sequence[Array]) -> Program:
        return numpy_calls.record(function, *numbers, narrow=True)[0]

    return RecordedPair(called, [own.numbers for own in tensors], places, arithmetic, recorded)


def _in_tensors(called: Called, tensors: Sequence[Snapshot], places: Sequence[int], arithmetic: WithErrors) -> Derived:
    """A reference in torch."""
    try:
        return SomeGradients(Run(_program(called, tensors, places), replace(arithmetic, opens=True)), places)
    except _OtherForm:
        if any(own.is_complex for own in tensors):
            raise NoRule("its reference gives a pair for complex numbers: give the output alone") from None

    def recorded(function: Callable[..., Any], numbers: Sequence[Array]) -> Program:
        return record(function, *map(tensor, numbers))[0]

    return RecordedPair(called, [own.numbers for own in tensors], places, arithmetic, recorded)


def program_by_reference(called: Called, inputs: Sequence[Snapshot]) -> tuple[Program, list[int]]:
    """The program of a reference in torch, and the places of these among its inputs. Raises: NoRule."""
    tensors = list(all_in((called.args, called.kwargs), Snapshot))
    learning = [_place(own, tensors) for own in inputs]
    try:
        return _program(called, tensors, learning), learning
    except _OtherForm:
        raise NoRule(
            "its reference gives a pair, whose backward is not differentiated: give the output alone"
        ) from None


def _program(called: Called, tensors: Sequence[Snapshot], learning: Sequence[int]) -> Program:
    given = [_tensor(own).requires_grad_(place in learning) for place, own in enumerate(tensors)]

    def program(*values: torch.Tensor) -> list[torch.Tensor]:
        made = _call(called, values)
        if _is_pair(made):
            raise _OtherForm
        return [own for own in _pytree.tree_leaves(made) if isinstance(own, torch.Tensor)]

    return record(program, *given)[0]


def _tensor(own: Snapshot) -> torch.Tensor:
    made = tensor(own.numbers)
    return torch.view_as_complex(made) if own.is_complex else made


class SomeGradients:
    """A run restricted to the gradients of some of its inputs."""

    def __init__(self, run: Run, places: Sequence[int]) -> None:
        self._run, self._places, self.outputs = run, places, run.outputs

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        found = self._run.gradients(grad_outputs)
        return [found[place] for place in self._places]
