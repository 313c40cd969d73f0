"""Layers and operations are judged in threads while the backward pass goes on: the rows are the same, and no error is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info
from torch import nn

import oracle
from oracle.modules import step
from oracle.modules.workers import LARGE, MOST, Workers, on_one_thread


@pytest.fixture
def two() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.release()


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_large_layers_are_judged_beside_each_other(two: Workers) -> None:
    """Each of two waits for the other: one after the other they would never end."""
    both = threading.Barrier(2, timeout=60)
    running = [two.run(both.wait, LARGE) for _ in range(2)]
    assert {own.result() for own in running} == {0, 1}


@pytest.mark.parametrize(("threads", "size"), [(1, LARGE), (2, LARGE - 1)])
def test_without_a_gain_a_layer_is_judged_at_once(threads: int, size: int) -> None:
    made = Workers(threads)
    assert made.run(threading.get_ident, size).result() == threading.get_ident()
    made.release()


def test_no_more_is_judged_at_a_time_than_fits(two: Workers) -> None:
    """A layer that would be too much beside another waits for that one; one that is too large by itself does not."""
    first, second = threading.Event(), threading.Event()
    running = two.run(lambda: first.wait(60), MOST)
    threading.Timer(0.2, first.set).start()
    assert two.run(lambda: (running.done(), second.set()), LARGE).result()[0]
    assert second.is_set() and running.result()


def test_the_blas_has_one_thread_while_layers_are_judged(two: Workers) -> None:
    """Threads of several products at once would disturb each other; afterwards the user's own number holds again."""
    before = blas_threads()
    assert two.run(blas_threads, 1).result() == two.run(blas_threads, LARGE).result() == {1}
    two.release()
    assert blas_threads() == before


def test_calls_of_torch_in_a_hook_use_one_thread() -> None:
    """Its idle threads would wait actively; the user's number holds again afterwards, of a hook that fails too."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert on_one_thread(torch.get_num_threads)() == 1
        with pytest.raises(ZeroDivisionError):
            on_one_thread(lambda: 1 // 0)()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", [1, LARGE])
def test_an_error_of_the_judge_is_kept(two: Workers, size: int) -> None:
    def fails() -> None:
        raise ValueError("no rule")

    future = two.run(fails, size)
    with pytest.raises(ValueError, match="no rule"):
        future.result()


def net() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten())
    return made, torch.randn(4, 3, 40, 40)


class Attention(nn.Module):
    """Operations between two layers, of which views, a product and a choice hold what the layers made."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out, self.scale = nn.Linear(32, 96), nn.Linear(32, 32), nn.Parameter(torch.randn(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.into(x).chunk(3, -1)
        share = torch.softmax((q @ k.transpose(-1, -2)).tril() / 32**0.5, -1)
        return self.out(torch.relu(share @ v) * self.scale + x)


def attention() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Attention(), torch.randn(4, 64, 32, requires_grad=True)


@pytest.mark.parametrize("made", [net, attention])
def test_the_rows_are_those_of_one_thread(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[], tuple[nn.Module, torch.Tensor]]
) -> None:
    """In what order layers and operations are judged changes no number of a row, and no place of it."""
    module, x = made()
    monkeypatch.setattr("oracle.modules.workers.LARGE", 1)
    tables = []
    for threads in (1, 3):
        with monkeypatch.context() as within:
            within.setattr(step, "Workers", lambda _, own=threads: Workers(own))
            tables.append(oracle.check_module(module, x).table)
    one, three = tables
    same = ["layer", "quantity", "verdict", "n", "worst_index"]
    assert one[same].equals(three[same]) and set(one["verdict"]) == {"pass"}
    np.testing.assert_allclose(one["z_max"], three["z_max"], rtol=1e-6)


class Afterwards(Workers):
    """Judges nothing before the whole step has been made."""

    def __init__(self, threads: int) -> None:
        super().__init__(1)
        self.left: list[tuple[Future[Any], Callable[[], Any]]] = []

    def run(self, judge: Callable[[], Any], size: int) -> Future[Any]:
        if not size:
            return super().run(judge, size)
        self.left.append((Future(), judge))
        return self.left[-1][0]

    def release(self) -> None:
        for future, judge in self.left:
            future.set_result(judge())


def test_what_the_step_overwrites_is_judged_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation in a thread may be judged when the optimizer has long changed the parameter that it read."""
    module, x = attention()
    usual = oracle.check_module(module, x)
    made: list[Afterwards] = []

    def afterwards(threads: int) -> Workers:
        made.append(Afterwards(threads))
        return made[-1]

    monkeypatch.setattr(step, "Workers", afterwards)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    late = oracle.check_module(module, x, optimizer=optimizer)
    operations = usual.table[usual.table["layer_type"].str.startswith("aten.")]
    assert len(made[0].left) >= len(set(operations["layer"])) and late.passed
    again = late.table[late.table["layer_type"].str.startswith("aten.")]
    assert list(again["layer"]) == list(operations["layer"]) and list(again["z_max"]) == list(operations["z_max"])


def test_a_wrong_layer_is_found_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays from which a row was made stay as they were, although the module goes on."""
    module, x = net()
    right = torch.nn.functional.batch_norm
    monkeypatch.setattr("oracle.modules.workers.LARGE", 1)
    monkeypatch.setattr(torch.nn.functional, "batch_norm", lambda *args: 2 * right(*args))
    monkeypatch.setattr(step, "Workers", lambda _: Workers(2))
    report = oracle.check_module(module, x)
    assert ("1", "output") in {(row.layer, row.quantity) for row in report.blame}
    assert "2 times the right value" in str(report)


def test_a_judge_that_fails_in_a_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the judge is no finding about the module: it comes out as it is."""

    def fails(*_: object) -> None:
        raise RuntimeError("the judge is broken")

    module, x = net()
    monkeypatch.setattr(step, "judged_part", fails)
    monkeypatch.setattr(step, "Workers", lambda _: Workers(2))
    with pytest.raises(RuntimeError, match="the judge is broken"):
        oracle.check_module(module, x)
