"""Long training runs: judged step by step, in memory that does not grow with their length, the first divergent step named."""

from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np
import pytest

import oracle
from oracle.case.case import Case, Spec
from oracle.harness import work
from oracle.judging import long_runs
from oracle.judging.long_runs import STRETCH, condensed, lengths, resumed, stretch
from oracle.judging.profile import Profile
from oracle.judging.rows import LOCAL, PASS, UNDECIDED, WRONG, Row
from oracle.subjects import refbp as refbp_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Trace


def long_run(steps: int) -> Case:
    """A small network on seven batches in turn, with momentum."""
    rng = np.random.default_rng(11)
    return network_case(
        "long/mlp",
        "many steps of SGD",
        [layer("Linear", 3, 5, name="first"), layer("Tanh", name="act"), layer("Linear", 5, 2, name="last")],
        inputs=tuple(rng.standard_normal((4, 3)) for _ in range(7)),
        loss=Spec("MSELoss"),
        targets=tuple((rng.standard_normal((4, 2)),) for _ in range(7)),
        optimizer=Spec("SGD", {"lr": 0.02, "momentum": 0.9}),
        steps=steps,
    )


SHORT = 12


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (long_runs, work):
        monkeypatch.setattr(module, "STRETCH", SHORT)


def test_stretches_cover_every_step_with_its_own_batch() -> None:
    """No step is left out, and each gets the batch that the whole run would give it."""
    case = long_run(3 * STRETCH + 2)
    parts = list(lengths(case))
    assert [start for start, _ in parts] == [0, STRETCH, 2 * STRETCH, 3 * STRETCH]
    assert sum(steps for _, steps in parts) == case.steps
    second = stretch(case, STRETCH, 5)
    assert second.steps == 5
    assert np.array_equal(second.inputs[0], case.inputs[STRETCH % 7])
    assert np.array_equal(second.targets[4][0], case.targets[(STRETCH + 4) % 7][0])
    assert len(second.inputs) == len(second.targets) == 5


def test_one_row_for_all_steps_tells_of_the_first_discrepancy() -> None:
    """Where training went wrong, not where it ended; the worst of steps that are all right; each quantity for itself."""

    def row(step: int, verdict: str, z: float, quantity: str = "output") -> Row:
        return Row("case", "float64", step, "last", "Linear", quantity, LOCAL, verdict, z_max=z)

    rows = [row(2, PASS, 3.0), row(5, WRONG, 9.0), row(4, WRONG, 7.0), row(6, WRONG, 80.0)]
    fine = [row(1, PASS, np.nan, "grad_input"), row(2, PASS, 0.5, "grad_input"), row(3, PASS, 0.2, "grad_input")]
    assert [(own.step, own.verdict, own.quantity) for own in condensed(rows + fine)] == [
        (4, WRONG, "output"),
        (2, PASS, "grad_input"),
    ]


@pytest.mark.slow
def test_hundreds_of_steps_are_judged_in_bounded_memory() -> None:
    """The peak of the process hardly grows beyond that of half of the steps: of what is over, condensed rows stay."""

    def largest_resident_kilobytes(steps: int) -> int:
        report = oracle.run("refbp", "refbp", [long_run(steps)], ("float32",))
        assert report.passed, report.blame
        assert report.table["step"].max() >= steps - STRETCH
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = largest_resident_kilobytes(2 * STRETCH)
    assert largest_resident_kilobytes(4 * STRETCH) < before + 2_000


class Clipped:
    """SGD that clips the parameters of the last layer, which the case knows nothing of: wrong once one grows beyond it."""

    name = "clipped"

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def run(self, case: Case) -> Trace:
        """A step at a time, so that what was clipped is what the next step starts from."""
        result, going = Trace(), case
        for step in range(case.steps):
            own = refbp_subject.run(replace(stretch(case, step, 1), params=going.params, **state_of(going)))
            params = {}
            for name in case.params:
                owner, _, short = name.rpartition(".")
                value = own.get(0, owner, f"param.{short}")
                assert value is not None
                params[name] = np.clip(value, -self.limit, self.limit) if owner == "last" else value
                own.record(0, owner, f"param.{short}", params[name])
            momentum = {
                name: own.arrays[0, name.rpartition(".")[0], f"momentum.{name.rpartition('.')[2]}"] for name in params
            }  # type: ignore[index]
            for key, array in own.arrays.items():
                result.record(step, key.layer, key.quantity, array)
            going = replace(case, params=params, optimizer_state={"momentum": momentum})
        return result


def state_of(case: Case) -> dict[str, object]:
    return {"optimizer_state": case.optimizer_state}


@pytest.mark.usefixtures("short_stretches")
def test_the_first_divergent_step_is_named() -> None:
    """Many steps are right; the report names the one that is not, counted from the start of the run."""
    case = replace(long_run(4 * SHORT), optimizer=Spec("SGD", {"lr": 0.2, "momentum": 0.9})).astype("float64")
    honest = refbp_subject.run(case)
    largest = [
        max(float(np.max(np.abs(honest.arrays[step, "last", f"param.{short}"]))) for short in ("weight", "bias"))  # type: ignore[index]
        for step in range(case.steps)
    ]
    limit = max(largest) * 0.999
    first = next(step for step, size in enumerate(largest) if size > limit)
    assert first > SHORT, "the data has to diverge late"
    report = oracle.run(Clipped(limit), "refbp", [case], ("float64",))
    assert (report.blame[0].step, report.blame[0].layer) == (first, "last")
    assert report.blame[0].quantity.startswith("param.")


@pytest.mark.usefixtures("short_stretches")
def test_a_run_that_cannot_go_on_says_so() -> None:
    """Without the parameters after its last step a stretch cannot be followed by another: what is left is undecided."""

    class Shy:
        name, profile = "shy", Profile(quantities=("grad.*",))

        def run(self, case: Case) -> Trace:
            trace = refbp_subject.run(case)
            for key in [key for key in trace if not key.quantity.startswith("grad.")]:
                del trace.arrays[key]
            return trace

    report = oracle.run(Shy(), "refbp", [long_run(2 * SHORT)], ("float64",))
    assert "does not show the parameters" in " ".join(report.table[report.table["verdict"] == UNDECIDED]["diagnosis"])


@pytest.mark.parametrize("hidden", [{"first", "last"}, {"last"}], ids=["all of it", "a part"])
def test_a_run_goes_on_from_nothing_but_its_whole_state(hidden: set[str]) -> None:
    """What the optimizer ended with is part of what the next stretch begins with; of each parameter."""
    case = long_run(2)
    trace = refbp_subject.run(case)
    going = resumed(case, trace)
    assert going.optimizer_state["momentum"].keys() == case.params.keys()
    for key in [key for key in trace if key.quantity == "momentum.bias" and key.layer in hidden]:
        del trace.arrays[key]
    with pytest.raises(ValueError, match="long/mlp cannot go on: the trace does not show the optimizer's state"):
        resumed(case, trace)
