"""Findings stay true: each reproducer still shows what its page says, and each mark in the code has a page."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.judging.known import FINDINGS, Finding, with_known
from oracle.judging.rows import CONVENTION, WRONG, Row
from oracle.selftest.models import architectures
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Trace

from .. import planted

PAGES = sorted((Path(__file__).parents[3] / "reports" / "findings").glob("*.md"))


@pytest.mark.filterwarnings("ignore:index_reduce.. is in beta")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_reproducer_runs(page: Path) -> None:
    """When it fails, the implementation has been mended: take the finding and its mark away."""
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    if shutil.which("g++") is None and any(compiled in code for compiled in ("torch.compile(", "mlx import nn")):
        pytest.skip("inductor and MLX's compiled functions need g++, which is not installed")
    if "from transformers" in code:
        architectures.torchvision_loads()
    exec(compile(code, str(page), "exec"), {})


def test_every_mark_has_its_page() -> None:
    """What a report points to is there."""
    assert {finding.report for finding in FINDINGS} <= {page.stem for page in PAGES}


def row(**changes: object) -> Row:
    result = Row("case", "float64", 0, "0", "Hardsigmoid", "grad_input", "local", WRONG, max_rel=2.0**-25, max_abs=1e-8)
    return replace(result, **changes)  # type: ignore[arg-type]


def test_a_mark_excuses_only_what_it_explains() -> None:
    """The known error is a convention; anything larger, NaN for a number, elsewhere, or of another implementation stays wrong."""
    rows = [row(), row(max_rel=1e-3), row(max_abs=math.inf), row(quantity="output"), row(dtype="float32")]
    marked = with_known(rows, {"refbp", "torch"})
    assert [entry.verdict for entry in marked] == [CONVENTION, WRONG, WRONG, WRONG, WRONG]
    assert repr(with_known([row()], {"refbp", "mine"})) == repr([row()])  # NaN differs from itself


def test_a_nan_is_known_beside_numbers_that_rounding_explains() -> None:
    """A tiny number in float16 may be off by a large share of itself, within its tolerance, so it needs no excuse.

    One outside has none, and neither has a wrong shape, of which nothing was measured.
    """
    nan = row(layer_type="PoissonNLLLoss", quantity="grad.target", dtype="float16", max_abs=math.inf, max_rel=math.nan)
    rows = [nan, replace(nan, max_rel=2.0**-10), replace(nan, max_abs=math.nan), replace(nan, layer_type="MSELoss")]
    assert [own.verdict for own in with_known(rows, {"torch"})] == [CONVENTION, WRONG, WRONG, WRONG]
    near = math.log(2) + 1 / 4  # where the gradient for a count of 2 is zero
    rates, counts = np.array([0.1, near]), np.array([0.0, 2.0])
    case = Case("given", loss=Spec("PoissonNLLLoss", {"full": True}), inputs=(rates,), targets=((counts,),))
    report = oracle.run("refbp", "torch", cases=[case], dtypes=("float16",))
    known = report.table[report.table["verdict"] == CONVENTION]
    assert report.passed and set(known["quantity"]) == {"grad.target"}


@pytest.mark.parametrize("finding", [own for own in FINDINGS if own.layer_type], ids=lambda own: own.report)
def test_a_mark_explains_no_more_than_lost_digits(finding: Finding) -> None:
    """A result that is wrong by a tenth is a discrepancy, whatever is known of its class."""
    quantity, case = finding.quantity.replace("*", "weight"), finding.cases.replace("*", "mine")
    found = row(layer_type=finding.layer_type, quantity=quantity, case=case)
    for dtype in finding.dtypes:
        tenth, little = replace(found, dtype=dtype, max_rel=0.1), replace(found, dtype=dtype, max_rel=finding.max_rel)
        assert [own.verdict for own in with_known([tenth, little], {finding.implementation})] == [WRONG, CONVENTION]


def changed_hardsigmoid(change: Callable[[Array], Array]) -> Callable[[Case], Trace]:
    def run(case: Case) -> Trace:
        trace = refbp_subject.run(case)
        for key in list(trace):
            if key.quantity == "grad_input":
                trace.arrays[key] = change(trace.arrays[key])
        return trace

    return run


@pytest.mark.parametrize("wrong", [1.0, np.nan, np.inf])
@pytest.mark.parametrize("at_zero", [True, False])
def test_a_known_error_hides_no_other_in_the_same_place(wrong: float, at_zero: bool) -> None:
    """torch's Hardsigmoid is off by a rounding: a gradient where none is due, or NaN for one, is not what it explains."""
    honest = oracle.run(planted.Planted(refbp_subject.run), "torch", cases="kink/Hardsigmoid", dtypes=("float64",))
    assert honest.passed and CONVENTION in set(honest.table["verdict"])
    run = changed_hardsigmoid(lambda grad: np.where((grad == 0) == at_zero, wrong, grad).astype(grad.dtype))
    assert not oracle.run(planted.Planted(run), "torch", cases="kink/Hardsigmoid", dtypes=("float64",)).passed


@pytest.mark.parametrize(
    "case",
    [
        "kink/Hardsigmoid",
        "nonfinite/GELU",
        "loss/PoissonNLLLoss,reduction=none,log_input=False,full=True,shape=5x4",
        "loss/PoissonNLLLoss,full=True,shape=5x4",  # whose other elements lose digits by cancellation
        "batch/PixelShuffle,batch=0",
    ],
)
def test_a_known_error_is_shown_as_what_it_is(case: str) -> None:
    """torch is not blamed where its error is written up, and the row says where."""
    if case == "nonfinite/GELU" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("torch's float32 GELU errs at infinity on processors with AVX-512 only")
    report = oracle.run("torch", "refbp", cases=case)
    (known,) = set(report.table["diagnosis"]) - {""}
    assert not report.blame and known.startswith("known error of torch: reports/findings/torch-")


class OfParameter(torch.nn.Module):
    """A function of a parameter, not of the input."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.w = torch.nn.Parameter(torch.tensor([-1.3, 1.5, 2.0], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.w) * x


@pytest.mark.parametrize(
    "function",
    [
        torch.digamma,
        torch.nn.functional.hardsigmoid,
        lambda w: torch.nn.functional.celu(w, 0.3),
        lambda w: torch.polygamma(0, w),
    ],
)
def test_a_known_error_of_an_operation_is_known_of_a_parameter(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """The gradient's row then has the parameter's name; a gradient that is 1 % too large has no excuse."""
    x = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    report = oracle.check_module(OfParameter(function), x)
    known = report.table[report.table["verdict"] == CONVENTION]
    assert not report.blame and set(known["quantity"]) == {"grad.w"}
    learnt = OfParameter(function)
    learnt.w.register_hook(lambda grad: grad * 1.01)
    assert not oracle.check_module(learnt, x).passed


def test_a_target_of_zero_is_known_where_the_case_is_not_the_suite_s() -> None:
    """The derivative at zero, which torch gives as NaN, is excused, and nothing beside it."""
    scores, target = np.log(np.array([0.2, 0.3, 0.5])), np.array([0.0, 0.5, 0.5])
    case = Case("given", loss=Spec("KLDivLoss", {"reduction": "sum"}), inputs=(scores,), targets=((target,),))
    report = oracle.run("refbp", "torch", cases=[case])
    known = report.table[report.table["verdict"] == CONVENTION]
    assert report.passed and set(known["quantity"]) == {"grad.target"}
    assert known["diagnosis"].str.endswith("reports/findings/kl-div-target-zero.md").all()

    def halved(case: Case) -> Trace:
        trace = refbp_subject.run(case)
        for key in list(trace):
            if key.quantity == "grad.target":
                trace.arrays[key] = trace.arrays[key] / 2
        return trace

    assert not oracle.run(planted.Planted(halved), "torch", cases=[case]).passed
