"""Random programs of torch: rebuilt from seed and number alone, and honest torch is not accused of any."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle.cli import main
from oracle.fuzz import campaign, pages, program_trial, programs
from oracle.fuzz.operations import OPERATIONS, STATEMENTS
from oracle.fuzz.outcome import Job, Outcome, Settings
from oracle.fuzz.owner import JUDGE
from oracle.judging.rows import DISCREPANCIES, FAILED

SETTINGS = Settings("torch", "torch", 3, ("programs",))


def test_honest_torch_is_not_accused() -> None:
    """A fixed seed in every test run: in float32, float64, 16 bits and autocast."""
    found = campaign.run(SETTINGS, 18).outcomes
    assert [own for own in found if own.verdict in DISCREPANCIES | {FAILED}] == []
    assert sum(own.verdict == "pass" for own in found) >= 6
    assert {own.dtype for own in found} == {"float64", "float32", "float16", "bfloat16"}


@pytest.mark.slow
def test_a_program_is_rebuilt_from_its_number_alone() -> None:
    """In another process, whose hashes differ, and without the programs before it."""
    numbers = (4, 71, 4021)
    code = (
        f"from oracle.fuzz.programs import drawn\nfor n in {numbers}: p = drawn(3, n, 'p'); print(p.source, p.arrays)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [programs.drawn(3, number, "p") for number in numbers]
    assert done.stdout == "".join(f"{own.source} {own.arrays}\n" for own in here)


def test_each_operation_comes_in_turn() -> None:
    """Nearly all find a value that fits them."""
    drawn = [programs.drawn(5, number, "p") for number in range(len(OPERATIONS))]
    assert {own.operation for own in drawn} == OPERATIONS.keys()
    written = [own for own in drawn if own.operation in STATEMENTS]
    assert sum(any(not line.partition(" = ")[0].isidentifier() for line in own.lines) for own in written) >= 8
    assert any(own.autocast for own in drawn) and all(own.function for own in drawn)


def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the rules and torch differ in double precision, nobody is said to err before somebody has looked."""
    number = next(own for own in range(200) if programs.drawn(3, own, "p").operation == "erf")
    from oracle.programs.table import RULES

    right = RULES["erf"]

    def wrong(x: Any) -> Any:
        made, backward = right.function(x)
        return made, lambda g: tuple(own * 1.01 for own in backward(g))

    monkeypatch.setitem(RULES, "erf", type(right)(right.name, wrong, right.family))
    found = program_trial.judged(Job(SETTINGS, number))
    assert (found.operation, found.verdict, found.owner) == ("aten.erf", "wrong", "unsettled"), found
    (page,) = pages.write(campaign.Campaign(SETTINGS, (found,), 1.0, 1), tmp_path)
    text = page.read_text()
    assert "def program(" in text and "program_trial.of_number(job)" in text


def test_a_known_error_of_torch_is_named() -> None:
    """addcmul beside an integer factor has seven digits in float64; the judge does not err, and nor is it a new discrepancy."""
    arrays = {name: np.random.default_rng(place).standard_normal(5) for place, name in enumerate("ab")}
    lines = ("v0 = a * 0.8 + b", "v1 = torch.addcmul(v0, torch.tensor([1, 2, 4, 3, 5]), b, value=0.3)", "v2 = v1 * 1.0")
    program = programs.RandomProgram("given", "float64", False, "addcmul", arrays, lines, "v2")
    found = program_trial.of_program(Outcome(0, "float64", "addcmul", "pass"), program)
    assert (found.verdict, found.owner, found.operation) == ("convention", "torch", "aten.addcmul"), found
    assert "torch-addcmul-integer-factor" in found.words


def test_where_the_formulas_agree_the_judge_errs() -> None:
    program = programs.drawn(3, 5, "p")
    assert program_trial.owner(program).name == JUDGE


def test_programs_are_those_of_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "there")
    assert main(["fuzz", "--kinds", "programs", "--cases", "1", "--out", out]) == 2
    assert "--subject torch" in capsys.readouterr().err
    assert main(["fuzz", "--kinds", "programs", "--subject", "torch", "--mutate", "--out", out]) == 2
    assert "--mutate" in capsys.readouterr().err and not Path(out).exists()


def test_a_program_whose_process_ends_is_a_row() -> None:
    from concurrent.futures import BrokenExecutor

    from oracle.fuzz.trial import lost

    assert lost(Job(SETTINGS, 0), BrokenExecutor("was killed")) == Outcome(
        0, "", "programs", FAILED, "torch or judge", words="the process that it ran in was killed"
    )
