"""The recipes of CONTRIBUTING.md work as they stand."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import oracle
import refbp.reshape
from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest import bugs
from oracle.selftest.bugs import reshaping
from oracle.selftest.bugs.bug import Bug
from oracle.selftest.corpus.entry import Book, Op
from oracle.selftest.corpus.score import all_entries
from oracle.suite import build
from refbp.checks import checked

RECIPES = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def recipe(heading: str) -> str:
    """The code of a section."""
    section = RECIPES.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dedent(re.findall(r"^ *```python\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)[0])


@pytest.fixture
def channel_shuffle(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The layer of the first recipe, in the places where the recipe puts it."""
    for name in ("channel_shuffle", "ChannelShuffle"):  # undone after the test
        monkeypatch.setattr(refbp.reshape, name, None, raising=False)
    exec(recipe("A layer"), vars(refbp.reshape))
    added = vars(refbp.reshape)["ChannelShuffle"]
    monkeypatch.setattr(refbp, "ChannelShuffle", added, raising=False)
    op = checked(vars(refbp.reshape)["channel_shuffle"])
    monkeypatch.setattr(refbp.functional, "channel_shuffle", op, raising=False)
    monkeypatch.setitem(build.LAYERS, "ChannelShuffle", added)
    return added


def test_a_layer_and_its_case(channel_shuffle: Any) -> None:
    """It follows torch, and its case passes."""
    x = np.random.default_rng(0).standard_normal((2, 6, 4))
    given = torch.tensor(x, requires_grad=True)
    expected = torch.nn.ChannelShuffle(3)(given)
    expected.backward(torch.tensor(x))
    layer = channel_shuffle(3)
    np.testing.assert_array_equal(layer(x), expected.detach())
    np.testing.assert_array_equal(layer.backward(x), given.grad)
    assert "Gradients: " in channel_shuffle.__doc__
    code = recipe("A case").removeprefix("yield ")
    case = eval(code, {"network_case": build.network_case, "layer": build.layer})
    report = oracle.run("refbp", cases=[case])
    assert report.passed and set(report.cases["verdict"]) == {"pass"}


def test_a_planted_bug(channel_shuffle: Any) -> None:
    """It is caught where it is."""
    code = recipe("A planted bug").removeprefix("yield ")
    bug = eval(code, {**vars(reshaping), "refbp": refbp})
    assert isinstance(bug, Bug) and bug.name not in bugs.all_bugs()
    case = bug.case.astype("float32")
    rows = oracle.run(_Wrong(bug), cases=[case], dtypes=["float32"]).blame
    assert (rows[0].layer, rows[0].quantity, rows[0].cause_name) == ("target", "grad_input", "permuted")


class _Wrong:
    name = "planted"

    def __init__(self, bug: Bug) -> None:
        self.run = bug.run


def test_a_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs the cases of what it has, and says of the rest that it has it not."""
    module = ModuleType("functorch")
    monkeypatch.setitem(sys.modules, "functorch", module)
    exec(recipe("A subject"), vars(module))
    report = oracle.run(module, cases="linear/Linear,in_features=3*", dtypes=["float32"])
    assert report.passed and set(report.cases["verdict"]) == {"pass"}
    assert set(oracle.run(module, cases="activation/ReLU6", dtypes=["float32"]).cases["verdict"]) == {"unsupported"}


def test_a_published_bug() -> None:
    """It is caught, and its repaired twin is not accused."""
    book = Book("recipe")
    exec(
        recipe("A published bug"),
        {"BOOK": book, "np": np, "Any": Any, "Array": Array, "Differentiable": Differentiable},
    )
    (entry,) = book.entries
    assert entry.source in all_entries() and isinstance(entry.wiring, Op)
    options = {"reduction": "mean", "x": np.arange(6.0).reshape(2, 3), "target": np.ones((2, 3))}
    wiring = replace(entry.wiring, options=options)
    first = wiring.report(False).blame[0]
    assert first.quantity in entry.quantities and first.cause_name in entry.causes
    assert wiring.report(True).passed
