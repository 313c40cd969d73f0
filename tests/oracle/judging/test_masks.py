"""What an implementation chose: each figure of the row of its branches, and which dropout masks are taken for chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from oracle import suite
from oracle.execution.network import layer_types
from oracle.judging import masks
from oracle.judging.case_rows import judge
from oracle.judging.comparison import Bench
from oracle.judging.masks import judge_branches, judge_masks, mask_row
from oracle.judging.profile import Profile
from oracle.judging.rows import PASS, UNDECIDED, WRONG, Row
from oracle.running_error.branches import Branches, BranchLog
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace


def blank() -> Row:
    return Row("case", "float32", 0, "drop", "Dropout", "mask", "local", PASS)


def test_a_row_of_branches_counts_them() -> None:
    """How many, how many of them rounding leaves open, how many were adopted, and how many it does not explain."""
    bench = Bench(Trace(), None, Profile(), {"act": "ReLU", "idle": "ReLU"}, blank())
    seen = Branches(compared=10, ambiguous=4, widened=2, adopted=3, inadmissible=1)
    log = BranchLog(by_place={"act": seen, "idle": Branches(), "nowhere": seen})
    (row,) = judge_branches(log, bench)
    assert (row.layer, row.layer_type, row.quantity) == ("act", "ReLU", "branches")
    assert (row.n, row.n_outside, row.decided, row.n_ambiguous, row.n_adopted) == (10, 1, 0.8, 4, 3)
    assert (row.verdict, row.diagnosis) == (WRONG, "1 of 10 branches differ by more than rounding explains")
    seen.inadmissible = 0
    (row,) = judge_branches(log, bench)
    assert (row.verdict, row.diagnosis) == (
        PASS,
        "3 of 10 branches were decided by rounding, and taken from the subject",
    )


HALF = np.arange(1000).reshape(10, 100) % 2 == 0


@pytest.mark.parametrize(
    ("options", "mask", "verdict", "share"),
    [
        ({}, HALF, PASS, 0.5),
        ({"p": 0.1}, HALF, WRONG, 0.5),
        ({"p": 0.1}, np.arange(1000).reshape(10, 100) % 10 > 0, PASS, 0.9),
        ({}, np.ones((10, 100), bool), WRONG, 1.0),
    ],
)
def test_a_mask_keeps_the_share_that_it_should(options: dict[str, Any], mask: Any, verdict: str, share: float) -> None:
    """As far as chance allows: once in a million honest masks is taken for a wrong rate."""
    row = mask_row(blank(), layer("Dropout", **options), mask, np.ones(mask.shape, bool))
    assert (row.verdict, row.got, row.shape, row.n) == (verdict, share, (10, 100), 1000)
    assert row.expected == 1 - options.get("p", 0.5)
    assert row.diagnosis == "" or "very unlikely" in row.diagnosis


@pytest.mark.parametrize(("draws", "verdict"), [(20, PASS), (21, WRONG)])
def test_once_in_a_million_is_not_by_chance(draws: int, verdict: str) -> None:
    """With p = 1/2 all of 20 draws fall alike with a chance of 2 / 2^20, above one in a million, all of 21 with half of that."""
    for mask in (np.ones(draws, bool), np.zeros(draws, bool)):
        assert mask_row(blank(), layer("Dropout"), mask, np.ones(draws, bool)).verdict == verdict


def test_channels_are_dropped_as_a_whole() -> None:
    """A channel that keeps some positions only is wrong, whatever the rate; what nothing shows is not judged."""
    whole = np.broadcast_to((np.arange(64) % 2 == 0).reshape(8, 8, 1, 1), (8, 8, 3, 3))
    known = np.ones(whole.shape, bool)
    row = mask_row(blank(), layer("Dropout2d"), whole, known)
    assert (row.verdict, row.got) == (PASS, 0.5)
    torn = whole.copy()
    torn[0, 0, 0, 0] ^= True
    row = mask_row(blank(), layer("Dropout2d"), torn, known)
    assert (row.verdict, row.diagnosis) == (WRONG, "drops some positions of a channel and keeps others")
    known[0, 0, 0, 0] = False
    assert mask_row(blank(), layer("Dropout2d"), torn, known).verdict == PASS
    assert mask_row(blank(), layer("Dropout"), torn, np.zeros_like(known)).verdict == UNDECIDED


def test_a_mask_that_a_layer_drew_has_its_row() -> None:
    """Under the layer's own name, of its shape or not."""
    case = network_case("drop/out", "a mask", [layer("Dropout", name="drop")], (10, 100))
    bench = Bench(refbp_subject.run(case), None, Profile(), layer_types(case), replace(blank(), layer="", quantity=""))
    (row,) = judge_masks(case, bench)
    assert (row.layer, row.layer_type, row.quantity, row.verdict, row.n) == ("drop", "Dropout", "mask", PASS, 1000)
    bench.trace.arrays[Key(0, "drop", "mask")] = HALF[:5]
    (row,) = judge_masks(case, bench)
    assert (row.layer, row.quantity, row.verdict) == ("drop", "mask", WRONG)
    assert row.diagnosis == "shape (5, 100), expected (10, 100)"
    bench.trace.arrays[Key(0, "drop", "mask")] = HALF[:1]
    assert [row.verdict for row in judge_masks(case, bench)] == [PASS]


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda mask: mask, ""),
        (lambda mask: ~mask, "differs from the mask that the case imposes at 42 of 42 elements"),
        (lambda mask: mask.astype(np.float32), "dtype float32, expected bool"),
        (lambda mask: mask.ravel(), "shape (42,), expected (6, 7)"),
        (lambda mask: mask[0], "shape (7,), expected (6, 7)"),
    ],
    ids=["imposed", "another", "numbers", "flat", "a row"],
)
def test_an_imposed_mask_is_an_input(change: Callable[[Any], Any], said: str) -> None:
    """A subject that draws its own is wrong, in its mask and in what it makes of it, and cannot put it in the case's place."""
    (case,) = (own.astype("float32") for own in suite.matching("dropout/Dropout,imposed"))
    trace = refbp_subject.run(case)
    trace.record(0, "0", "mask", change(trace.arrays[Key(0, "0", "mask")]))
    rows = judge(case, trace, torch_subject)
    assert [row.diagnosis for row in rows if row.quantity == "mask"] == [said] * bool(said)
    assert {row.verdict for row in rows if row.quantity != "mask"} == {PASS}
    scale = np.float32(1 / 0.7)
    mask = change(case.masks["0"])
    if mask.shape == case.inputs[0].shape:
        for quantity, given in (("output", case.inputs[0]), ("grad_input", case.grad_outputs[0])):
            trace.record(0, "0", quantity, given * scale * mask.astype(bool))
        wrong = {row.quantity for row in judge(case, trace, torch_subject) if row.verdict == WRONG}
        assert wrong == ({"mask", "output", "grad_input"} if "differs" in said else {"mask"} if said else set())


def test_a_mask_of_numbers_is_a_mask_of_another_dtype() -> None:
    """Of a layer that drew its own: what it is not zero at is kept, so that nothing but the mask is accused."""
    case = network_case("drop/out", "a mask", [layer("Dropout2d", name="drop")], (4, 5, 3, 3))
    trace = refbp_subject.run(case)
    key = Key(0, "drop", "mask")
    for dtype in (np.float64, np.uint8):
        trace.arrays[key] = trace.arrays[key].astype(dtype) * 2
        wrong = [(row.quantity, row.diagnosis) for row in judge(case, trace, torch_subject) if row.verdict != PASS]
        assert wrong == [("mask", f"dtype {np.dtype(dtype)}, expected bool")]
    trace.arrays[key] = trace.arrays[key].ravel() > 0
    trace.arrays[Key(0, "drop", "input")] = trace.arrays[Key(0, "drop", "input")].ravel()
    assert ("mask", WRONG) in {(row.quantity, row.verdict) for row in judge(case, trace, torch_subject)}


def test_a_mask_alone_is_nothing_to_judge() -> None:
    """Without the layer's input nothing says which shape it should have."""
    case = network_case("drop/out", "a mask", [layer("Dropout", name="drop")], (10, 100))
    bench = Bench(Trace(), None, Profile(), layer_types(case), replace(blank(), layer="", quantity=""))
    bench.trace.record(0, "drop", "mask", HALF)
    assert list(judge_masks(case, bench)) == []


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5, 3, 3)])
def test_dropout2d_drops_channels_of_three_dimensions_too(shape: tuple[int, ...]) -> None:
    """Three dimensions are (N, C, L) to torch's Dropout2d: its mask is right, and judged."""
    case = network_case("drop/out", "three dimensions", [layer("Dropout2d", name="drop")], shape)
    rows = judge(case, refbp_subject.run(case), refbp_subject)
    assert {(row.quantity, row.verdict) for row in rows if row.quantity == "mask"} == {("mask", PASS)}


@given(draws=st.integers(1, 400), share=st.floats(0, 1), p=st.floats(0.01, 0.99))
def test_the_chance_of_a_mask_is_that_of_scipys_test(draws: int, share: float, p: float) -> None:
    """It is twice the smaller p-value of SciPy's one-sided tests. Below 1e-250 both have few digits in common."""
    kept = round(share * draws)
    fewer, more = (stats.binomtest(kept, draws, p, alternative).pvalue for alternative in ("less", "greater"))
    assert masks._chance(kept, draws, p) == pytest.approx(min(1, 2 * min(fewer, more)), rel=1e-9, abs=1e-250)
