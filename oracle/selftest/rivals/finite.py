"""torch.autograd.gradcheck as its users run it: on a custom autograd.Function, in float64, with its own tolerances."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.case.names import is_buffer
from oracle.selftest.plant import Implementation
from oracle.trace import Key, Trace

# Inputs and output with more elements than this are checked in fast mode, as in torch's own tests.
SLOW = 64


class NotDifferentiable(Exception):
    """The case has no function to differentiate, such as an update by itself."""


def refuses(run: Implementation, case: Case) -> bool:
    """Whether gradcheck refuses the gradients. Raises: NotDifferentiable."""
    own = replace(case, steps=1, optimizer=None, optimizer_state={})
    if not own.inputs or not own.inputs[0].size or own.inputs[0].dtype.kind != "f":
        raise NotDifferentiable(case.name)
    names = [name for name, value in own.params.items() if value.dtype.kind == "f" and not is_buffer(name)]

    def changed(tensors: tuple[torch.Tensor, ...], **fields: Any) -> Case:
        x, *params = (np.array(tensor.detach().numpy()) for tensor in tensors)
        given = {**own.params, **dict(zip(names, params, strict=True))}
        return replace(own, inputs=(x, *own.inputs[1:]), params=given, **fields)

    class Checked(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(*tensors)
            return torch.from_numpy(np.array(_output(own, run(changed(tensors)))))

        @staticmethod
        def backward(ctx: Any, dy: torch.Tensor) -> Any:
            tensors = ctx.saved_tensors
            upstream = dy.detach().numpy()
            fields = {} if own.loss is not None else {"grad_outputs": (np.array(upstream),)}
            trace = run(changed(tensors, **fields))
            scale = upstream if own.loss is not None else 1.0
            return tuple(torch.from_numpy(np.array(grad * scale)) for grad in _grads(own, trace, names, tensors))

    inputs = tuple(
        torch.from_numpy(np.array(a)).requires_grad_() for a in (own.inputs[0], *(own.params[n] for n in names))
    )
    size = sum(tensor.numel() for tensor in inputs) + _output(own, run(own)).size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of inputs whose memory overlaps
        return not torch.autograd.gradcheck(Checked.apply, inputs, fast_mode=size > SLOW, raise_exception=False)


def _last(case: Case) -> str:
    if case.loss is not None:
        return "loss"
    if not case.layers:
        raise NotDifferentiable(case.name)
    return case.layers[-1].name or str(len(case.layers) - 1)


def _first(case: Case) -> str:
    return (case.layers[0].name or "0") if case.layers else "loss"


def _output(case: Case, trace: Trace) -> Array:
    return trace.arrays[Key(0, _last(case), "output")]


def _grads(case: Case, trace: Trace, names: list[str], tensors: tuple[torch.Tensor, ...]) -> list[Array]:
    found = [trace.arrays[Key(0, _first(case), "grad_input")]]
    for name, tensor in zip(names, tensors[1:], strict=True):
        layer, _, own = name.rpartition(".")
        found.append(trace.arrays.get(Key(0, layer, f"grad.{own}"), np.zeros(tuple(tensor.shape))))
    return found
