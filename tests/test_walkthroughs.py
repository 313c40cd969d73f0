"""Ways of four people through the project, each with the commands and calls that README and the guide name.

The kernel engineer's, whose failing CI is annotated, is tests/test_github_action.py; the maintainer's file of known failures is
tested with the pytest plugin.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

import oracle
from oracle.cli import main

NOTEBOOK = Path(__file__).parents[1] / "refbp" / "backpropagation.ipynb"
MOST_LINES, MOST_SECONDS = 3, 60  # that the student writes, beside the pooling itself, and waits


def max_pool(x: Any) -> Any:
    """A student's, 3 × 3 with a stride of 2: where windows overlap, one writes over what the other has handed back."""
    n, c, height, width = x.shape
    y = np.empty((n, c, (height - 3) // 2 + 1, (width - 3) // 2 + 1), x.dtype)
    for i, j in np.ndindex(y.shape[2:]):
        y[:, :, i, j] = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(2, 3))

    def backward(dy: Any) -> Any:
        dx = np.zeros_like(x)
        for i, j in np.ndindex(y.shape[2:]):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            is_largest = window == y[:, :, i, j][:, :, None, None]
            dx[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] = is_largest * dy[:, :, i, j][:, :, None, None]
        return dx

    return y, backward


CALL = """
report = oracle.check_op("max_pool2d", max_pool, kernel_size=3, stride=2, x=(2, 3, 7, 9))
print(report)
"""


def test_a_student_finds_windows_that_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines, and the answer names what is wrong: the first pooling of a course is checked within the lesson."""
    assert len(ast.parse(CALL).body) <= MOST_LINES
    start = time.perf_counter()
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 9))
    names = {"oracle": oracle, "max_pool": max_pool}
    exec(CALL.replace("x=(2, 3, 7, 9)", "x=x"), {**names, "x": x})
    assert time.perf_counter() - start < MOST_SECONDS
    said = capsys.readouterr().out
    assert "(MaxPool2d) grad_input wrong" in said
    assert "windows that overlap overwrite each other instead of adding up" in said, said


def test_an_average_that_is_written_over_is_named_too() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 9))

    def avg_pool(x: Any) -> Any:
        y = np.empty((*x.shape[:2], 3, 4), x.dtype)
        for i, j in np.ndindex(3, 4):
            y[:, :, i, j] = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean(axis=(2, 3))

        def backward(dy: Any) -> Any:
            dx = np.zeros_like(x)
            for i, j in np.ndindex(3, 4):
                dx[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] = dy[:, :, i, j][:, :, None, None] / 9
            return dx

        return y, backward

    report = oracle.check_op("avg_pool2d", avg_pool, kernel_size=3, stride=2, x=x, dtypes=("float64",))
    assert [(own.quantity, own.cause_name) for own in report.blame] == [("grad_input", "overwritten")]


def test_a_maintainer_shows_how_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs kept, a badge, and a page that says what the second made worse."""
    monkeypatch.chdir(tmp_path)
    words = ["--cases", "linear/Linear,in_features=3*batch=5", "--dtype", "float32"]
    assert main(["init", "kept.py"]) == 0
    text = Path("kept.py").read_text()
    assert main(["run", "--subject", "kept:subject", *words, "--out", "runs/1"]) == 0
    Path("kept.py").write_text(text.replace("rows.sum(axis=0)", "rows.mean(axis=0)"))
    assert main(["run", "--subject", "kept:subject", *words, "--out", "runs/2"]) == 1
    capsys.readouterr()
    assert main(["report", "runs/2", "--format", "badge"]) == 0
    assert "✗ 1 kind of discrepancies" in capsys.readouterr().out
    assert main(["diff", "runs/1", "runs/2", "--html", "diff.html"]) == 1
    assert main(["report", "runs", "--history", "--html", "history.html"]) == 0
    assert "1 / the batch size times the right value" in Path("diff.html").read_text()


def test_a_learner_checks_a_step_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """From the given numbers alone each kind of line comes out as `oracle explain` prints it."""
    assert main(["explain", "worked-example/plain", "--format", "json"]) == 0
    found: dict[tuple[str, str], Any] = {}
    for section in json.loads(capsys.readouterr().out)["sections"]:
        values = [line["value"] for line in section["lines"]]
        if values:
            place = section["place"].partition(" (")[0]
            key = place if section["stage"] in ("given", "update") else section["symbol"]
            found[section["stage"], key if key == place else f"{place} {key}"] = np.reshape(values, section["shape"])
    x, target = found["given", "input"], found["given", "target"]
    W, b = found["given", "output.weight"], found["given", "output.bias"]
    z = x @ found["given", "hidden1.weight"].T + found["given", "hidden1.bias"]
    assert found["forward", "hidden1 z"] == pytest.approx(z)
    below = found["forward", "sigmoid2 n"]
    a = 1 / (1 + np.exp(-(below @ W.T + b)))
    assert found["loss", "loss L"] == pytest.approx(((a - target) ** 2).mean())
    delta = 2 * (a - target) * a * (1 - a)
    assert found["backward", "output δ"] == pytest.approx(delta)
    assert found["backward", "output ∂weight"] == pytest.approx(delta.T @ below)
    assert found["backward", "sigmoid2 ∂L/∂z"] == pytest.approx(delta @ W * below * (1 - below))
    assert found["update", "output.weight"] == pytest.approx(W - 0.5 * delta.T @ below)


def test_the_notebook_prints_what_it_shows() -> None:
    """By hand, by refbp and by torch the same, and the planted mistake is found; what is stored is what comes out today."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    names: dict[str, Any] = {}
    printed = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(cell.source, NOTEBOOK.name, "exec"), names)
            assert out.getvalue() == "".join(output["text"] for output in cell.outputs), cell.source
            printed.append(out.getvalue())
    assert "the same within rounding" in "".join(printed) and "Sigmoid grad_input is wrong in 3 places" in "".join(
        printed
    )
