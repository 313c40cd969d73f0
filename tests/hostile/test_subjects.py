"""A subject's worst costs its own case, and exit status 0 is never a subject's doing."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.cli import main
from oracle.harness import executors
from oracle.subjects import SubjectError, load

from . import subjects

CASE = "worked-example/plain"
SECONDS = 2.0


def judged(subject: Any, cases: str = CASE, **more: Any) -> oracle.Report:
    return oracle.run(subject, "refbp", cases, ("float64",), **more)


@pytest.mark.parametrize("what", subjects.RAISING)
def test_what_it_raises_is_its_crash(what: str) -> None:
    """Whatever kind of thing is raised, one row says so; never the end of the run, of the tests, or a pass."""
    subject, said = subjects.RAISING[what]
    report = judged(subject)
    assert list(report.table["verdict"]) == ["crashed"] and not report.passed
    diagnosis = report.table["diagnosis"][0]
    assert diagnosis.startswith(said) and diagnosis.isprintable() and len(diagnosis) < 1100


def entered(mode: Any) -> None:
    """And never left."""
    mode.__enter__()
    subjects.ENTERED.append(mode)


LEFT: dict[str, tuple[Callable[[], object], str]] = {
    "gradients off": (lambda: torch.set_grad_enabled(False), "whether torch records gradients"),
    "inference mode": (lambda: entered(torch.inference_mode()), "torch's inference mode"),
    "another dtype": (lambda: torch.set_default_dtype(torch.float16), "torch's default dtype"),
    "another device": (lambda: torch.set_default_device("meta"), "torch's modes or default device"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "torch's autocast"),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True), "torch's deterministic algorithms"),
    "less precision": (
        lambda: torch.set_float32_matmul_precision("medium"),
        "torch's precision of float32 products",
    ),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "torch's number of threads"),
    "subnormal": (lambda: torch.set_flush_denormal(True), "whether torch flushes subnormal numbers to zero"),
    "a hook": (
        lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: torch.zeros(1)),
        "torch's hooks of all modules",
    ),
    "a mode": (lambda: entered(Meddling()), "torch's modes or default device"),
    "saved tensors": (
        lambda: entered(torch.autograd.graph.saved_tensors_hooks(lambda own: 2 * own, lambda own: own)),
        "torch's hooks of saved tensors",
    ),
    "oneDNN": (lambda: torch._C._set_mkldnn_enabled(False), "torch's use of oneDNN"),
    "shallow calls": (lambda: sys.setrecursionlimit(len(inspect.stack()) + 50), "Python's recursion limit"),
    "errors of NumPy": (lambda: np.seterr(all="raise"), "NumPy's error handling"),
    "a folder": (lambda: os.chdir(tempfile.gettempdir()), "the current folder"),
    "standard output": (lambda: setattr(sys, "stdout", None), "sys.stdout"),
}


class Meddling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return torch.zeros(1)


@pytest.mark.parametrize("what", LEFT)
def test_what_it_leaves_changed_is_put_back_and_said(what: str) -> None:
    """The reference runs in what there was before, and so does whoever comes next."""
    change, said = LEFT[what]
    before = subjects_surroundings()
    report = oracle.run(subjects.Right(change), "torch", CASE, ("float32",))
    assert subjects_surroundings() == before
    assert report.passed, report
    assert said in report.environment["left changed"]
    assert "changed settings that its whole process shares, which were restored: " in report.conclusion


def test_its_filters_of_warnings_reach_nobody() -> None:
    """A warning of the judge's own is no error because a subject wants errors."""
    before = list(warnings.filters)
    report = judged(subjects.Right(lambda: warnings.simplefilter("error")))
    assert report.passed and list(warnings.filters) == before


class Leaving:
    """A layer of anybody's, for `check_network`."""

    params: dict[str, Any] = {}  # noqa: RUF012

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x

    def backward(self, grad: np.ndarray) -> np.ndarray:
        sys.exit(0)


class LeavingModule(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.set_default_dtype(torch.float16)
        raise asyncio.CancelledError("late")


def test_modules_layers_and_ops_that_would_end_the_process_crash() -> None:
    """In a script it would end with status 0."""
    network = oracle.check_network([Leaving()], np.ones((2, 3)))
    assert not network.passed and network.table["diagnosis"].iloc[-1].startswith("SystemExit: 0")
    module = oracle.check_module(LeavingModule(), torch.ones(2, 3))
    assert not module.passed and module.table["diagnosis"].iloc[-1].startswith("CancelledError: late")
    assert torch.get_default_dtype() == torch.float32 and "torch's default dtype" in module.conclusion
    op = oracle.check_op("tanh", lambda x: (np.tanh(x), lambda grad: sys.exit(0)))
    assert not op.passed and op.table["diagnosis"].iloc[-1].startswith("SystemExit: 0")


def subjects_surroundings() -> list[Any]:
    from oracle.harness.surroundings import Surroundings

    return [(setting.name, value) for setting, value in Surroundings().before]


def test_a_right_subject_leaves_nothing() -> None:
    """Nor does the conclusion say so."""
    report = oracle.run(subjects.Right(), "torch", CASE, ("float32",))
    assert report.environment["left changed"] == [] and "changed" not in report.conclusion


def test_an_array_that_it_keeps_is_not_the_traces() -> None:
    """Locked, put into the trace by hand, and unlocked and overwritten later: the trace has copies."""
    from oracle.harness.called import load as called

    trace = called(subjects.Right(after=subjects.unlocked)).run(oracle.suite.named(CASE))
    before = {key: array.copy() for key, array in trace.arrays.items()}
    subjects.spoil()
    assert all(np.array_equal(trace.arrays[key], array) for key, array in before.items())


# --- by name, in workers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user's subjects lie."""
    made = tmp_path_factory.mktemp("subjects")
    shutil.copy(str(subjects.__file__), made / "attacks.py")
    for number, source in enumerate(AT_IMPORT):
        (made / f"at_import_{number}.py").write_text(source, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def pool(folder: Path) -> Iterator[Executor]:
    with executors.pool(1, executors.Limits(SECONDS, str(folder))) as made:
        yield made


@pytest.mark.parametrize("name", subjects.ENDING)
def test_a_process_that_ends_costs_its_case(name: str, pool: Executor) -> None:
    """The next case has another process, and its own row."""
    report = judged(f"attacks:{name}", executor=pool)
    assert list(report.table["verdict"]) == ["crashed"] and not report.passed
    assert report.table["diagnosis"][0].startswith(subjects.ENDING[name])


ASKED = {
    "leaves_when_asked": "cannot be asked for its name, run and profile: SystemExit: 0",
    "ends_when_asked": "the process that the subject ran in ended with exit status 0",
    "hangs_when_asked": "the process that the subject ran in gave no answer within 2 s",
}


@pytest.mark.parametrize("name", ASKED)
def test_a_subject_that_cannot_be_asked_is_a_sentence(name: str, pool: Executor) -> None:
    """Whether it raises, ends its process, or hangs."""
    with pytest.raises(SubjectError) as raised:
        judged(f"attacks:{name}", executor=pool)
    assert ASKED[name] in str(raised.value) and "\n" not in str(raised.value)


AT_IMPORT = {
    "import sys; sys.exit(0)": "cannot be imported: SystemExit: 0",
    "import os; os._exit(0)": "the process that the subject ran in ended with exit status 0",
    "raise KeyboardInterrupt": "cannot be imported: KeyboardInterrupt",
    "import time; time.sleep(1000)": "the process that the subject ran in gave no answer within 2 s",
    "1 +": "cannot be imported: SyntaxError",
    "import pytest; pytest.skip('all', allow_module_level=True)": "cannot be imported: Skipped: all",
    "\0": "cannot be imported: ",
}


@pytest.mark.parametrize("number", range(len(AT_IMPORT)), ids=list(AT_IMPORT))
def test_what_happens_at_import_is_a_sentence(number: int, pool: Executor) -> None:
    """Whether it raises, ends its process, or hangs."""
    with pytest.raises(SubjectError) as raised:
        judged(f"at_import_{number}:subject", executor=pool)
    assert list(AT_IMPORT.values())[number] in str(raised.value) and "\n" not in str(raised.value)


def test_what_it_prints_is_not_the_runs(pool: Executor) -> None:
    """Its output goes to standard error: JSON on standard output stays what the run says."""
    assert judged("attacks:prints", executor=pool).passed


def test_status_0_is_the_runs_word(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these ended the command with 0."""
    monkeypatch.chdir(folder)
    words = ["--cases", CASE, "--reference", "refbp", "--dtype", "float64", "--out", str(tmp_path)]
    assert main(["run", "--subject", "attacks:exits", *words]) == 1
    assert main(["run", "--subject", "attacks:ends_when_asked", *words]) == 2
    assert "\noracle: the process that the subject ran in ended with exit status 0\n" in capsys.readouterr().err


def test_loading_a_module_that_leaves_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, too."""
    (tmp_path / "hostile_leaving.py").write_text("raise SystemExit(0)", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SubjectError, match="cannot be imported: SystemExit: 0"):
        load("hostile_leaving:subject")
