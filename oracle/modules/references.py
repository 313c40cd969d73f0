"""The user's references: functions that say what a call should compute. They replace the derivative of the call's own forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree

from oracle.modules.operations import Called
from oracle.programs.common_errors import Derived
from oracle.programs.execution import Run, WithErrors
from oracle.programs.program import Held, Program, replaced
from oracle.programs.table import NoRule
from oracle.programs.torch_calls import record
from oracle.subjects.torch import tensor


class Meant:
    """A reference that returned (output, backward), run on error arrays."""

    def __init__(self, output: Any, backward: Any, places: Sequence[int]) -> None:
        self.outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        self._backward, self._places = backward, places

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        if any(own is None for own in grad_outputs):
            raise NoRule("its reference takes a gradient for every output, and one of them got none")
        found = self._backward(*grad_outputs)
        found = found if isinstance(found, (tuple, list)) else (found,)
        return [found[place] if place < len(found) else None for place in self._places]


def by_reference(called: Called, inputs: Sequence[Held], arithmetic: WithErrors) -> Derived:
    """The reference applied to the arguments of the call; `inputs` are those of its tensors that have a gradient."""
    tensors: list[Held] = []
    replaced((called.args, dict(called.kwargs)), Held, tensors.append)
    places = [_place(own, tensors) for own in inputs]
    if any(own.is_complex for own in tensors):  # which error arrays hold in parts, and a reference does not
        return _recorded(called, tensors, inputs, arithmetic, None)
    lifted = [arithmetic.lifted(own.numbers) for own in tensors]
    try:
        made = _call(called, lifted)
    except Exception as refused:  # a reference that fails on error arrays is written in torch
        return _recorded(called, tensors, inputs, arithmetic, refused)
    if isinstance(made, tuple) and len(made) == 2 and callable(made[1]):
        return Meant(*made, places)
    return _recorded(called, tensors, inputs, arithmetic, None)


def _place(own: Held, tensors: Sequence[Held]) -> int:
    for place, other in enumerate(tensors):
        if (other.storage, other.geometry) == (own.storage, own.geometry):
            return place
    raise NoRule("its reference is called without one of its inputs")


def _call(called: Called, values: Sequence[Any]) -> Any:
    rest = iter(values)
    args, kwargs = replaced((called.args, dict(called.kwargs)), Held, lambda _: next(rest))
    return called.reference(*args, **kwargs)


def _recorded(
    called: Called, tensors: Sequence[Held], inputs: Sequence[Held], arithmetic: WithErrors, refused: Exception | None
) -> Derived:
    learning = [_place(own, tensors) for own in inputs]
    return Chosen(Run(_program(called, tensors, learning, refused), replace(arithmetic, opens=True)), learning)


def program_by_reference(called: Called, inputs: Sequence[Held]) -> tuple[Program, list[int]]:
    """The program of a reference in torch, and the places of these among its inputs. Raises: NoRule."""
    tensors: list[Held] = []
    replaced((called.args, dict(called.kwargs)), Held, tensors.append)
    learning = [_place(own, tensors) for own in inputs]
    return _program(called, tensors, learning, None), learning


def _program(called: Called, tensors: Sequence[Held], learning: Sequence[int], refused: Exception | None) -> Program:
    given = [_tensor(own).requires_grad_(place in learning) for place, own in enumerate(tensors)]

    def program(*values: torch.Tensor) -> list[torch.Tensor]:
        made = _call(called, values)
        if isinstance(made, tuple) and len(made) == 2 and callable(made[1]):
            raise NoRule(
                "its reference gives a pair in torch: write (output, backward) in NumPy, or give the output alone"
            )
        return [own for own in _pytree.tree_leaves(made) if isinstance(own, torch.Tensor)]

    try:
        made, _ = record(program, *given)
    except NoRule:
        raise
    except Exception as error:
        raise NoRule(f"its reference raises {type(error).__name__}: {error}") from refused
    return made


def _tensor(own: Held) -> torch.Tensor:
    made = tensor(own.numbers)
    return torch.view_as_complex(made) if own.is_complex else made


class Chosen:
    """A run restricted to the gradients of some of its inputs."""

    def __init__(self, run: Run, places: Sequence[int]) -> None:
        self._run, self._places, self.outputs = run, places, run.outputs

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        found = self._run.gradients(grad_outputs)
        return [found[place] for place in self._places]
