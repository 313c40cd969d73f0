"""What was not tested is said, and is no success: quantities that a profile leaves out, gradients that nobody saw, a reference
that cannot run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import oracle
from oracle.case.case import Case
from oracle.cli import main
from oracle.harness.surroundings import Surroundings
from oracle.report import github
from oracle.subjects import refbp as refbp_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Trace

CASE = network_case("hidden/net", "", [layer("Linear", 3, 4), layer("Tanh")], (5, 3))


class Shows:
    """refbp, of which only some quantities are seen."""

    def __init__(self, *quantities: str, **declared: object) -> None:
        self.name, self.kinds = "shows", quantities
        self.profile = oracle.Profile(quantities=quantities, **declared)  # type: ignore[arg-type]

    def run(self, case: Case) -> Trace:
        shown, trace = Trace(), refbp_subject.run(case)
        for key in trace:
            if self.profile.shows(key.quantity):
                shown.record(*key, trace.arrays[key])
        return shown


def test_every_form_of_a_report_says_what_a_profile_leaves_out(tmp_path: Path) -> None:
    """Whoever reads that something conforms has to see that only a part of it was looked at."""
    report = oracle.run(Shows("output", "grad_input", conventions=("softplus_uncut",)), cases=[CASE])
    assert report.passed
    said = "its profile declares that it shows only output, grad_input; its profile declares that it follows softplus_uncut"
    report.to_html(tmp_path / "report.html")
    forms = [report.conclusion, repr(report), report.to_markdown(), report.to_junit(), report._repr_html_()]
    forms += [(tmp_path / "report.html").read_text()]
    forms += [github.summary(report)]
    assert all(said in form for form in forms)
    assert report.to_json()["environment"]["profile"] == said.split("; ")
    assert "profile" not in oracle.run("refbp", cases=[CASE]).conclusion


def test_a_run_that_shows_no_gradient_has_not_passed() -> None:
    """All forward values may be right, and nothing of a backward pass was tested."""
    report = oracle.run(Shows("output"), cases=[CASE])
    assert (report.passed, report.outcome, report.blame) == (False, "no gradient was decided", [])
    assert "no gradient is decided in 8 rows" in report.conclusion
    with pytest.raises(oracle.Discrepancy, match="no gradient was decided"):
        report.raise_for_discrepancy()


def test_gradients_of_zeros_decide_nothing() -> None:
    """An upstream gradient of zeros lets every backward pass."""
    zeros = CASE.with_upstream(np.zeros((5, 4)))
    report = oracle.run("refbp", cases=[zeros])
    assert (report.passed, report.outcome) == (False, "no gradient was decided")
    assert report.conclusion.endswith("every term that was added up is zero: nothing was tested")


def test_a_command_without_a_decided_gradient_ends_with_2(tmp_path: Path) -> None:
    """In JSON, too, it is not passed."""
    CASE.with_upstream(np.zeros((5, 4))).save(tmp_path / "case.json")
    out = tmp_path / "out"
    assert main(["run", "--case-file", str(tmp_path / "case.json"), "--dtype", "float64", "--out", str(out)]) == 2
    assert json.loads((out / "report.json").read_text())["passed"] is False


def test_an_update_alone_is_what_there_is_to_decide() -> None:
    """An optimizer's step has no gradient but the one that it is given."""
    assert oracle.run("refbp", cases="optimizer/SGD,momentum=0.9*", dtypes=("float64",)).passed


@contextmanager
def hooked() -> Iterator[None]:
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, given, output: 2 * output)
    yield
    handle.remove()


@contextmanager
def defaults() -> Iterator[None]:
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "changed", [torch.no_grad, torch.inference_mode, hooked, defaults, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_torch_is_a_reference_whatever_its_process_does_to_it(changed: type) -> None:
    """Gradients switched off, hooks of all modules, another default: all are the caller's business."""
    with changed():
        report = oracle.run("refbp", cases=[CASE])
    assert report.passed, report


class Redirected(TorchFunctionMode):
    """Passes each call on; only its presence matters."""


class Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_modes_that_a_subject_leaves_on_are_taken_off_again() -> None:
    """Those alone: a mode of the caller's own stays, beneath what was left on it."""
    with Redirected() as own:
        before = Surroundings()
        Redirected().__enter__()
        Dispatched().__enter__()
        names = before.put_back()
        assert torch.overrides._get_current_function_mode_stack() == [own]
        assert torch._C._len_torch_dispatch_stack() == 0
    assert names == ("torch's modes or default device", "torch's dispatch modes")
    assert Surroundings().put_back() == ()


@pytest.mark.contained
def test_a_reference_that_cannot_run_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known about the subject, and nobody is to think that it lacks something."""

    def broken(case: Case) -> Trace:
        raise RuntimeError("out of order")

    from oracle.subjects import torch as torch_subject

    monkeypatch.setattr(torch_subject, "run", broken)
    report = oracle.run("refbp", cases=[CASE])
    assert set(report.table["verdict"]) == {"failed"} and not report.passed
    assert "the reference torch cannot run it: RuntimeError: out of order" in report.conclusion


def test_only_layers_that_add_up_err_by_the_norm() -> None:
    """A tolerance that is spread over an array would hide an element of an activation."""
    assert oracle.Profile(normwise=("Conv2d", "Linear")).normwise
    with pytest.raises(ValueError, match=r"normwise are layers that add up, .*, got 'ReLU'"):
        oracle.Profile(normwise=("ReLU",))
