"""Classes that derive from a norm of torch.nn and compute it in a forward of their own: their running statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import oracle


class OwnBatchNorm(torch.nn.BatchNorm2d):
    """As it stands in public projects: the batch's statistics by hand, the running ones moved in place."""

    unbiased = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        with torch.no_grad():
            n = x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1) if self.unbiased else var, self.momentum)
        x = (x - mean[:, None, None]) * (var[:, None, None] + self.eps).rsqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Biased(OwnBatchNorm):
    unbiased = False


class Activated(Biased):
    """Another function, whose statistics are its own affair."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


class OwnInstanceNorm(torch.nn.InstanceNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


def buffers(report: oracle.Report) -> list[Any]:
    table = report.table[report.table.quantity.str.startswith("buffer.")]
    return table[["quantity", "verdict", "cause_name"]].values.tolist()


def test_statistics_by_another_rule_are_wrong_and_named() -> None:
    """The layer's output is the norm's to the last digit, and nothing else looks at its buffers."""
    report = oracle.check_module(torch.nn.Sequential(Biased(2)).double(), torch.randn(3, 2, 6, 6).double())
    assert not report.passed
    assert buffers(report) == [
        ["buffer.running_mean", "pass", ""],
        ["buffer.running_var", "wrong", "biased_running_variance"],
    ]


@pytest.mark.parametrize("made", [OwnBatchNorm(2), OwnBatchNorm(2, momentum=0.3)], ids=["default", "momentum"])
@pytest.mark.parametrize("training", [True, False])
def test_statistics_by_the_norms_own_rule_pass(made: torch.nn.Module, training: bool) -> None:
    """In every step, and in evaluation, where they stand still."""
    module = torch.nn.Sequential(made).double().train(training)
    made.running_mean.fill_(0.3)
    report = oracle.check_module(module, torch.randn(3, 2, 6, 6).double(), steps=2)
    assert report.passed and [verdict for _, verdict, _ in buffers(report)] == ["pass"] * 4


def test_an_instance_norm_with_statistics_is_one_of_them() -> None:
    own = OwnInstanceNorm(2, affine=True, track_running_stats=True)
    report = oracle.check_module(torch.nn.Sequential(own).double(), torch.randn(3, 2, 6).double())
    assert report.passed and len(buffers(report)) == 2


@pytest.mark.parametrize("made", [Activated(2), OwnBatchNorm(2, track_running_stats=False)], ids=["other", "none"])
def test_what_is_another_function_or_keeps_nothing_is_not_held_to_it(made: torch.nn.Module) -> None:
    """A name says nothing about what a class is meant to keep; only that it computes the norm does."""
    if made.running_mean is None:
        made.eval()
    report = oracle.check_module(torch.nn.Sequential(made).double(), torch.randn(3, 2, 6, 6).double())
    assert report.passed and buffers(report) == []


class Reversed(torch.nn.Module):
    """A norm that keeps running statistics with the momentum on the wrong side."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("scale", torch.ones(4))
        self.mean: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(0)
        self.mean = 0.1 * self.mean + 0.9 * mean.detach()
        self.count += 1
        return (x - mean) * self.scale


def test_buffers_that_nothing_judges_are_named() -> None:
    """Nobody knows what a module's own buffers should become; the report passed, and did not say so."""
    report = oracle.check_module(Reversed(), torch.randn(6, 4, requires_grad=True))
    assert str(report).endswith("; the changes of these buffers are not judged: mean, count")
    for net in (torch.nn.BatchNorm1d(4), torch.nn.Sequential(torch.nn.BatchNorm1d(4))):
        assert "buffers" not in str(oracle.check_module(net, torch.randn(6, 4, requires_grad=True)))
