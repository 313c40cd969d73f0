"""Judges result files and makes a report as of a run: each layer is judged on the results' own numbers by refbp, and every
quantity by the stored values and tolerances. It does not need torch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import NamedTuple

from oracle.blame.details import Detail
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.case.files import MIB, MOST_ARRAYS, parsed, read
from oracle.exchange.description import case_of
from oracle.exchange.introduction import PROTOCOL, Introduction, introduction
from oracle.exchange.numbers import shown
from oracle.exchange.received import entry_name, received
from oracle.exchange.tensors import unpacked
from oracle.execution.network import check
from oracle.execution.quantities import wanted
from oracle.harness.jobs import Judged, Progress, contained, in_turn
from oracle.harness.judge import CaseStep, judge_step
from oracle.judging.case_rows import unjudged
from oracle.judging.known import with_known
from oracle.judging.rows import FAILED, LOCAL, MISSING, UNSUPPORTED, WRONG, Row
from oracle.report.about import About
from oracle.report.report import Report
from oracle.subjects import refbp
from oracle.trace import Key
from oracle.vectors.expected import ExpectedValue, from_arrays
from oracle.vectors.folder import Entry, Manifest, VectorsError, read_manifest, verify
from oracle.vectors.genuine import failed, impossible
from oracle.vectors.stored import excused, stored_rows
from oracle.wording.errors import message, visible

INTRODUCTION = "introduction.json"
# The ending of a file in place of results: a text that says what the subject lacks.
UNSUPPORTED_NOTE = ".unsupported"
LONGEST_NOTE = 500


class Job(NamedTuple):
    """A case of the folder, the folder of the results, and who made them."""

    folder: Path
    results: Path
    entry: Entry
    introduction: Introduction


def judge(
    folder: Path | str, results: Path | str, *, progress: Progress | None = None, executor: Executor | None = None
) -> Report:
    """Judge the files in `results` by the vectors in `folder`.

    progress, executor: as for `oracle.run`.
    Raises: VectorsError, in one sentence, for vectors that are damaged or of another format, or if there are no results.
    """
    folder, results = Path(folder), Path(results)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    if not results.is_dir():
        raise VectorsError(f"{results} is not a folder of results")
    who = _introduced(results)
    jobs = [Job(folder, results, entry, who) for entry in manifest.cases]
    rows: list[Row] = []
    details: list[Detail] = []
    seconds: dict[tuple[str, str], float] = {}
    for job, done in in_turn(judged, jobs, lambda job: job.entry.case, progress, executor, lost):
        seconds[job.entry.case, job.entry.dtype] = done.seconds
        rows += done.rows
        details += done.details
    rows += _strangers(results, manifest)
    command = shlex.join(["oracle", "vectors", "judge", str(folder), str(results)])
    about = About.here(
        subject=who.name,
        reference=f"{manifest.reference} (stored) and refbp",
        dtypes=tuple(sorted({entry.dtype for entry in manifest.cases})),
        cases=len({entry.case for entry in manifest.cases}),
        profile=tuple(who.profile.in_words()),
        command=command,
        again=command,
    )
    return Report.of(rows, about, seconds, (), details)


def _introduced(results: Path) -> Introduction:
    """Who made the results, from their introduction, else from the folder's name. Raises: VectorsError."""
    path = results / INTRODUCTION
    try:
        if not path.exists():
            return introduction({"protocol": PROTOCOL, "name": visible(results.resolve().name)[:100] or "results"})
        return introduction(parsed(read(path, MIB, inside=results)))
    except OSError as error:
        raise VectorsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise VectorsError(f"{path}: {error}") from error


def lost(job: Job, error: BrokenExecutor) -> Judged:
    """The row for a case whose process ended."""
    row = Row(
        job.entry.case, job.entry.dtype, 0, "", "", "", LOCAL, FAILED, f"the process that it was judged in {error}"
    )
    return Judged([row], [], math.nan)


def judged(job: Job) -> Judged:
    case, expected = load(job.folder, job.entry)
    return contained(case.name, case.dtype, lambda: _judged(job, case, expected))


def _judged(job: Job, case: Case, expected: Mapping[Key, ExpectedValue]) -> tuple[list[Row], list[Detail]]:
    lacking = job.introduction.lacks(case)
    if lacking:
        return [unjudged(case, UNSUPPORTED, lacking)], []
    path = job.results / job.entry.results
    try:
        note = path.with_name(path.name + UNSUPPORTED_NOTE)
        if note.exists() and not path.exists():
            said = read(note, MIB, inside=job.results).decode(errors="replace")
            return [unjudged(case, UNSUPPORTED, " ".join(said.split())[:LONGEST_NOTE])], []
        tensors = unpacked(read(path, MOST_ARRAYS, inside=job.results))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return [unjudged(case, MISSING, f"{job.entry.results}: {reason}")], []
    trace, who = received(case, *tensors), job.introduction
    found = judge_step(CaseStep(case, trace, refbp), who.profile, {who.name})
    cannot_be = impossible(case, expected)
    possible = {key: own for key, own in expected.items() if key not in cannot_be}
    stored = with_known(stored_rows(case, trace, possible, who.profile), {who.name})
    false = [failed(case, key, why) for key, why in cannot_be.items()]
    return [*found.rows, *excused(stored, found.rows), *false], list(found.details)


def load(folder: Path, entry: Entry) -> tuple[Case, dict[Key, ExpectedValue]]:
    """A case of the folder and its expected values. Raises: VectorsError."""
    try:
        value = parsed(read(folder / entry.description, inside=folder))
        case = case_of(value, _arrays(folder, entry.arrays))
        if (case.name, case.dtype) != (entry.case, entry.dtype):
            raise ValueError(f"its description is that of {shown(case.name)} in {shown(case.dtype)}")
        check(case)
        expected = from_arrays(_arrays(folder, entry.expected))
        _check_shapes(case, expected)
        return case, expected
    except (OSError, ValueError, TypeError) as error:  # a CaseError too
        raise VectorsError(f"{folder}: {entry.case} in {entry.dtype} cannot be used: {message(error)}") from error


def _arrays(folder: Path, path: str) -> dict[str, Array]:
    """Raises: OSError, ValueError."""
    found = unpacked(read(folder / path, MOST_ARRAYS, inside=folder))
    for name, reason in found.faults.items():
        raise ValueError(f"{path}: {shown(name)}: {reason}")
    return found.arrays


def _check_shapes(case: Case, expected: Mapping[Key, ExpectedValue]) -> None:
    """Checks that every expected quantity belongs to the case and has its shape. Raises: ValueError."""
    known = wanted(case)
    for key, own in expected.items():
        if key not in known:
            raise ValueError(f"{entry_name(key)} is expected, and the case has no such quantity")
        for name, array in own.arrays(key).items():
            if array.shape != known[key].shape or array.dtype.name not in ("float64", "int64"):
                raise ValueError(f"{name} is {array.dtype.name} of shape {array.shape}, expected {known[key].shape}")


def _strangers(results: Path, manifest: Manifest) -> Iterator[Row]:
    """A row for every result file, and every note in place of one, that belongs to no case."""
    known = {results / f"{entry.results}{ending}" for entry in manifest.cases for ending in ("", UNSUPPORTED_NOTE)}
    for path in sorted([*results.rglob("*.safetensors"), *results.rglob(f"*{UNSUPPORTED_NOTE}")]):
        if path not in known:
            name = path.relative_to(results).as_posix()
            yield Row(
                name,
                "",
                0,
                "",
                "",
                "",
                LOCAL,
                WRONG,
                f"extra: the vectors have no case whose results, or the note in their place, are {name}",
            )
