"""The smallest case: small, failing for the same cause, saved, and with a script that shows it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.cli import main
from oracle.harness.script import quoted, script
from oracle.harness.shrink import one_of_each_kind
from oracle.judging.long_runs import stretch
from oracle.selftest.bugs import all_bugs
from oracle.selftest.plant import changed
from oracle.suite import named

from ..planted import Planted, turned, unturned


def lenet() -> oracle.Case:
    """Two steps of a LeNet."""
    return stretch(named("lenet5/random"), 0, 2).astype("float32")


SUBJECT = """
from oracle.selftest.plant import changed

class Subject:
    name = "mine"
    run = staticmethod(changed("Linear", grad_input=lambda gradient, call: 2 * gradient))

subject = Subject()
"""


def test_a_lenet_with_one_broken_convolution_comes_down_to_a_single_small_layer() -> None:
    """In few trials; what is left still fails for the same cause, and that one alone."""
    subject, tried = unturned(), []

    def counted(case: oracle.Case) -> oracle.Trace:
        tried.append(case.name)
        return subject.run(case)

    shrunk = oracle.shrink(lenet(), Planted(counted))
    assert len(tried) < 200
    (layer,) = shrunk.case.layers
    assert layer.type == "Conv2d" and shrunk.case.loss is None and shrunk.case.steps == 1
    assert max(shrunk.case.inputs[0].shape[2:]) <= 3
    assert (shrunk.culprit.quantity, shrunk.culprit.cause_name) == ("grad_input", "kernel turned")
    again = oracle.run(unturned(), cases=[shrunk.case], dtypes=("float32",))
    assert again.blame[0].cause == shrunk.culprit.cause
    assert oracle.run(cases=[shrunk.case], dtypes=("float32",)).passed


@pytest.mark.parametrize(
    ("subject", "case", "size"),
    [
        (changed("CrossEntropyLoss", grad_input=lambda g, c: g * 2), lenet(), 8),
        (changed("Tanh", grad_input=lambda g, c: c.grad_output * (1 - c.input**2)), lenet(), 4),
        (all_bugs()["SGD: decay after momentum"].run, all_bugs()["SGD: decay after momentum"].case, 4),
        (all_bugs()["Dropout: not scaled"].run, all_bugs()["Dropout: not scaled"].case, 4),
    ],
    ids=["loss", "activation", "update", "mask"],
)
def test_losses_updates_and_masked_layers_shrink_too(subject: Any, case: Any, size: int) -> None:
    shrunk = oracle.shrink(case.astype("float32"), Planted(subject))
    data = [*shrunk.case.inputs, *(array for grads in shrunk.case.grads for array in grads.values())]
    assert sum(array.size for array in data) <= size
    text = script(shrunk, "case.json", "mine:subject")
    assert len(text.splitlines()) < 30 and shrunk.culprit.cause in " ".join(text.split()).replace("# ", "")
    compile(text, "script", "exec")


def test_what_does_not_fail_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match="lenet5/random does not fail in float32"):
        oracle.shrink(lenet(), "refbp")


def test_a_crash_is_shrunk_to_its_layer() -> None:
    """A convolution that cannot do what it should comes down to one convolution."""

    def fails(gradient: Any, call: Any) -> Any:
        raise RuntimeError("out of order")

    shrunk = oracle.shrink(lenet(), Planted(changed("Conv2d", grad_input=fails)))
    assert shrunk.culprit.verdict == "crashed" and "out of order" in shrunk.culprit.diagnosis


def test_what_is_not_delivered_is_shrunk_too() -> None:
    """A subject that shows nothing at all leaves parts without an upstream gradient."""
    shrunk = oracle.shrink(named("worked-example/plain").astype("float32"), Planted(lambda case: oracle.Trace()))
    assert shrunk.culprit.verdict == "missing" and shrunk.got is None
    compile(script(shrunk, "case.json", "mine:subject"), "script", "exec")


def test_one_of_each_kind() -> None:
    """Two culprits of one case and kind, and the same again in another dtype, are one kind."""
    blames = [*turned().blame, *turned().blame]
    assert one_of_each_kind(blames) == blames[:1]


@pytest.mark.slow
def test_the_command_saves_the_case_and_a_script_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it prints is what it saves, and running that in the same folder, as it stands, shows the discrepancy."""
    (tmp_path / "mine.py").write_text(SUBJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cases = ["--cases", "linear/Linear,in_features=3,out_features=4,bias=True,batch=5", "--dtype", "float32"]
    assert main(["run", "--subject", "mine:subject", *cases, "--out", "out", "--shrink"]) == 1
    shown = capsys.readouterr().out
    (file,) = Path("out/shrunk").glob("*.py")
    assert file.read_text().strip() in shown
    installed = {"PYTHONPATH": str(Path(oracle.__file__).parents[1])}
    ran = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True, env=installed)
    got, expected = ran.stdout.split("expected")
    assert got.removeprefix("got").split() != expected.split()
    assert np.isfinite(float(got.split("[")[-1].split("]")[0].split()[0]))


def test_the_command_shrinks_nothing_where_all_is_well(tmp_path: Path) -> None:
    assert main(["run", "--cases", "linear/*", "--dtype", "float64", "--out", str(tmp_path), "--shrink"]) == 0
    assert not (tmp_path / "shrunk").exists()


def test_a_name_cannot_break_out_of_the_script() -> None:
    """A case comes from anybody; the script is run by hand."""
    for name in ('x"); print("hacked', "a\\", "b\n1 / 0", "ü\u2028"):
        literal = quoted(name)
        assert "\n" not in literal and ast.literal_eval(literal) == name
