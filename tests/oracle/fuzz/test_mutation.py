"""Planted faults of falling size: what is caught is told from what hides, and the same rows come however a campaign is run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import oracle
from oracle.case.case import Case, Spec
from oracle.fuzz import mutation, planted
from oracle.fuzz.draw import drawn
from oracle.fuzz.faults import KINDS, TERM
from oracle.fuzz.faults import planted as falling
from oracle.fuzz.outcome import Job, Settings, quiet
from oracle.fuzz.planted import Mutated, mutated
from oracle.harness import executors
from oracle.harness.alone import Alone, quantities
from oracle.judging.profile import Profile
from oracle.judging.rows import PASS, WRONG, Row
from oracle.subjects import refbp as honest
from oracle.trace import Trace

SETTINGS = Settings("refbp", "torch", 5, ("layers", "losses"))
PARTS = Settings("refbp", "torch", 2026, ("layers", "losses", "optimizers"))


def alone(quantity: str) -> Alone:
    """A quantity of a linear layer of two features, for three samples."""
    rng = np.random.default_rng(0)
    case = Case(
        "linear",
        layers=(Spec("Linear", {"in_features": 2, "out_features": 2}, "fc"),),
        params={"fc.weight": rng.standard_normal((2, 2)), "fc.bias": rng.standard_normal(2)},
        inputs=(rng.standard_normal((3, 2)),),
        grad_outputs=(rng.standard_normal((3, 2)),),
    )
    found = quantities(case, honest.run(case), None, Profile())
    return next(own for own in found if own.quantity == quantity)


def judging(monkeypatch: pytest.MonkeyPatch, verdict: Callable[[float], str]) -> None:
    """The judge calls each array this, by its largest error relative to the right array's largest element."""

    def row(self: Alone, shown: np.ndarray) -> Row:
        error = float(np.max(np.abs(shown.astype(np.float64) - self.got.astype(np.float64))))
        size = float(np.max(np.abs(self.got.astype(np.float64))))
        return Row(
            "", self.got.dtype.name, 0, "", "", "", "local", verdict(error / size) if error else PASS, "so it is"
        )

    monkeypatch.setattr(Alone, "row", row)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_falls_until_nothing_is_left_of_it(kind: str) -> None:
    own = alone("grad.weight")
    steps = falling(own, kind, np.random.default_rng(1))
    sizes, errors = [size for size, _ in steps], [float(np.abs(wrong - own.got).max()) for _, wrong in steps]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 1
    assert errors == sorted(errors, reverse=True) and errors[-1] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_ends_at_the_ends_of_the_range(kind: str) -> None:
    """Also where squares overflow, and where nothing is left but the sign of a zero."""
    own = alone("grad.weight")
    for ends in ([[1e300, -1e300], [2e300, 0.0]], [[-0.0, 5e-324], [0.0, -0.0]]):
        steps = falling(replace(own, got=np.array(ends)), kind, np.random.default_rng(1))
        assert len(steps) < 60 and all(np.isfinite(wrong).all() for _, wrong in steps)


def test_a_dropped_term_is_the_share_of_one_upstream_number() -> None:
    """For a weight gradient it is the product of this number with its sample, in one row."""
    own = alone("grad.weight")
    case = own.compared.case
    upstream, x = case.grad_outputs[0], case.inputs[0]
    shares = [np.outer(np.eye(2)[out], x[n]) * upstream[n, out] for n in range(3) for out in range(2)]
    _, wrong = falling(own, TERM, np.random.default_rng(1))[0]
    assert any(np.allclose(own.got - wrong, share, rtol=1e-12, atol=1e-15) for share in shares)


def test_the_smallest_that_is_caught_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The uniform factor's size is the error itself, which falls by a factor of four."""
    judging(monkeypatch, lambda error: WRONG if error > 1e-5 else PASS)
    own = alone("grad.weight")
    factor = next(one for one in planted._of_quantity(own, np.random.default_rng(0)) if one.fault == "factor")
    assert factor.caught == 4.0**-8


def test_a_blind_judge_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `decided` is 1, only errors that a decided element may hide are hidden without a warning."""
    judging(monkeypatch, lambda error: PASS)
    own = alone("grad.weight")
    found = {one.fault: one for one in planted._of_quantity(own, np.random.default_rng(0))}
    assert all(found[kind].caught is None and found[kind].hidden == 1 for kind in KINDS)
    result = mutation.Mutation(SETTINGS, (Mutated(7, "float64", tuple(found.values())),), 1.0, 1)
    assert result.status == 1 and set(result.by_class()["hides"]) == {1}
    assert any(
        line.startswith("fuzz/layers+losses-5-7, float64: Linear grad.weight, factor") for line in result.warnings()
    )
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert {row["largest"] for row in told["faults"]} == {None} and len(told["warnings"]) == len(KINDS)
    judging(monkeypatch, lambda error: WRONG if error > 1e-8 else PASS)
    assert all(one.hidden is None for one in planted._of_quantity(own, np.random.default_rng(0)))


def test_nothing_hides_in_random_cases() -> None:
    """A fixed seed in every test run. A float32 factor of 1 + 64 u is caught in most quantities."""
    result = mutation.Mutation(PARTS, tuple(mutated(Job(PARTS, number)) for number in range(12)), 1.0, 12)
    # Muon multiplies in bfloat16, and the worst-case bound of that is wide.
    assert [line for line in result.warnings() if "Muon" not in line] == []
    summary = {(row["fault"], row["dtype"]): row for row in result.summary().to_dict(orient="records")}
    assert 0.5 <= summary["factor", "float32"]["median / u"] <= 64
    assert all(math.isfinite(row["median"]) for row in summary.values())
    assert {"Conv2d", "NAdam", "Adam"} <= {*result.by_class()["class"]}


def test_the_rows_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    """Not on their number, nor on whether a run was ended in between."""
    settings = SETTINGS._replace(reference="refbp")  # workers without torch start sooner
    rows = mutation.run(settings, 6).cases
    with executors.pool(2) as pool:
        assert mutation.run(settings, 6, tmp_path, executor=pool).cases == rows
    table = tmp_path / mutation.CASES
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])  # as a kill leaves it, in the middle of a line
    resumed = mutation.run(settings, 6, tmp_path, resume=True)
    assert 0 < resumed.fresh < 6 and resumed.cases == rows
    assert sorted(table.read_bytes().splitlines()) == sorted(whole.splitlines())  # in the order in which they were done
    mutation.write(resumed, tmp_path)
    assert "| factor |" in (tmp_path / mutation.REPORT).read_text() and (tmp_path / mutation.TABLE).exists()


class Raising:
    name = "raising"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, case: Case) -> Trace:
        raise self.error


@pytest.mark.contained
@pytest.mark.parametrize(
    ("error", "said"),
    [(oracle.Unsupported("no such loss"), "not supported: no such loss"), (KeyError("x"), "KeyError")],
)
def test_a_case_that_cannot_be_run_has_its_row(error: Exception, said: str) -> None:
    """In words, and without faults: an exception costs its case only."""
    found = mutated(Job(Settings(Raising(error), "refbp", 5, ("losses",)), 0))
    assert not found.found and said in found.words


def test_a_case_whose_process_ended_has_its_row() -> None:
    found = planted.lost(Job(SETTINGS, 0), BrokenExecutor("was killed"))
    assert (found.number, found.found, found.words) == (0, (), "the process that it ran in was killed")
    assert found.dtype == mutated(Job(SETTINGS, 0)).dtype


def test_a_case_that_the_reference_refuses_has_its_row() -> None:
    """A norm of a single number."""
    with quiet():
        number = next(own for own in range(10**4) if drawn(1, own, ("layers",)).refusal)
    assert "more than 1 value" in mutated(Job(Settings("refbp", "refbp", 1, ("layers",)), number)).words
