"""Functions of torch.jit.script inside a module. From the third call on, torch differentiates parts of one as one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def plain(x: Tensor) -> Tensor:
    return x.exp() * 2


def called_nowhere_else(x: Tensor) -> Tensor:
    return x.cosh() * 2


def with_a_constant(x: Tensor) -> Tensor:
    y = x.exp()
    return y * 2 + (y * x).detach() * x


def with_a_mask(x: Tensor) -> Tensor:
    return F.dropout(x.sin(), 0.5) * x


def with_a_loop(x: Tensor) -> Tensor:
    y = x * 2
    if bool(y.sum() > 100):
        y = y.tanh()
    for _ in range(3):
        y = y * y.sigmoid()
    return y


def leaf(x: Tensor) -> Tensor:
    return x.sin() * 3


def forking(x: Tensor) -> Tensor:
    other = torch.jit.fork(leaf, x)
    return x.cos() + torch.jit.wait(other)


class Model(nn.Module):
    """A function between two operations, of which the last has a parameter."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.weight = body, nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * 3) * self.weight


class WrongGraph(Model):
    """Gives a gradient of the function's node that is a hundredth too large."""

    def forward(self, x: Tensor) -> Tensor:
        made = self.body(x * 3)
        assert made.grad_fn is not None
        made.grad_fn.register_hook(lambda gradients, _: (gradients[0] * 1.01,))
        return made * self.weight


def scripted(function: Callable[[Tensor], Tensor]) -> Any:
    return torch.jit.script(function)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("function", [plain, with_a_constant, with_a_mask, with_a_loop])
def test_a_scripted_function_is_judged_in_every_call(function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    """Its calls then read detached tensors, which autograd does not follow. A detach of its own is one all the same."""
    net, x = Model(scripted(function)).to(dtype), torch.randn(5, 4, dtype=dtype, requires_grad=True)
    for _ in range(3):
        net(x)
    report = oracle.check_module(net, x, steps=2)
    assert report.passed and report.coverage.operations == 1, report
    assert "a graph of torch.jit.script" in set(report.table["layer_type"])


def test_a_scripted_function_is_judged_before_and_after_torch_has_made_a_graph_of_it() -> None:
    """In one check of several steps with an optimizer, its operations are judged first, and its graph then."""
    net, x = Model(scripted(called_nowhere_else)).double(), torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    report = oracle.check_module(net, x, optimizer=torch.optim.SGD(net.parameters(), 0.1), steps=4)
    assert report.passed and report.coverage.operations == 1, report
    assert {"aten.cosh", "a graph of torch.jit.script"} <= set(report.table["layer_type"])


def test_a_scripted_function_with_a_wrong_gradient_is_caught() -> None:
    """Its only node is blamed."""
    net, x = WrongGraph(scripted(plain)).double(), torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        net(x)
    report = oracle.check_module(net, x)
    assert [(own.layer, own.quantity) for own in report.blame] == [("scripted", "grad_input")], report


@pytest.mark.parametrize("calls", [0, 3])
def test_calls_of_other_threads_do_not_hide_those_of_this_one(calls: int) -> None:
    """The calls of torch.jit.fork are unjudged and say why, and the operations around them are judged."""
    net, x = Model(scripted(forking)).double(), torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    for _ in range(calls):
        net(x)
    for _ in range(1000):  # so that the numbers of this thread's nodes are others
        x * 2
    report = oracle.check_module(net, x)
    reasons = {own.reason for own in report.coverage.unjudged}
    assert reasons == {"another thread ran calls here, and which belong to this operation is not known"}, report
    judged = report.table[report.table["verdict"] == "pass"]
    products = judged[judged["layer_type"] == "aten.mul"]
    assert products["layer"].nunique() > 1 and report.coverage.parameters == 1, report.table
