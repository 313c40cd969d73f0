"""Functions of torch tensors in the form that `oracle.check_op` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from oracle.case.arrays import Array, Constant
from oracle.case.nested import leaves
from oracle.subjects.torch import can_learn, shared


def from_torch(fn: Callable[..., Any]) -> Callable[..., tuple[Any, Callable[..., tuple[Any, ...]]]]:
    """Turns a function of torch tensors, such as the `apply` of a torch.autograd.Function, into fn(x, …) -> (y, backward) for
    `oracle.check_op`. The function is called with tensors, and autograd computes the backward. If it returns several tensors,
    also nested ones, the backward takes a gradient for each of floating-point or complex numbers. `check_op` also differentiates
    it by each array alone, while the others require no gradient."""

    def differentiable(*arrays: Array | None) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
        given = [None if own is None else shared(own) for own in arrays]
        learnt = [
            own.requires_grad_()
            for own, array in zip(given, arrays, strict=True)
            if own is not None and can_learn(own) and not isinstance(array, Constant)
        ]
        with torch.enable_grad():
            output = fn(*given)
        made = [own for own in leaves(output) if isinstance(own, torch.Tensor) and can_learn(own)]
        if not any(isinstance(own, torch.Tensor) for own in leaves(output)):
            raise TypeError(f"a function of tensors returns a tensor, or several; got {type(output).__name__}")

        def backward(*grad_outputs: Array) -> tuple[Any, ...]:
            pairs = list(zip(made, map(shared, grad_outputs), strict=True))
            pairs = [own for own in pairs if own[0].requires_grad] or pairs  # if none does, torch says so
            outputs, upstream = [own for own, _ in pairs], [own for _, own in pairs]
            grads = torch.autograd.grad(outputs, learnt, upstream, allow_unused=True)
            found = iter(torch.zeros_like(own) if g is None else g for own, g in zip(learnt, grads, strict=True))
            return tuple(next(found) if own is not None and own.requires_grad else None for own in given)

        return output, backward

    def one_by_one(*arrays: Array | None) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
        output, together = differentiable(*arrays)

        def backward(*grad_outputs: Array) -> tuple[Any, ...]:
            grads = list(together(*grad_outputs))
            for place, array in enumerate(arrays):
                if grads[place] is not None and array is not None:
                    with suppress(Exception):  # a function may need several: it then says so by itself
                        grads[place] = _alone(differentiable, arrays, place, grad_outputs)
            return tuple(grads)

        return output, backward

    one_by_one.__name__ = getattr(fn, "__name__", type(fn).__name__)
    differentiable.one_by_one = one_by_one  # type: ignore[attr-defined]
    differentiable.__name__ = getattr(fn, "__name__", type(fn).__name__)
    differentiable.library = "torch"  # type: ignore[attr-defined]  # in which its reference is written too
    return differentiable


def _alone(differentiable: Any, arrays: Sequence[Array | None], place: int, grad_outputs: Sequence[Array]) -> Any:
    """The gradient of one array, while the others require none; zeros where no output depends on it."""
    given = [own if number == place or own is None else own.view(Constant) for number, own in enumerate(arrays)]
    output, backward = differentiable(*given)
    learns = any(isinstance(made, torch.Tensor) and made.requires_grad for made in leaves(output))
    return backward(*grad_outputs)[place] if learns else np.zeros_like(arrays[place])
