"""Bugs in 16-bit kernels: each is found and of its kind, its twin is not accused, and whoever misses one is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle.selftest import render
from oracle.selftest.narrow.planted import FORMULA, SUMS, WIDEST, Found, all_bugs, found
from oracle.selftest.result import SelfTest


@pytest.mark.parametrize("name", all_bugs())
def test_a_bug_is_of_its_kind_and_its_twin_is_not_accused(name: str) -> None:
    """Sums in 16 bits are `imprecise` and named, a formula that is wrong by 2 % is `wrong`."""
    seen = found(all_bugs()[name])
    assert seen.named and not seen.twin, seen


def test_every_precision_has_both_kinds() -> None:
    """In bfloat16, float16 and mixed; linear layers, convolutions, norms, softmax and cross entropy."""
    for precision in ("bfloat16", "float16", "mixed"):
        for kind in (SUMS, FORMULA):
            ops = {
                own.op.partition(" ")[0]
                for own in all_bugs().values()
                if (own.precision, own.kind) == (precision, kind)
            }
            assert ops == {"Linear", "Conv2d", "LayerNorm", "Softmax", "cross_entropy"}


def test_what_is_missed_or_wide_fails_the_self_test_and_is_told() -> None:
    """A bug of another kind, a twin that is accused, and tolerances that are too wide."""
    right = Found("Linear, bfloat16: sums", "Linear", "bfloat16", SUMS, "imprecise", True, "", 7.0)
    assert not SelfTest(narrow=[right]).unfound
    result = SelfTest(narrow=[replace(right, verdict="", named=False), replace(right, twin="somebody")])
    assert len(result.unfound) == 2 and not result.passed
    told = render.failures(result)
    assert "16 bits: Linear, bfloat16: sums is not caught" in told
    assert "accused: the twin of Linear, bfloat16: sums: somebody" in told
    assert SelfTest(narrow=[right]).passed
    assert not SelfTest(narrow=[replace(right, width=WIDEST + 1)]).passed
    (row,) = render.narrow(SelfTest(narrow=[right])).to_dict(orient="records")
    assert (row["planted"], row["named"], row["twins accused"], row["width"]) == (1, 1, 0, 7.0)
