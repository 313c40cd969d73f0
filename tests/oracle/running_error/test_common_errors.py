"""Errors with a common cause: what one rounded mean does to everything from which it is subtracted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.judging.case_rows import judge
from oracle.judging.rows import DISCREPANCIES, WRONG
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.common_errors import RUNS, moved, with_changes
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject

N = 4096


def in_a_loop(x: Array) -> Array:
    """The sums over the last axis, one term after the other in x's own precision."""
    return np.cumsum(x, axis=-1, dtype=x.dtype)[..., -1:]


def layer_norm_in_a_loop(x: Array, weight: Array, bias: Array) -> Any:
    """A right layer norm whose sums are plain loops, and its gradients."""
    n = x.shape[-1]
    deviation = x - in_a_loop(x) / n
    scale = 1 / np.sqrt(in_a_loop(deviation * deviation) / n + 1e-5)
    x_hat = deviation * scale

    def backward(g: Array) -> tuple[Array, Array, Array]:
        h = g * weight
        grad = (h - in_a_loop(h) / n - x_hat * (in_a_loop(h * x_hat) / n)) * scale
        return grad, (g * x_hat).sum(0), g.sum(0)

    return x_hat * weight + bias, backward


def by_hand(x: Any, weight: Any, bias: Any) -> Any:
    deviation = x - x.mean(-1, keepdim=True)
    return deviation / torch.sqrt((deviation * deviation).mean(-1, keepdim=True) + 1e-5) * weight + bias


def given(offset: float) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    arrays = {"x": rng.standard_normal((3, N)) + offset, "weight": rng.uniform(0.5, 1.5, N), "bias": np.zeros(N)}
    arrays["grad_output"] = rng.uniform(0, 3, (3, N))
    return {name: torch.tensor(own) for name, own in arrays.items()}


@pytest.mark.parametrize("reference", [by_hand, "layer_norm"])
@pytest.mark.parametrize("offset", [10.0, 100.0])
def test_a_layer_norm_of_plain_loops_is_right_far_from_zero(reference: Any, offset: float) -> None:
    """The error of its mean, the same for all numbers of a row, adds up in Σ h x̂. A small mistake is seen all the same."""
    options: dict[str, Any] = given(offset) | ({} if callable(reference) else {"normalized_shape": (N,)})
    report = oracle.check_op(reference, layer_norm_in_a_loop, dtypes=("float64",), **options)
    assert report.passed, report

    def wrong(x: Array, weight: Array, bias: Array) -> Any:
        y, backward = layer_norm_in_a_loop(x, weight, bias)
        return y, lambda g: (backward(g)[0] * (1 + 1e-8), *backward(g)[1:])

    found = oracle.check_op(reference, wrong, dtypes=("float64",), **options).table
    assert set(found[found.verdict == WRONG].quantity) == {"grad_input"}


@pytest.mark.parametrize("seed", range(6))
def test_a_group_norm_knows_the_error_of_its_stored_mean(seed: int) -> None:
    """In float16 torch stores the mean of small numbers in a few bits; the gradient of the weight adds up what that costs."""
    rng = np.random.default_rng(seed)
    case = Case(
        "group-norm",
        dtype="float16",
        layers=(Spec("GroupNorm", {"num_groups": 2, "num_channels": 4}, name="0"),),
        params={"0.weight": np.float16([-4, 4, 3, 1]), "0.bias": np.zeros(4, np.float16)},
        inputs=((rng.standard_normal((3, 4, 6, 11)) * 5e-6).astype(np.float16),),
        grad_outputs=(rng.uniform(0, 3, (3, 4, 6, 11)).astype(np.float16),),
    )
    for subject, reference in ((torch_subject, refbp_subject), (refbp_subject, torch_subject)):
        found = [row for row in judge(case, subject.run(case), reference) if row.quantity == "grad.weight"]
        assert found and not {row.verdict for row in found} & set(DISCREPANCIES)


def test_moves_tell_the_spread_of_a_sum_of_what_has_one_cause() -> None:
    """Σ g (x - μ), with g of one sign: the running error alone is √n too small, and the moves are right to a small factor."""
    rng = np.random.default_rng(0)
    rows, n = 200, 1024
    x = (rng.standard_normal((rows, n)) + 100).astype(np.float32)
    g = rng.uniform(0, 1, (rows, n)).astype(np.float32)
    exact = np.sum(g.astype(float) * (x - np.mean(x.astype(float), -1, keepdims=True)), -1)
    error = np.sum(g.astype(float) * (x - (in_a_loop(x) / np.float32(n)).astype(float)), -1) - exact

    def compute(model: ErrorModel) -> ErrorArray:
        wide, factor = ErrorArray.exact(x, model), ErrorArray.exact(g, model)
        total: ErrorArray = np.sum(factor * (wide - np.mean(wide, axis=-1, keepdims=True)), axis=-1)
        return total

    model = ErrorModel(np.dtype("float32"))
    alone = compute(model)
    together = with_changes(alone, [compute(own) for own in moved(model)])
    assert np.abs(error / alone.sigma).max() > LAMBDA
    rms = float(np.sqrt(np.mean(np.square(error / together.sigma))))
    assert 0.3 < rms < 1.5 and np.abs(error / together.sigma).max() < LAMBDA
    np.testing.assert_array_equal(together.value, alone.value)


def test_nothing_is_computed_again_where_no_error_is_common() -> None:
    model = ErrorModel(np.dtype("float32"))
    x = ErrorArray.exact(np.random.default_rng(0).standard_normal((4, 64)), model)
    assert not list(moved(model))
    x - np.mean(x, axis=-1, keepdims=True)
    assert not list(moved(model))
    shifted = x + 100.0
    shifted - np.mean(shifted, axis=-1, keepdims=True)
    assert len(list(moved(model))) == RUNS
    assert with_changes(x, []) is x
