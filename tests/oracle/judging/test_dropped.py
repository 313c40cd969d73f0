"""What a dropout kept is told from what came out of it, also where that is not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import oracle
from oracle import Case, Spec
from oracle.judging.masks import channel_positions
from oracle.running_error import ErrorArray, ErrorModel


def infinite(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.where(torch.rand(shape) < 0.4, float("inf"), torch.randn(shape))


@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D input")
@pytest.mark.parametrize(
    ("module", "x"),
    [
        (torch.nn.Dropout(0.5), infinite(20, 20)),
        (torch.nn.Dropout(1.0), infinite(9, 9)),
        (torch.nn.Dropout(0.5), torch.full((9, 9), float("nan"))),
        (torch.nn.AlphaDropout(0.5), infinite(20, 20)),
        (torch.nn.Dropout2d(0.5), torch.randn(6, 8, 11)),
        (torch.nn.Dropout1d(0.5), torch.randn(8, 11)),
    ],
    ids=str,
)
def test_a_module_that_drops_is_judged_by_its_own_mask(module: torch.nn.Module, x: torch.Tensor) -> None:
    """Infinity times zero is NaN, kept or not it is no discrepancy; three dimensions are a batch to Dropout2d alone."""
    report = oracle.check_module(torch.nn.Sequential(torch.nn.Identity(), module), x.requires_grad_())
    assert not report.blame, report


def test_the_positions_of_a_channel() -> None:
    """Those behind the channels."""
    assert [channel_positions("Dropout2d", ndim) for ndim in (3, 4)] == [(2,), (2, 3)]
    assert [channel_positions("Dropout1d", ndim) for ndim in (2, 3)] == [(1,), (2,)]
    assert [channel_positions("Dropout3d", ndim) for ndim in (4, 5)] == [(1, 2, 3), (2, 3, 4)]


def test_a_product_with_a_mask_is_a_product() -> None:
    """An exact zero where the mask says so, but NaN of what is not finite."""
    x = ErrorArray(np.array([1.5, 2.5, np.inf, np.nan, np.inf]), ErrorModel(np.dtype("float32")))
    with np.errstate(invalid="ignore"):
        made = x * np.array([True, False, False, True, True])
    np.testing.assert_array_equal(made.value, [1.5, 0.0, np.nan, np.nan, np.inf])


def test_what_is_dropped_altogether_was_tested() -> None:
    """A zero that a mask asks for is the whole truth, of an array without dimensions too."""
    case = oracle.Case(
        "dropped",
        layers=(oracle.Spec("Dropout", {"p": 0.3}),),
        inputs=(np.array(1.5),),
        grad_outputs=(np.array(0.5),),
        masks={"0": np.array(False)},
    )
    report = oracle.run("refbp", reference="refbp", cases=[case])
    assert report.passed and set(report.table["verdict"]) == {"pass"}


@pytest.mark.parametrize("subject", ["refbp", "torch"])
def test_a_number_that_is_kept_is_scaled_by_a_rounded_factor(subject: str) -> None:
    """A gradient of 0.5 multiplies exactly, so that the rounding of 1 / (1 - p) is all of the error."""
    case = Case("number", layers=(Spec("Dropout", {"p": 0.3}),), inputs=(np.array(1.5),), grad_outputs=(np.array(0.5),))
    oracle.run(subject, cases=[case]).raise_for_discrepancy()
