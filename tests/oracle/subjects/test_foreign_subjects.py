"""Programs that are not Python: an MLP and CNN backward in C and one in JavaScript, judged like everything else."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import oracle
from oracle import vectors
from oracle.case.arrays import Array
from oracle.subjects import process
from oracle.trace import Key

from ...programs import program
from ..filled import fill

PROGRAMS = Path(__file__).parents[2] / "subjects"
# What both can: everything of these conforms, or says what it lacks.
CASES = (
    "worked-example",
    "lenet5",
    "mlp/Tanh",
    "mlp/ReLU+",
    "mlp/Sigmoid",
    "linear/",
    "conv/Conv2d",
    "pool/MaxPool2d",
    "pool/AvgPool2d",
    "optimizer/SGD",
    "tie/",
    "kink/ReLU",
    "exact/",
    "nonfinite/ReLU",
    "layout/Conv2d",
    "batch/Conv2d",
    "loss/MSELoss",
    "loss/CrossEntropyLoss",
    "network/shared_layer",
)
IN_FULL = (
    "worked-example/plain",
    "worked-example/decay",
    "lenet5/random",
    "mlp/Tanh+CrossEntropyLoss",
    "mlp/ReLU+MSELoss",
)


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C program, built without a warning."""
    made = tmp_path_factory.mktemp("c") / "backprop"
    source = PROGRAMS / "c" / "backprop.c"
    flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([program("gcc"), *flags, "-o", str(made), str(source), "-lm"], check=True)
    return made


@pytest.fixture(scope="session", params=["c", "c with files", "javascript"])
def foreign(request: pytest.FixtureRequest) -> Iterator[process.ChildProgram]:
    if request.param == "javascript":
        command = [program("node"), str(PROGRAMS / "backprop.js")]
    else:
        binary = str(request.getfixturevalue("binary"))
        command = [binary] if request.param == "c" else [binary, "--safetensors"]
    subject = process.program(shlex.join(command))
    yield subject
    subject.end()


@pytest.mark.parametrize("cases", CASES)
def test_a_program_of_another_language_conforms(foreign: process.ChildProgram, cases: str) -> None:
    """In both precisions; what it lacks is unsupported, and something of every family is not."""
    report = oracle.run(foreign, "torch", cases)
    report.raise_for_discrepancy()
    supported = report.cases[report.cases["verdict"] != "unsupported"]
    assert len(supported) and set(supported["dtype"]) == {"float64", "float32"}
    assert report.table[report.table["verdict"] == "pass"]["z_max"].max() < 5


@pytest.mark.parametrize("name", IN_FULL)
def test_the_networks_are_judged_in_full(foreign: process.ChildProgram, name: str) -> None:
    """Every layer, the loss and the update, at every step: nothing missing, nothing undecided."""
    report = oracle.run(foreign, "refbp", name)
    assert set(report.table["verdict"]) == {"pass"}
    own = oracle.run("refbp", "refbp", name)
    place = ["step", "layer", "quantity", "mode", "dtype"]
    assert {tuple(row) for row in report.table[place].to_numpy()} == {tuple(row) for row in own.table[place].to_numpy()}


def test_a_bug_in_c_is_found(tmp_path: Path) -> None:
    """A kernel that is not turned on the way back is blamed on the convolution, with its cause; so the tests above can fail."""
    shutil.copytree(PROGRAMS / "c", tmp_path / "c")
    source = tmp_path / "c" / "network.h"
    right = "dx.data[image + PIXEL(at)] += w->data[tap] * delta;"
    text = source.read_text()
    assert right in text
    wrong = "long first = tap - (tap % (at.kh * at.kw)); " + right.replace(
        "[tap]", "[first + at.kh * at.kw - 1 - (tap - first)]"
    )
    source.write_text(text.replace(right, wrong))
    binary = tmp_path / "backprop"
    subprocess.run([program("gcc"), "-O2", "-o", str(binary), str(tmp_path / "c" / "backprop.c"), "-lm"], check=True)
    subject = process.program(str(binary))
    report = oracle.run(subject, "torch", "lenet5", ("float32",))
    subject.end()
    assert {(blame.layer, blame.quantity) for blame in report.blame} == {
        ("conv1", "grad_input"),
        ("conv2", "grad_input"),
    }
    assert all("180°" in blame.cause for blame in report.blame)
    assert f"--subject-command {binary}" in report.blame[0].reproduce


def test_a_bug_in_javascript_is_found(tmp_path: Path) -> None:
    """A derivative of tanh that forgets a square; as above."""
    text = (PROGRAMS / "backprop.js").read_text()
    right = "1 - y * y"
    assert right in text
    (tmp_path / "wrong.js").write_text(text.replace(right, "1 - y"))
    subject = process.program(shlex.join([program("node"), str(tmp_path / "wrong.js")]))
    report = oracle.run(subject, "torch", "mlp/Tanh+MSELoss", ("float64",))
    subject.end()
    assert {(blame.layer_type, blame.quantity) for blame in report.blame} == {("Tanh", "grad_input")}


def test_a_child_process_in_c_fills_a_folder_of_vectors(binary: Path, tmp_path: Path) -> None:
    """Exported, filled by a program without torch and Python, and judged."""
    patterns = {
        "network": "lenet5",
        "mlp": "mlp/Tanh+[CM]*",
        "convolution": "conv/Conv2d,stride=1",
        "example": "worked-example",
    }
    for name, pattern in patterns.items():
        folder, results = tmp_path / name, tmp_path / f"{name}-results"
        vectors.export(folder, pattern)
        done = subprocess.run([str(binary), str(folder), str(results)], capture_output=True, text=True, check=True)
        assert "cases filled" in done.stdout
        report = vectors.judge(folder, results)
        report.raise_for_discrepancy()
        assert report.environment["subject"] == "backprop.c" and "pass" in set(report.cases["verdict"])
        lacking = report.table[report.table["verdict"] == "unsupported"]["diagnosis"]
        assert set(report.cases["verdict"]) <= {"pass", "unsupported"} and all(lacking.str.startswith("no Conv2d"))


def test_what_c_left_can_be_wrong(binary: Path, tmp_path: Path) -> None:
    """The twin: one number of what it left is changed, and its layer is blamed."""
    vectors.export(tmp_path / "v", "worked-example/plain", ("float32",))
    subprocess.run([str(binary), str(tmp_path / "v"), str(tmp_path / "r")], capture_output=True, check=True)

    def shifted(key: Key, array: Array) -> Array:
        return array + array.dtype.type(1e-3) * (key.quantity == "grad.bias" and key.layer == "hidden2")

    subject = process.program(str(binary))
    fill(tmp_path / "v", tmp_path / "r", subject, shifted)
    subject.end()
    report = vectors.judge(tmp_path / "v", tmp_path / "r")
    assert (report.blame[0].layer, report.blame[0].quantity) == ("hidden2", "grad.bias")
