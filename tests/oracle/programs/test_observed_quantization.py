"""Fake quantization whose scale comes from moving averages of the least and the largest number, as QAT in torch has it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

import oracle

# The warning is torch's own, about its default observers.
pytestmark = pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max", "ignore:torch.ao.quantization")
DATA = {
    "normal": lambda x: x,
    "positive": torch.exp,
    "negative": lambda x: -torch.exp(x),
    "rows of one sign": lambda x: x * torch.tensor([[1.0], [0.0], [1.0]]) + torch.tensor([[0.0], [9.0], [-9.0]]),
    "zeros": torch.zeros_like,
}


@pytest.mark.parametrize("backend", ["fbgemm", "qnnpack"])
def test_quantization_aware_training_is_judged(backend: str) -> None:
    """torch's default observer had no rule, so that nothing behind a layer's weight was judged."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).train()
    net.qconfig = quantization.get_default_qat_qconfig(backend)  # type: ignore[assignment]
    net = quantization.prepare_qat(net)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    target = torch.randint(0, 3, (5,))
    report = oracle.check_module(net, torch.randn(5, 8), nn.CrossEntropyLoss(), target, optimizer, steps=3)
    assert report.passed and report.coverage.gradients == 1, str(report)


def observed(x: Tensor, by_row: bool, symmetric: bool, rate: float, before: Tensor | None) -> Tensor:
    """A call after another that has observed these numbers, or the first call."""
    rows = (x if before is None else before).detach().reshape(x.shape[0] if by_row else 1, -1)
    least, most = (
        (-(-rows).amax(1), rows.amax(1)) if before is not None else (rows[:, 0] + torch.inf, rows[:, 0] - torch.inf)
    )
    on, scale, point = (
        torch.ones(1, dtype=torch.int64),
        torch.ones(len(rows)),
        torch.zeros(len(rows), dtype=torch.int32),
    )
    last, axis = 127 if symmetric else 255, 0 if by_row else -1
    return torch.fused_moving_avg_obs_fake_quant(
        x, on, on, least, most, scale, point, rate, last - 255, last, axis, by_row, symmetric
    )


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_chosen_scales(name: str, by_row: bool, symmetric: bool) -> None:
    """Of numbers of both signs, of one, and of zeros; another rate of the average gives another scale."""
    for seed in range(6):
        torch.manual_seed(seed)
        x, before = (DATA[name](torch.randn(3, 40)) for _ in range(2))
        given = x.requires_grad_(), by_row, symmetric
        fn = partial(observed, before=before if seed else None)
        y, expected = fn(*given, 0.125), oracle.expect(fn, *given, 0.125)
        oracle.assert_close(y, expected.output)
        (grad,) = torch.autograd.grad(y, x, torch.as_tensor(expected.grad_output, dtype=x.dtype))
        oracle.assert_close(grad, expected.grads[0])
        if name == "normal" and seed:
            with pytest.raises(oracle.Discrepancy):
                oracle.assert_close(fn(*given, 0.25), expected.output)
