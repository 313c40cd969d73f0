"""Updates with comparisons that rounding can change are judged by the outcome that the subject had, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle import run
from oracle.case.case import Case, Spec
from oracle.judging.rows import LOCAL, PASS, WRONG
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import EQUAL, EXACT, OPEN
from oracle.subjects import refbp as honest
from oracle.trace import Key, Trace

STEP = 1


def tiny_gradients() -> Case:
    """Rprop multiplies two gradients, whose product underflows in float32 for all but the last ten."""
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(40) < 30, 1e-30, 1.0)
    return Case(
        "tiny gradients",
        params={"0.weight": rng.standard_normal(40)},
        grads=tuple({"0.weight": rng.uniform(0.5, 1, 40) * rng.choice([-1, 1], 40) * sizes} for _ in range(2)),
        optimizer=Spec("Rprop", {"lr": 0.1, "etas": (0.3, 1.7)}),
        steps=2,
    )


class Widely:
    """Computes in double precision, where nothing underflows, and rounds the results."""

    name = "widely"

    def run(self, case: Case) -> Trace:
        wide = honest.run(case.astype("float64"))
        return Trace(
            {
                key: array.astype(case.dtype) if array.dtype == np.float64 else array
                for key, array in wide.arrays.items()
            }
        )


class Changed:
    """An honest subject with one quantity of the second step changed."""

    name = "changed"

    def __init__(self, base: Any, quantity: str, change: Any) -> None:
        self.base, self.key, self.change = base, Key(STEP, "0", f"{quantity}.weight"), change

    def run(self, case: Case) -> Trace:
        trace = self.base.run(case)
        array = trace.arrays[self.key]
        return Trace({**trace.arrays, self.key: self.change(array).astype(array.dtype)})


def verdicts(subject: Any) -> dict[str, str]:
    table = run(subject, cases=[tiny_gradients()], dtypes=["float32"]).table
    table = table[(table.step == STEP) & (table["mode"] == LOCAL)]
    return dict(zip(table.quantity, table.verdict, strict=True))


@pytest.mark.parametrize("subject", ["torch", "refbp", Widely()])
def test_either_outcome_is_right(subject: Any) -> None:
    """torch and refbp multiply in float32, so that the sign of 30 products is lost; a wider kernel keeps them."""
    found = verdicts(subject)
    assert {found[f"{own}.weight"] for own in ("prev", "step_size", "param")} == {PASS}


def test_the_outcomes_are_different() -> None:
    case = tiny_gradients().astype("float32")
    narrow, wide = (subject.run(case).arrays[Key(STEP, "0", "step_size.weight")] for subject in (honest, Widely()))
    apart = ~np.isclose(narrow, wide)
    assert apart[:30].all()
    assert not apart[30:].any()


@pytest.mark.parametrize("base", [honest, Widely()])
@pytest.mark.parametrize("quantity", ["prev", "step_size", "param"])
def test_a_wrong_element_passes_by_neither(base: Any, quantity: str) -> None:
    """Neither a wrong number nor, in one quantity alone, the other outcome."""
    other = Widely() if base is honest else honest
    taken = other.run(tiny_gradients().astype("float32")).arrays[Key(STEP, "0", f"{quantity}.weight")]
    for change in (lambda array: array * 1.01, lambda array: taken):
        assert verdicts(Changed(base, quantity, change))[f"{quantity}.weight"] != PASS


def test_a_quantity_of_another_shape_is_wrong_and_says_nothing_of_the_outcome() -> None:
    """The others tell which outcome it was."""
    found = verdicts(Changed(Widely(), "step_size", lambda array: array[:-1]))
    assert (found["step_size.weight"], found["prev.weight"], found["param.weight"]) == (WRONG, PASS, PASS)


def test_a_comparison_that_rounding_can_change_has_either_outcome() -> None:
    """The tolerance is wide only where the outcome stays open; far from zero there is one outcome."""
    found = {}
    for outcome in (OPEN, EXACT, EQUAL):
        model = ErrorModel(np.dtype("float32"), outcome=outcome)
        x = ErrorArray.exact(np.array([1e-30, -1e-30, 1.0]), model)
        chosen = np.where(x * x > 0, 3.0, ErrorArray.exact(np.zeros(3), model))
        found[outcome] = chosen.value.tolist(), (chosen.sigma > 0).tolist()
    assert found == {
        OPEN: ([3.0, 3.0, 3.0], [True, True, False]),
        EXACT: ([3.0, 3.0, 3.0], [False, False, False]),
        EQUAL: ([0.0, 0.0, 3.0], [False, False, False]),
    }
