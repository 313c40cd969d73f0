"""Each section of the benchmarks, whose contenders run once and take times that are given: its figures are the right ones.

No test times anything. What a section compares with what, and which way up, shows in the figures that come of known times.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.bench import __main__ as child
from oracle.bench import check_module, fuzz, kept, layers, networks, process, render, scale, suite, training
from oracle.bench.examples import Example
from oracle.bench.section import Chart, Measurement, Result
from oracle.case.case import Case
from oracle.cli import main
from oracle.suite.build import layer


def taking(seconds: Mapping[str, float]) -> Callable[..., dict[str, Any]]:
    """In place of `interleaved`: every contender runs once, and has taken the seconds that are given for its name."""

    def interleaved(contenders: Mapping[str, Callable[[], object]], *settings: Any, **more: Any) -> dict[str, Any]:
        for action in contenders.values():
            action()
        return {name: np.array([seconds[name]]) for name in contenders}

    return interleaved


def figures(result: Result) -> dict[str, float]:
    """What is measured by its words, each once; the result comes through JSON unchanged, as it comes from a child process."""
    assert Result.from_json(json.loads(json.dumps(result.to_json()))).measurements == result.measurements
    found = {one.what: one.value for one in result.measurements}
    assert len(found) == len(result.measurements) and np.isfinite(list(found.values())).all()
    return found


def small(name: str, dtype: str) -> Case:
    return networks.of_layers(name, [layer("Linear", 3, 10), layer("Tanh")], (5, 3), dtype)


def test_the_judge_is_compared_with_the_module_and_with_gradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constant is subtracted from the judge's time, gradcheck's is what is divided, memory is compared with the trace."""
    monkeypatch.setattr(networks, "network", small)
    seconds = {"check_module": 0.105, "module": 0.05, "gradcheck, fast": 4.2, "slow": 420.0}
    monkeypatch.setattr(check_module, "interleaved", taking(seconds))
    notes: list[str] = []
    result = check_module.Judge().measure(False, notes.append)
    found = figures(result)
    fast, slow = (
        next(one for one in result.measurements if f"gradcheck {how}" in one.what) for how in ("fast", "slow")
    )
    assert (fast.value, slow.value) == pytest.approx((40.0, 4000.0)) and fast.at_least and slow.at_least
    for name in networks.NETWORKS:
        assert found[f"{name} float32, (check_module - 5 ms) / module"] == pytest.approx(2.0)
    row = next(own for own in reversed(result.details) if own["network"] == "resnet18")
    assert found["resnet18 float32, peak memory / trace"] == pytest.approx(row["peak, MiB"] / row["trace, MiB"])
    assert row["module, ms"] == pytest.approx(50) and len(notes) == len(found)
    limits = {one.what: one.limit for one in result.measurements}
    for dtype, most in (("float64", 6.0), ("float32", 10.0)):
        assert limits[f"gpt {dtype}, (check_module - 5 ms) / module"] == most
        assert found[f"gpt {dtype}, (check_module - 5 ms) / module"] == pytest.approx(2.0)
    quick = {one.what for one in check_module.Judge().measure(True, notes.append).measurements}
    large = ("vgg", "resnet18", "gpt")
    assert quick == {what for what in found if "slow" not in what and not what.startswith(large)}


def test_a_gpt_is_judged_whole() -> None:
    """The time of the judge would mean nothing if it left the module's operations out."""
    module, x = check_module.gpt("float32")
    report = oracle.check_module(module, x[:1, :8])
    assert report.passed and {"linear1", "norm2"} <= {layer.rpartition(".")[2] for layer in report.table["layer"]}


def test_what_was_tried_and_dropped_is_told_with_its_figure() -> None:
    """The report ends with it, so that nobody tries it again without knowing."""
    shown = render.report({}, None)
    assert "## Tried and dropped" in shown and "| idea | gain | why |" in shown and "numba" in shown


def test_a_training_step_is_compared_with_torchs_and_with_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """refbp's time is divided by torch's, a peer's by refbp's. The section on one thread has no limits."""
    for library in ("mygrad", "autograd"):
        pytest.importorskip(library)
    monkeypatch.setattr(networks, "network", small)
    seconds = {"refbp": 3.0, "torch": 2.0, "torch, input too": 2.5, "mygrad": 9.0, "autograd": 12.0, "products": 1.5}
    monkeypatch.setattr(training, "interleaved", taking(seconds))
    notes: list[str] = []
    result = training.Training().measure(False, notes.append)
    found, limits = figures(result), {one.what: (one.limit, one.at_least) for one in result.measurements}
    assert found["mlp float64, refbp / torch"] == pytest.approx(1.5) and len(notes) == len(found)
    assert found["mlp float64, the same with the input's gradient"] == pytest.approx(1.2)
    assert found["lenet5 float32, mygrad / refbp"] == pytest.approx(3.0)
    assert found["lenet5 float32, autograd / refbp"] == pytest.approx(4.0)
    for name, dtype in training.LIMITS:
        assert limits[f"{name} {dtype}, refbp / torch"] == (training.LIMITS[name, dtype], False)
    assert limits["vgg float32, mygrad / refbp"] == (3.0, True)
    assert {row["network"] for row in result.details} == set(networks.NETWORKS)
    assert result.details[0]["products / refbp"] == pytest.approx(0.5) and result.details[0]["Linear, ms"] > 0
    one_thread = training.OneThread().measure(True, notes.append)
    assert {row["network"] for row in one_thread.details} == {"mlp"}
    assert {one.limit for one in one_thread.measurements} == {None}


def test_a_layer_is_compared_with_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """refbp's time is what is divided, matrix products have the tight limit, a class that torch lacks has growth alone."""
    x = np.random.default_rng(0).standard_normal((4, 6))
    given = [Example("Linear", "Linear", {"in_features": 6, "out_features": 2}, (x,))]
    given += [Example("Tanh", "Tanh", {}, (x,)), Example("MSELoss", "MSELoss", {}, (x, x[::-1]))]
    monkeypatch.setattr(layers, "examples", lambda part=1: iter(given))
    monkeypatch.setattr(layers, "interleaved", taking({"refbp": 3.0, "torch": 2.0}))
    monkeypatch.setattr(layers, "seconds", lambda action: float(len(str(action()))))
    monkeypatch.delattr(layers.torch.nn, "Tanh")
    notes: list[str] = []
    result = layers.Layers().measure(False, notes.append)
    found = figures(result)
    assert [what for what in found if "torch" in what] == ["Linear, refbp / torch", "MSELoss, refbp / torch"]
    assert found["Linear, refbp / torch"] == pytest.approx(1.5)
    assert [one.limit for one in result.measurements if "torch" in one.what] == [layers.TIGHT, layers.TIMES]
    assert [row["layer"] for row in result.details] == ["Linear", "Tanh", "MSELoss"]
    assert "layer: Tanh" in notes[1] and "torch" not in notes[1]
    assert {row["layer"] for row in layers.Layers().measure(True, notes.append).details} == {"Linear"}


def test_growth_is_that_of_time_over_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exponent of a way whose time grows with the square is 2, in each direction and on each kind of array."""
    example = Example("Tanh", "Tanh", {}, (np.ones((2, 3)),))
    times = iter([1.0, 1.0, 4.0, 16.0] * 2)  # forward and backward, then those of four times as many elements
    monkeypatch.setattr(layers, "fastest", lambda action: next(times))
    found = layers.growth(example)
    assert found == pytest.approx(
        {"forward, plain": 1.0, "backward, plain": 2.0, "forward, errors": 1.0, "backward, errors": 2.0}
    )


def test_the_cost_of_judging_grows_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each layer and contender, over the multiply-adds, and the large network where the form is not the quick one."""
    monkeypatch.setattr(scale, "DECADES", (3, 4, 5))
    monkeypatch.setattr(scale, "interleaved", taking({"check_module": 2.0, "module": 1.0, "sample": 3.0}))
    monkeypatch.setattr(scale, "large", lambda: scale.linear(1e3))
    notes: list[str] = []
    result = scale.Scale().measure(False, notes.append)
    found = figures(result)
    assert found["Linear, power of growth"] == pytest.approx(0) and found["Conv2d, power of growth"] == pytest.approx(0)
    time, size = result.measurements[:2]
    assert time.what.endswith(", time") and 0 < time.value < 60 and 0 < size.value < 100 and size.unit == " GiB"
    assert "passed" in notes[0]
    assert found['resnet18, 2 images of 224 × 224, check_module(effort="sample") / module'] == pytest.approx(3.0)
    (chart,) = result.charts
    assert list(chart.series) == ["Linear, check_module", "Linear, module", "Conv2d, check_module", "Conv2d, module"]
    assert chart.series["Linear, check_module"] == ((1000.0, 2.0), (22.0**3, 2.0), (46.0**3, 2.0))
    monkeypatch.setattr(scale, "QUICK_DECADES", (3,))
    monkeypatch.setattr(scale, "growth", lambda points: float(len(points)))
    assert figures(scale.Scale().measure(True, notes.append)) == {
        "Linear, power of growth": 1.0,
        "Conv2d, power of growth": 1.0,
    }


def test_the_harness_is_what_the_two_implementations_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds of the harness are of a case and a precision; cases per second are those in both precisions."""

    class Given(suite.ClockedRun):
        def seconds(self) -> tuple[float, float, float]:
            return 0.4, 0.1, 0.2

    monkeypatch.setattr(suite, "FAMILIES", ("exact", "kink"))
    monkeypatch.setattr(suite.suite, "matching", lambda pattern: [small(f"{pattern}{n}", "float64") for n in range(5)])
    monkeypatch.setattr(suite, "ClockedRun", Given)
    monkeypatch.setattr(suite, "threadpool_limits", lambda threads: nullcontext())
    monkeypatch.setattr(suite.torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(suite, "interleaved", taking({"help": 3.0, "imports": 2.0}))
    ran: list[list[str]] = []
    monkeypatch.setattr(suite.subprocess, "run", lambda command, **settings: ran.append(command))
    notes: list[str] = []
    result = suite.Suite().measure(False, notes.append)
    assert list(figures(result).values()) == pytest.approx([12.5, 10.0, 1.5])
    assert [row["harness, ms"] for row in result.details] == pytest.approx([10.0, 10.0])
    assert result.details[0]["runs"] == 10 and notes[0] == "exact: 10.00 ms of 40.00"
    assert [command[1:3] for command in ran] == [["-m", "oracle"], ["-c", "import pandas, rich"]]


def test_random_cases_are_counted_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process and in workers; without a scheduler nothing is simulated, and the report says so."""
    monkeypatch.setattr(fuzz, "QUICK_CASES", 4)
    monkeypatch.setattr(fuzz, "WORKERS", (1, 2))
    monkeypatch.setattr(fuzz, "CASES_EACH", 5)
    monkeypatch.setattr(fuzz, "one_by_one", lambda jobs: ([0.5] * len(jobs), [fuzz.judged(job) for job in jobs]))
    monkeypatch.setattr(fuzz.executors, "pool", lambda workers: nullcontext(fuzz.AtOnce([workers])))
    monkeypatch.setattr(fuzz, "rate", lambda jobs, pool, workers: 3.0 * workers)
    schedulers = iter([None, 0.01])
    monkeypatch.setattr(fuzz, "seconds_of_scheduler", lambda tasks, batch: next(schedulers))
    notes: list[str] = []
    without = fuzz.Fuzz().measure(True, notes.append)
    found = figures(without)
    assert found["cases a second in this process"] == pytest.approx(2.0)
    assert (found["cases a second, 1 child process"], found["cases a second, 2 child processes"]) == (3.0, 6.0)
    assert 0 < found["the run's time for a case"] < 1e3 and found["bytes of its outcome"] > 0
    assert without.remarks == ("distributed is not installed: nothing is simulated.",)
    whole = fuzz.Fuzz().measure(True, notes.append)
    assert figures(whole)["the scheduler's time for a batch"] == pytest.approx(10.0) and not whole.remarks
    assert 0 < figures(whole)["10 workers, simulated: share of time they work"] <= 1


def test_the_parts_of_the_measurement_of_random_cases_do_their_jobs() -> None:
    """Each job is timed, its outcome kept in order, and a batch of workers hands all outcomes back."""
    jobs = [fuzz.Job(fuzz.SETTINGS, number) for number in range(3)]
    seconds, outcomes = fuzz.one_by_one(jobs)
    assert [own.number for own in outcomes] == [0, 1, 2] and len(seconds) == 3 and min(seconds) > 0
    assert fuzz.rate(jobs, fuzz.AtOnce(outcomes), 1) > 0
    assert fuzz.returned(outcomes) is outcomes


def drawn(chart: Chart) -> Any:
    picture = render.picture([Result((), charts=(chart,)), Result(())])
    assert picture is not None
    (axes,) = picture.axes
    return axes


def test_numbers_are_drawn_as_lines_and_names_as_bars() -> None:
    """Both scales of a line are logarithmic where the chart's are, names keep the linear one; a mark is a line across."""
    lines = drawn(Chart("t", "work", "s", {"a": ((10.0, 1.0), (100.0, 2.0)), "b": ((10.0, 3.0),)}, logarithmic=True))
    assert (lines.get_xscale(), lines.get_yscale(), len(lines.lines)) == ("log", "log", 2)
    bars = drawn(Chart("t", "", "ms", {"a": (("x", 1.0), ("y", 2.0)), "b": (("y", 3.0),)}, logarithmic=True, mark=1.0))
    assert (bars.get_xscale(), bars.get_yscale(), len(bars.lines)) == ("linear", "log", 1)
    assert [text.get_text() for text in bars.get_xticklabels()] == ["x", "y"]
    assert [bar.get_height() for bar in bars.patches] == [1, 2, 3]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in bars.patches]
    assert middles == pytest.approx([-0.2, 0.8, 1.2])  # the second series' bar of y stands beside the first's
    plain = drawn(Chart("t", "", "s", {"a": ((1.0, 1.0),)}))
    assert (plain.get_xscale(), plain.get_yscale()) == ("linear", "linear") and plain.get_title() == "t"


MACHINE = {"processor": "p", "cores": 2, "others": None, "platform": "os", "python": "3", "pools": [], "versions": {}}
ONE = Result((Measurement("x", 1.0, 1.0, 1.0),))


def test_what_has_no_chart_has_no_picture(tmp_path: Path) -> None:
    """Nor a table of details; a machine that does not say what others do is not said to be idle."""
    files = kept.save(tmp_path, {"training": {"machine": MACHINE, "runs": [ONE.to_json()]}})
    assert [file.name for file in files] == ["benchmarks.json", "benchmarks.md"]
    text = files[1].read_text()
    assert "![" not in text and "in detail" not in text and "Other processes" not in text


@pytest.mark.parametrize(
    "status, printed, error, words",
    [
        (2, '"needs a library: No module named x"', ImportError, "training needs a library: No module named x"),
        (1, "", process.BenchError, "the section training ended with status 1"),
    ],
)
def test_a_section_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, status: int, printed: str, error: type[Exception], words: str
) -> None:
    """A missing library is one sentence with its name; any other failure is not taken for that."""
    ran = subprocess.CompletedProcess([], status, printed)
    monkeypatch.setattr(process.subprocess, "run", lambda *command, **settings: ran)
    with pytest.raises(error, match=words):
        process.measure("training", True)


def test_a_child_prints_its_result_or_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `process.measure` reads them: JSON alone on standard output, progress on standard error."""

    class Section:
        title = about = ""

        def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
            note(f"quick: {quick}")
            return ONE

    monkeypatch.setattr(child, "load", lambda name: Section())
    assert child.main("training", True) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert Result.from_json(found["result"]).measurements == ONE.measurements
    assert found["machine"].keys() == MACHINE.keys() and shown.err == "  quick: True\n"

    def lacking(name: str) -> Any:
        raise ImportError("No module named 'x'")

    monkeypatch.setattr(child, "load", lacking)
    assert child.main("training", False) == 2
    assert json.loads(capsys.readouterr().out) == "needs a library: No module named 'x'"


def test_the_command_prints_json_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every run of every section, each section once, for a machine to read."""
    values = iter([1.0, 2.0, 3.0, 4.0])
    measure = lambda name, quick: (MACHINE, Result((replace(ONE.measurements[0], value=next(values)),)))  # noqa: E731
    monkeypatch.setattr(process, "measure", measure)
    command = ["bench", "training", "scale", "training", "--runs", "2", "--json", "--out", str(tmp_path)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    shown = {name: [run["measurements"][0]["value"] for run in own["runs"]] for name, own in found.items()}
    assert shown == {"training": [1.0, 2.0], "scale": [3.0, 4.0]}
    assert kept.load(tmp_path) == found
