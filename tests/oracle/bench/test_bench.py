"""The benchmarks run, keep what they measured, and write it up. How fast anything is, no test decides: machines differ."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle import bench
from oracle.bench import kept, networks, process, render, steps, timing, training
from oracle.bench.machine import Others
from oracle.bench.section import Chart, Measurement, Result
from oracle.suite.build import layer


def result(*ratios: float, limit: float | None = 1.0) -> Result:
    measurements = tuple(
        Measurement(f"net {number}", ratio, ratio - 0.1, ratio + 0.1, limit) for number, ratio in enumerate(ratios)
    )
    bars = {"float64": (("net 0", ratios[0]),)}
    return Result(
        measurements, ({"network": "net 0", "ms": 1.5},), ("A remark.",), (Chart("t", "", "y", bars, mark=1.0),)
    )


MACHINE = {
    "processor": "p",
    "cores": 2,
    "others": 0.5,
    "platform": "os",
    "python": "3",
    "pools": ["blas"],
    "versions": {"numpy": "2"},
}


@pytest.mark.slow
def test_the_quick_form_of_a_training_step_comes_to_its_table(tmp_path: Path) -> None:
    """`oracle bench` from the outside: a child process measures, three files are written, the table is shown.

    The section on one thread takes half as long as the other, and shares its code.
    """
    command = [sys.executable, "-m", "oracle", "bench", "training-one-thread", "--quick", "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "mlp float32, refbp / torch" in ran.stdout
    text = (tmp_path / "benchmarks.md").read_text()
    assert "## Training step on one thread" in text and "| mlp float64, refbp / torch |" in text
    assert "![Every figure of the last runs](benchmarks.svg)" in text
    assert (tmp_path / "benchmarks.svg").read_text().startswith("<?xml")
    (run,) = json.loads((tmp_path / "benchmarks.json").read_text())["training-one-thread"]["runs"]
    found = Result.from_json(run)
    assert all(0 < one.low <= one.value <= one.high < math.inf for one in found.measurements)
    assert {row["network"] for row in found.details} == {"mlp"}


NARROW = {
    "lenet5": networks.lenet5()[0],
    "vgg": [
        *networks.conv_norm(3, 4),
        layer("ReLU"),
        layer("MaxPool2d", 2),
        layer("Flatten"),
        layer("Linear", 784, 10),
    ],
    "resnet18": networks.resnet18(4),
}


@pytest.mark.parametrize(
    ("library", "name"),
    # The peers lack a layer of ResNet-18.
    [
        *(("torch", name) for name in NARROW),
        *((own, name) for own in ("mygrad", "autograd") for name in ("lenet5", "vgg")),
    ],
)
def test_contenders_make_the_same_steps(library: str, name: str) -> None:
    """The contenders do the same work: after three steps their parameters agree."""
    pytest.importorskip(library)
    shape = {"lenet5": (4, 1, 28, 28), "vgg": (4, 3, 28, 28), "resnet18": (2, 3, 32, 32)}[name]
    case = networks.of_layers(name, NARROW[name], shape, "float64")
    ours = steps.refbp(case)
    theirs = steps.torch(case) if library == "torch" else training.peer(library, case)
    for contender in (ours, theirs):
        for _ in range(3):
            contender.step()
    expected, got = ours.parameters(), theirs.parameters()
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert np.any(value != case.params[key])
        np.testing.assert_allclose(got[key], value, rtol=1e-8, atol=1e-12)


def test_products_are_those_of_the_layers() -> None:
    """Rows, inner size and columns of every linear and convolution layer, and the first one's input gradient left out."""
    found = networks.products(networks.network("lenet5", "float32"))
    assert [tuple(product[:3]) for product in found] == [
        (128 * 28 * 28, 25, 6),
        (128 * 10 * 10, 150, 16),
        (128, 400, 120),
        (128, 120, 84),
        (128, 84, 10),
    ]
    assert [product.first for product in found] == [True, False, False, False, False]
    assert found[2].multiply_adds == 3 * 128 * 400 * 120


def test_samples_are_taken_in_turn() -> None:
    """One sample of each contender a round, in an order that turns."""
    calls: list[str] = []
    times = timing.interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3, least_seconds=0.0)
    assert [len(own) for own in times.values()] == [3, 3]
    timed = calls[4:]  # after what is set up, and how long a call takes
    assert timed == ["a", "a", "b", "b", "b", "b", "a", "a", "a", "a", "b", "b"]


def test_the_child_has_no_settings_of_numerical_libraries() -> None:
    """A machine's own limits on BLAS do not reach the measurement; everything else does."""
    given = {
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_L2_SIZE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
    }
    assert process.clean(given) == {"PATH": os.environ["PATH"]}


def test_what_others_do_is_not_this_process() -> None:
    """Own work does not count as that of others, nor as less than nothing."""
    others = Others()
    begin = time.process_time()
    while time.process_time() - begin < 0.2:
        pass
    cores = others.cores()
    assert cores is None or 0 <= cores <= (os.cpu_count() or 1)


def test_a_measurement_knows_its_limit() -> None:
    assert Measurement.of("x", [3.0, 1.0, 2.0], limit=2.0).met
    assert Measurement.of("x", [3.0, 1.0, 2.0], limit=2.0) == Measurement("x", 2.0, 1.5, 2.5, 2.0)
    assert not Measurement("x", 2.0, 2.0, 2.0, limit=3.0, at_least=True).met
    assert Measurement("x", 2.0, 2.0, 2.0).met is None


def test_runs_stand_side_by_side() -> None:
    """A limit is kept when every run keeps it."""
    table = render.goals([result(0.9, 1.2, 0.9), result(0.95, 1.3, 1.1)])
    assert list(table["met"]) == ["yes", "no", "in 1 of 2"]
    assert table["run 2"][1] == "1.3 (1.2–1.4)"
    assert list(render.goals([result(2.0, limit=None)])["met"]) == [""]


def test_a_section_measured_anew_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring one section keeps the measurements of the others, in all three files."""
    monkeypatch.setitem(bench.SECTIONS, "other", "oracle.bench.training:Training")
    entry: Any = lambda *ratios: {"machine": MACHINE, "runs": [result(*ratios).to_json()]}  # noqa: E731
    kept.save(tmp_path, {"training": entry(0.5), "other": entry(0.7)})
    kept.save(tmp_path, {"training": entry(0.6)})
    text = (tmp_path / "benchmarks.md").read_text()
    assert "0.6 (0.5–0.7)" in text and "0.7 (0.6–0.8)" in text and "0.5 (0.4–0.6)" not in text
    assert "A remark." in text and "| net 0 | 1.5 |" in text


@pytest.mark.parametrize("text", ["[]", "{", '{"training": {}}', '{"training": {"runs": [{}]}}'])
def test_a_file_of_another_kind_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "benchmarks.json").write_text(text)
    with pytest.raises(ValueError, match=r"benchmarks\.json holds no benchmarks"):
        kept.load(tmp_path)


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(ValueError, match="unknown section 'speed': known are training"):
        bench.load("speed")
