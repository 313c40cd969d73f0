"""A torch function or module as a program of its inputs and parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from oracle.case.arrays import Array
from oracle.case.nested import leaves, mapped
from oracle.modules.nested import tensors_in
from oracle.ops.inputs import is_array
from oracle.programs.program import Program
from oracle.programs.torch_calls import record
from oracle.subjects.torch import can_learn, tensor


def recorded(fn: Callable[..., Any], inputs: Sequence[Any], dtype: str | None) -> tuple[Program, list[str]]:
    """The program recorded in this dtype, and the names of its parameters, which are its last inputs.

    The module and the random generators are left unchanged.
    """
    kind = None if dtype is None else getattr(torch, dtype)

    def cast(own: torch.Tensor) -> torch.Tensor:
        copy = own.detach()
        if kind is None or not can_learn(copy):
            return copy
        return copy.to(kind if copy.is_floating_point() else kind.to_complex())

    if isinstance(fn, torch.jit.ScriptModule):
        raise ValueError("a scripted module is not recorded: give the module of which torch.jit.script made it")
    given = [cast(_tensor(own)) for own in leaves(inputs) if is_array(own)]
    parameters: dict[str, torch.Tensor] = {}
    buffers: dict[str, torch.Tensor] = {}
    if isinstance(fn, torch.nn.Module):
        parameters = {name: cast(own) for name, own in fn.named_parameters()}
        buffers = {name: cast(own).clone() for name, own in fn.named_buffers()}

    def called(*tensors: torch.Tensor) -> list[torch.Tensor]:
        own = iter(tensors)
        args = mapped(tuple(inputs), lambda value: next(own) if is_array(value) else value)
        if isinstance(fn, torch.nn.Module):
            state = {**dict(zip(parameters, tensors[len(given) :], strict=True)), **buffers}
            made = torch.func.functional_call(fn, state, args)
        else:
            made = fn(*args)
        found = list(tensors_in(made))
        if not found:
            raise ValueError(f"the program returns {type(made).__name__}: it has to return a tensor, or several")
        return found

    learning = [own.requires_grad_(can_learn(own)) for own in [*given, *parameters.values()]]
    with torch.random.fork_rng(devices=[]):
        program, _ = record(called, *learning)
    return program, list(parameters)


def _tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    array: Array = value
    return tensor(array)
