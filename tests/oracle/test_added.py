"""What is added to the project is entered once: a copy of it with one thing more knows that thing everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of both packages."""
    for package in ("oracle", "refbp"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def said(copy: Path, code: str) -> list[str]:
    """What a script prints that imports the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_figure_is_entered_in_the_row_alone(copy: Path) -> None:
    """It is in the table and its files, is read back, and has a column in the page, with its kind and its digits."""
    last = "    tolerance: float = math.nan\n"
    edit(copy / "oracle/judging/rows.py", last, f"{last}    skew: float = math.nan\n")
    code = """
from oracle.judging.rows import Row
from oracle.report.about import About
from oracle.report.html import payload
from oracle.report.report import Report, load_report

row = Row("tiny/one", "float32", 0, "0", "Linear", "output", "local", "pass", n=1, skew=0.123456789)
about = About(subject="a", reference="b", dtypes=("float32",), cases=1)
Report.of([row], about, {}).save("kept")
back = load_report("kept")
print(back.table["skew"].tolist())
print("skew" in open("kept/table.csv").readline())
print(payload.columns(back.table, [])["skew"])
print([(own["kind"], own["label"], own["width"] > 0) for own in payload.shown() if own["name"] == "skew"])
"""
    assert said(copy, code) == ["[0.123456789]", "True", "{'numbers': [0.1235]}", "[('figure', 'skew', True)]"]


def test_what_is_said_of_a_run_is_entered_in_its_class_alone(copy: Path) -> None:
    """It is written, read back, shown in the page, and refused where it is of another type."""
    edit(copy / "oracle/report/about.py", '    again: str = ""\n', '    again: str = ""\n    the_weather: str = ""\n')
    code = """
import json
from oracle.report.about import About
from oracle.report.report import Report, ReportError, load_report

about = About(subject="a", reference="b", dtypes=("float32",), cases=1, the_weather="fine")
Report.of([], about, {}).save("kept")
print(load_report("kept").about == about, ">the weather<" in open("kept/report.html").read())
kept = json.load(open("kept/report.json"))
kept["environment"]["the weather"] = 3
json.dump(kept, open("kept/report.json", "w"))
try:
    load_report("kept")
except ReportError as error:
    print(error)
"""
    damaged = "kept holds no report: its files are damaged (its environment's the weather is 3)"
    assert said(copy, code) == ["True True", damaged]


LION = '''

def lion(
    param: Array, grad: Array, exp_avg_sign: Array | None = None, lr: float = 1e-4, beta: float = 0.9
) -> tuple[Array, Array]:
    """W ← W - η sign(m)."""
    m = np.zeros_like(param) if exp_avg_sign is None else exp_avg_sign
    m = beta * m + (1 - beta) * grad
    return param - lr * np.sign(m), m


class Lion(Optimizer):
    """An optimizer that torch.optim lacks."""

    rule, state_names = staticmethod(lion), ("exp_avg_sign",)

    def __init__(self, params: Params, lr: float = 1e-4, beta: float = 0.9) -> None:
        super().__init__(params, lr=lr, beta=beta)
'''


def test_an_optimizer_is_entered_in_its_file_and_the_public_names_alone(copy: Path) -> None:
    """Its state has a name that a profile knows, it is in the list of classes, and its op is told to have no backward."""
    with (copy / "refbp/update_rules.py").open("a") as file:
        file.write(LION)
    edit(
        copy / "refbp/__init__.py",
        "from refbp.update_rules import SGD as SGD\n",
        "from refbp.update_rules import SGD as SGD\nfrom refbp.update_rules import Lion as Lion\n",
    )
    edit(copy / "refbp/functional.py", "sgd = update_rules.sgd\n", "sgd = update_rules.sgd\nlion = update_rules.lion\n")
    code = """
import numpy as np
import oracle
from oracle.cli.lists import quantities
from oracle.suite.optimizers import update_case

case = update_case("mine/Lion", "", oracle.Spec("Lion", {"lr": 0.1}))
profile = oracle.Profile(quantities=("param.*", "exp_avg_sign.weight"))
print(oracle.run("refbp", "refbp", cases=[case]).passed, profile.shows("exp_avg_sign.weight"))
print(quantities("optimizer", "Lion", []))
print(oracle.run("refbp", "torch", cases=[case]).cases["diagnosis"].iloc[0])
try:
    oracle.check_op("lion", lambda x: x)
except ValueError as error:
    print(error)
"""
    assert said(copy, code) == [
        "True True",
        "['param', 'exp_avg_sign']",
        "the reference torch cannot run it: Unsupported: torch.optim has no Lion",
        "lion cannot be checked by itself, since it is an update, not differentiable: try it in a subject of oracle.run",
    ]


CENTRED = '''

class Centred(Layer):
    """A layer that torch.nn lacks: what is left without a running centre, times a weight for each channel."""

    buffer_names = ("running_centre",)

    def __init__(self, num_features: int, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.add_param("weight", np.ones(num_features))
        self._buffers["running_centre"] = np.zeros(num_features, self.dtype)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        (weight,) = params
        rest = input - self._buffers["running_centre"].astype(input.dtype)
        return rest * weight, lambda grad_output: (grad_output * weight, (grad_output * rest).sum(axis=0))
'''


def test_a_layer_with_a_buffer_is_entered_in_its_file_and_the_public_names_alone(copy: Path) -> None:
    """The buffer is judged as one, is no parameter that learns, and a profile knows its name."""
    with (copy / "refbp/reshape.py").open("a") as file:
        file.write(CENTRED)
    names = "from refbp.reshape import Flatten as Flatten\n"
    edit(copy / "refbp/__init__.py", names, f"from refbp.reshape import Centred as Centred\n{names}")
    code = """
import oracle
from oracle.case.names import is_buffer
from oracle.suite.build import layer, network_case

case = network_case("mine/Centred", "", [layer("Centred", 3)], (4, 3))
report = oracle.run("refbp", "refbp", cases=[case], witness=True)
print(report.passed, sorted(set(report.table["quantity"])))
print(is_buffer("0.running_centre"), is_buffer("0.weight"))
print(oracle.Profile(quantities=("output", "buffer.running_centre")).shows("buffer.running_centre"))
print(oracle.run("refbp", "torch", cases=[case]).cases["verdict"].iloc[0])
"""
    first, *rest = said(copy, code)
    assert first.startswith("True") and "'buffer.running_centre'" in first and "'grad.running_centre'" not in first
    assert rest == ["True False", "True", "unsupported"]
