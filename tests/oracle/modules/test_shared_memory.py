"""check_module does not copy parameters that are copied anyway, nor gradients that are judged where autograd holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.case.arrays import Array
from oracle.modules.capture import Capture
from oracle.modules.untouched import untouched
from oracle.subjects.torch import array


def captured(layer: torch.nn.Module, kept: dict[int, torch.Tensor]) -> dict[str, Array]:
    capture = Capture({}, lambda call: None, lambda tensor, copy: None, kept=kept)
    with capture.of(layer):
        layer(torch.randn(2, 3))
    return capture.calls[0].state


def test_a_parameter_is_copied_once() -> None:
    """The copy from which it is restored serves as the record of the call, as long as it has the same bits."""
    layer = torch.nn.Linear(3, 2)
    with untouched(layer, None, []) as kept, torch.no_grad():
        state = captured(layer, kept)
        assert all(np.shares_memory(state[name], array(kept[id(own)])) for name, own in layer.named_parameters())
        layer.weight[0, 0] = -0.0
        kept[id(layer.weight)][0, 0] = 0.0
        state = captured(layer, kept)
        assert not np.shares_memory(state["weight"], array(kept[id(layer.weight)]))
        assert np.signbit(state["weight"][0, 0])


def test_a_parameter_that_changed_before_the_call_is_judged_as_it_was_then() -> None:
    """Also behind autograd's back, as by `data`."""

    class Growing(torch.nn.Linear):
        pass

    layer = Growing(3, 2)
    layer.register_forward_pre_hook(lambda own, args: own.weight.data.mul_(2))
    assert oracle.check_module(torch.nn.Sequential(layer), torch.randn(4, 3)).passed


class Doubled(torch.autograd.Function):
    """A linear layer with a wrong gradient of its weight."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, weight = ctx.saved_tensors
        return grad @ weight, 2 * grad.T @ x, grad.sum(0)


def test_a_wrong_gradient_is_explained_after_its_memory_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook overwrites it as soon as it has been added to the parameter."""
    layer = torch.nn.Linear(3, 2)

    def overwrite(own: torch.Tensor) -> None:
        assert own.grad is not None
        own.grad.fill_(7.0)

    layer.weight.register_post_accumulate_grad_hook(overwrite)  # type: ignore[no-untyped-call]
    assert not oracle.check_module(layer, torch.randn(4, 3)).blame
    monkeypatch.setattr(torch.nn.functional, "linear", Doubled.apply)
    (blame,) = oracle.check_module(layer, torch.randn(4, 3)).blame
    assert (blame.quantity, blame.cause_name) == ("grad.weight", "factor"), blame
