"""Sums so long that one of their terms hides in the rounding of the others: undecided, and told, but never a pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import Case, Spec
from oracle.judging.case_rows import judge
from oracle.judging.derived import expected_of
from oracle.judging.figures import Expected
from oracle.judging.rows import IMPRECISE, LOCAL, PASS, UNDECIDED, WRONG, Row
from oracle.judging.verdict import compare
from oracle.running_error import ErrorArray, ErrorModel
from oracle.subjects import refbp
from oracle.trace import Key
from oracle.vectors.expected import expectations

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
LONG, SHORT = 100_000, 2_000


def positive(*shape: int) -> Any:
    return np.random.default_rng(0).uniform(0.5, 1.5, shape).astype("float32")


def exact(value: Any, model: ErrorModel = MODEL) -> ErrorArray:
    return ErrorArray.exact(value, model)


def verdict(got: Any, due: ErrorArray) -> Row:
    blank = Row("c", due.dtype.name, 0, "l", "Linear", "grad.bias", LOCAL, PASS)
    return compare(blank, got.astype(due.dtype), expected_of(due), structured=False, no_terms=False)


@pytest.mark.parametrize("n", [150, SHORT, 20_000, LONG])
def test_a_term_that_is_lacking_is_caught_or_the_row_undecided(n: int) -> None:
    """Whatever the length, a sum of positive terms without its last one is no pass."""
    x = positive(5, n)
    row = verdict(x[:, :-1].astype(float).sum(1), np.sum(exact(x), axis=1))
    assert row.verdict in ((UNDECIDED,) if n == LONG else (WRONG, IMPRECISE))
    assert (row.verdict == UNDECIDED) == ("its tolerance exceeds a typical one" in row.diagnosis)


def test_signed_terms_stay_decided() -> None:
    """The partial sums of as many random terms are short, and one that is lacking shows."""
    x = np.random.default_rng(0).standard_normal((5, LONG)).astype("float32")
    assert verdict(x.astype(float).sum(1), np.sum(exact(x), axis=1)).decided == 1
    assert verdict(x[:, :-1].astype(float).sum(1), np.sum(exact(x), axis=1)).verdict in (WRONG, IMPRECISE)


@pytest.mark.parametrize(
    "made",
    [
        lambda s: s / 7.0,
        lambda s: 0.1 * s + exact([3.0, 4.0]) * 0.9,
        lambda s: np.sqrt(s) - 2.0,
        lambda s: s.reshape(1, 2).astype("float64").reshape(2),
        lambda s: np.concatenate([s[:1] * 1.5, s[1:]]),
        lambda s: np.sum(s[None] * 1.5, axis=0),
        lambda s: -abs(s),
    ],
)
def test_a_long_sum_hides_whatever_is_made_of_each_element(made: Callable[[Any], Any]) -> None:
    """A mean, a running variance, a root of it, in one array with others."""
    for n, hides in ((SHORT, False), (LONG, True)):
        result = made(np.sum(exact(positive(2, n)), axis=1))
        assert bool(np.all(result.hidden if result.hidden is not None else False)) == hides
        assert hides or result.hidden is None


def test_what_is_written_into_an_array_hides_there() -> None:
    """As the gradients of a norm are, some channels at a time."""
    into = np.zeros_like(exact(positive(3)))
    into[1:] = np.sum(exact(positive(2, LONG)), axis=1) * 1.5
    into[:1] = np.sum(exact(positive(1, SHORT)), axis=1)
    np.testing.assert_array_equal(into.hidden, [False, True, True])


def test_a_long_sum_that_is_spread_hides_nothing() -> None:
    """A mean that is subtracted from many elements is not what is judged there: each element has its own error."""
    x = exact(positive(2, LONG))
    assert np.mean(x, axis=1, keepdims=True).hidden.all()
    assert (x - np.mean(x, axis=1, keepdims=True)).hidden is None


def test_a_batch_norm_over_many_positions() -> None:
    """Undecided are its sums over all of them: gradients of its parameters, and the statistics that it keeps."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((4, 2, 160, 160)) + 3, np.abs(rng.standard_normal((4, 2, 160, 160)))
    params = {
        "0.weight": np.ones(2),
        "0.bias": np.zeros(2),
        "0.running_mean": np.zeros(2),
        "0.running_var": np.ones(2),
        "0.num_batches_tracked": np.array(0),
    }
    norm = Spec("BatchNorm2d", {"num_features": 2})
    case = Case("norm", layers=(norm,), params=params, inputs=(x,), grad_outputs=(g,))
    table = oracle.run("refbp", reference="refbp", cases=[case], dtypes=("float32",)).table
    assert set(table[table["verdict"] == UNDECIDED]["quantity"]) == {
        "grad.bias",
        "buffer.running_mean",
        "buffer.running_var",
    }
    assert (table[table["quantity"].isin(("output", "grad_input"))]["decided"] == 1).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_storing_in_16_bits_hides_is_told_beside_it(dtype: str) -> None:
    """Of a sum in float32 no term is lost: that it is stored in 16 bits makes no row undecided."""
    model = ErrorModel(np.dtype(dtype), bounds=True, accumulate="float32")
    x = positive(8, 3000).astype(dtype).astype(float)
    row = verdict(x.sum(1), np.sum(exact(x, model), axis=1))
    assert (row.verdict, row.decided) == (PASS, 1)
    assert row.diagnosis == f"storing in {dtype} alone rounds by a tenth of the terms or more, at 100% of the elements"
    assert not verdict(np.zeros(8), np.sum(exact(np.ones((8, 4)), model), axis=1)).diagnosis.startswith("storing")
    in_itself = verdict(x.sum(1), np.sum(exact(x, ErrorModel(np.dtype(dtype), bounds=True)), axis=1))
    assert in_itself.verdict == UNDECIDED


def test_vectors_have_no_scale_where_a_term_hides() -> None:
    """So that whoever judges by them knows: no tolerance is narrow beside nothing."""
    x, target = positive(LONG), np.zeros(LONG, "float32")
    case = Case("mean", dtype="float32", loss=Spec("MSELoss"), inputs=(x,), targets=((target,),))
    found = {key.quantity: own for key, own in expectations(case, refbp).items()}
    assert found["output"].scale == 0 < found["output"].tolerance
    assert (found["grad_input"].scale > 0).all()


def test_a_mean_that_is_wrong_in_one_term_is_no_pass() -> None:
    """Divided by one less, a long mean of squares is undecided, in both modes of a case."""
    x, target = positive(LONG), np.zeros(LONG, "float32")
    case = Case("mean", dtype="float32", loss=Spec("MSELoss"), inputs=(x,), targets=((target,),))
    trace = refbp.run(case)
    key = Key(0, "loss", "output")
    trace.arrays[key] = trace.arrays[key] * np.float32(LONG / (LONG - 1))
    rows = [row for row in judge(case, trace, refbp) if row.quantity == "output"]
    assert [row.verdict for row in rows] == [UNDECIDED, UNDECIDED]


def test_half_of_the_elements_hidden_say_so_by_their_share() -> None:
    """An array is undecided where more than half of its elements are."""
    value = np.arange(1.0, 9.0)
    for hidden, due in ((3, PASS), (5, UNDECIDED)):
        expected = Expected(value, value * 2.0**-20, None, value, np.arange(8) < hidden)
        row = Row("c", "float32", 0, "l", "Linear", "output", LOCAL, PASS)
        row = compare(row, value.astype("float32"), expected, structured=False, no_terms=False)
        assert (row.verdict, row.decided) == (due, 1 - hidden / 8)
