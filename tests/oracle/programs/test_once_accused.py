"""Honest programs of torch that were once accused, each for a kind of error, and a mistake of the same size beside each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import oracle
from oracle.report.report import Report
from oracle.subjects.torch import from_torch

RANDOM = np.random.default_rng(7)


def judged(function: Callable[..., Any], dtype: str, factor: float = 1.0, **arrays: Any) -> Report:
    """Torch's own run of a function, its gradients times a factor."""
    honest = from_torch(function)

    def run(*given: Any) -> Any:
        output, backward = honest(*given)
        return output, lambda g: tuple(None if own is None else own * factor for own in backward(g))

    run.library = "torch"  # type: ignore[attr-defined]
    return oracle.check_op(function, run, dtypes=(dtype,), **arrays)


def verdicts(report: Report) -> dict[str, str]:
    return dict(zip(report.table["quantity"], report.table["verdict"], strict=True))


def repeated_maximum(x: torch.Tensor) -> torch.Tensor:
    return torch.cos(x.expand(3)).amax(0, keepdim=True)


def test_equal_maxima_share_one_gradient() -> None:
    """Rounding could set copies of a number apart, but together they still receive the gradient once."""
    x = np.array([0.7])
    assert verdicts(judged(repeated_maximum, "float32", x=x))["grad_input"] == "undecided"
    assert verdicts(judged(repeated_maximum, "float32", 3.0, x=x))["grad_input"] == "wrong"


def deviation_of_noise(x: torch.Tensor) -> torch.Tensor:
    """Of zeros, in place of which float16 has about 1e-6: a quotient by their deviation overflows."""
    return torch.nn.functional.layer_norm(x, (1,)).std(0)


def test_a_deviation_that_may_be_zero_has_any_gradient() -> None:
    """It is 0 where the deviation is 0, and infinite or NaN just beside it."""
    x = np.array([[0.3374], [-0.2048], [-0.3052], [-0.6333], [0.0253]])
    assert verdicts(judged(deviation_of_noise, "float16", x=x))["grad_input"] == "undecided"


def test_a_deviation_that_is_zero_has_none() -> None:
    """In every implementation, so that nothing is allowed there."""
    x = np.full((4, 2), 0.5)
    found = judged(lambda x: x.std(0), "float32", np.nan, x=x)
    assert verdicts(found)["grad_input"] == "wrong"
