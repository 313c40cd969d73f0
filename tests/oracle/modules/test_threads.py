"""The calls of a node are found by its number, and autograd counts the nodes of each thread by themselves, from 0."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
import torch
from torch import nn

import oracle

T = TypeVar("T")
FIRST = """
import torch, oracle
from torch import nn

report = oracle.check_module({}, torch.tensor([[1, 2], [3, 4]]))
assert report.passed and report.coverage.operations == 1, report
"""


class Halved(torch.autograd.Function):
    """An embedding whose backward gives half of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return weight[x]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return None, torch.zeros_like(weight).index_put((x,), grad / 2, accumulate=True)


class Table(nn.Module):
    """A layer whose first operation reads a parameter."""

    def __init__(self, read: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.read, self.weight = read, nn.Parameter(torch.randn(11, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(x, self.weight).tanh()


def in_a_new_thread(call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result()


@pytest.mark.parametrize("read", [lambda x, weight: weight[x], nn.functional.embedding])
def test_the_first_operation_of_a_thread_is_judged(read: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """Its node has the number 0."""
    net, x = nn.Sequential(Table(read), nn.Linear(6, 3)), torch.tensor([[1, 2], [3, 4]])
    report = in_a_new_thread(lambda: oracle.check_module(net, x))
    assert report.passed and report.coverage.operations == 1, report


def test_a_wrong_first_operation_of_a_thread_is_caught() -> None:
    """A custom function with the number 0 is found, and blamed."""
    net, x = Table(Halved.apply), torch.tensor([[1, 2], [3, 4]])
    report = in_a_new_thread(lambda: oracle.check_module(net, x))
    assert [(own.layer, own.quantity) for own in report.blame] == [("Halved", "grad.weight")], report


def test_the_first_operation_of_a_process_is_judged() -> None:
    """Nothing that this package imports makes a node before."""
    made = "nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 3))"
    subprocess.run([sys.executable, "-c", FIRST.format(made)], check=True)
