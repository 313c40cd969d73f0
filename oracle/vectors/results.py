"""Result files -> the same report as a run's: every layer judged on the results' own numbers by refbp, and all of it by the
stored values and tolerances. No torch is needed."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import NamedTuple

from oracle.blame.details import Detail
from oracle.case.case import Case
from oracle.exchange.introduction import PROTOCOL, Introduction, introduction
from oracle.exchange.received import received
from oracle.exchange.spelled import case_of
from oracle.exchange.tensors import unpacked
from oracle.execution.network import check
from oracle.harness.jobs import Judged, Progress, contained, in_turn
from oracle.harness.judge import CaseStep, judge_step
from oracle.judging.case_rows import unjudged
from oracle.judging.known import with_known
from oracle.judging.rows import FAILED, LOCAL, MISSING, UNSUPPORTED, WRONG, Row
from oracle.report.environment import environment
from oracle.report.report import Report
from oracle.subjects import refbp
from oracle.trace import Key
from oracle.vectors.expected import Expectation, from_arrays
from oracle.vectors.folder import Entry, Manifest, VectorsError, read_manifest, verify
from oracle.vectors.stored import excused, stored_rows

INTRODUCTION = "introduction.json"
# Beside the place of results that there are not: a text that says what is lacking.
UNSUPPORTED_NOTE = ".unsupported"
LONGEST_NOTE = 500


class Job(NamedTuple):
    """A case of the folder, where the results lie, and who made them."""

    folder: Path
    results: Path
    entry: Entry
    introduction: Introduction


def judge(
    folder: Path | str, results: Path | str, *, progress: Progress | None = None, executor: Executor | None = None
) -> Report:
    """Judge the files in `results` by the vectors in `folder`.

    progress, executor: as for `oracle.run`.
    Raises: VectorsError in one sentence for vectors that are damaged or of another format, or results that are not there.
    """
    folder, results = Path(folder), Path(results)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    if not results.is_dir():
        raise VectorsError(f"{results} is no folder of results")
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
    about = {
        **environment(),
        "subject": who.name,
        "reference": f"{manifest.reference} (stored) and refbp",
        "dtypes": sorted({entry.dtype for entry in manifest.cases}),
        "cases": len({entry.case for entry in manifest.cases}),
        "not trained freely": [],
        "command": command,
        "again": command,
    }
    return Report.of(rows, about, seconds, (), details)


def _introduced(results: Path) -> Introduction:
    """Who made the results: as their introduction says, else by the folder's name. Raises: VectorsError."""
    path = results / INTRODUCTION
    try:
        value = (
            json.loads(path.read_bytes()) if path.exists() else {"protocol": PROTOCOL, "name": results.resolve().name}
        )
        return introduction(value)
    except OSError as error:
        raise VectorsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise VectorsError(f"{path}: {error}") from error


def lost(job: Job, error: BrokenExecutor) -> Judged:
    """What stands for a case whose process ended."""
    row = Row(
        job.entry.case, job.entry.dtype, 0, "", "", "", LOCAL, FAILED, f"the process that it was judged in {error}"
    )
    return Judged([row], [], math.nan)


def judged(job: Job) -> Judged:
    case, expected = load(job.folder, job.entry)
    return contained(case.name, case.dtype, lambda: _judged(job, case, expected))


def _judged(job: Job, case: Case, expected: Mapping[Key, Expectation]) -> tuple[list[Row], list[Detail]]:
    lacking = job.introduction.lacks(case)
    if lacking:
        return [unjudged(case, UNSUPPORTED, lacking)], []
    path = job.results / job.entry.results
    try:
        note = path.with_name(path.name + UNSUPPORTED_NOTE)
        if note.exists() and not path.exists():
            said = note.read_bytes()[:LONGEST_NOTE].decode(errors="replace").strip()
            return [unjudged(case, UNSUPPORTED, said)], []
        tensors = unpacked(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return [unjudged(case, MISSING, f"{job.entry.results}: {reason}")], []
    trace, who = received(case, *tensors), job.introduction
    found = judge_step(CaseStep(case, trace, refbp), who.profile, {who.name})
    stored = with_known(stored_rows(case, trace, expected, who.profile), {who.name})
    return [*found.rows, *excused(stored, found.rows)], list(found.details)


def load(folder: Path, entry: Entry) -> tuple[Case, dict[Key, Expectation]]:
    """A case of the folder and what is expected of it. Raises: VectorsError."""
    try:
        value = json.loads((folder / entry.description).read_bytes())
        case = case_of(value, unpacked((folder / entry.arrays).read_bytes()).arrays)
        check(case)
        return case, from_arrays(unpacked((folder / entry.expected).read_bytes()).arrays)
    except (OSError, ValueError, TypeError) as error:  # a CaseError too
        raise VectorsError(f"{folder}: {entry.case} in {entry.dtype} cannot be used: {error}") from error


def _strangers(results: Path, manifest: Manifest) -> Iterator[Row]:
    """A row for every file of results that belongs to no case."""
    known = {results / entry.results for entry in manifest.cases}
    for path in sorted(results.rglob("*.safetensors")):
        if path not in known:
            name = path.relative_to(results).as_posix()
            yield Row(
                name, "", 0, "", "", "", LOCAL, WRONG, f"extra: the vectors have no case whose results are {name}"
            )
