"""Writes cases to files, with the same bytes each time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from oracle import subjects, suite
from oracle.case.case import Case
from oracle.exchange.description import description, named_arrays
from oracle.exchange.tensors import packed
from oracle.harness import run
from oracle.harness.jobs import Progress, in_turn
from oracle.judging.comparison import ReferenceFailed
from oracle.report.environment import version_of
from oracle.subjects import refbp
from oracle.vectors.expected import expectations
from oracle.vectors.folder import MANIFEST, Entry, Manifest, cleared, digest, documents, json_text, write

PACKAGES = ("numpy", "refbp", "scipy")


class Job(NamedTuple):
    """A case in its dtype, and the source of its expected values."""

    case: Case
    reference: str


def export(
    folder: Path | str,
    cases: str = "all",
    dtypes: Sequence[str] = run.DTYPES,
    reference: str = "torch",
    *,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Manifest:
    """Write cases, their expected values and the manifest; an earlier export in the folder is replaced.

    The bytes depend only on the arguments, the versions, and in the last bits on the processor and its number of threads. The
    command line computes with one thread.

    Args: as for `oracle.run`.
    Raises: VectorsError, CaseError, ValueError.
    """
    run.check_names(reference, dtypes)
    jobs = [Job(case.astype(dtype), reference) for case in suite.matching(cases) for dtype in dict.fromkeys(dtypes)]
    folder = cleared(Path(folder))
    entries, hashes, left_out = [], {}, {}
    for job, files in in_turn(files_of, jobs, lambda job: job.case.name, progress, executor, lost):
        entry = Entry.of(job.case.name, job.case.dtype)
        if isinstance(files, str):
            left_out[f"{entry.case}.{entry.dtype}"] = files
            continue
        entries.append(entry)
        for path, data in files.items():
            write(folder, path, data)
            hashes[path] = digest(data)
    for path, data in documents().items():
        write(folder, path, data)
        hashes[path] = digest(data)
    versions = {package: version_of(package) for package in sorted({*PACKAGES, reference})}
    ordered = tuple(sorted(entries, key=lambda entry: (entry.case, entry.dtype)))
    manifest = Manifest(reference, versions, ordered, left_out, hashes)
    write(folder, MANIFEST, manifest.text().encode())
    return manifest


def lost(job: Job, error: BrokenExecutor) -> str:
    """The reason for missing files of a case whose process ended."""
    return f"the process that computed it {error}"


def files_of(job: Job) -> dict[str, bytes] | str:
    """The files of a case by path, or the reason why there are none."""
    case, entry = with_masks(job.case), Entry.of(job.case.name, job.case.dtype)
    try:
        expected = expectations(case, subjects.load(job.reference))
    except ReferenceFailed as error:
        return str(error)
    arrays = {name: array for key, own in expected.items() for name, array in own.arrays(key).items()}
    return {
        entry.description: json_text(description(case)).encode(),
        entry.arrays: packed(named_arrays(case)),
        entry.expected: packed(arrays),
    }


def with_masks(case: Case) -> Case:
    """The case with a mask for every dropout layer that would otherwise draw one, on which expected values would depend."""
    drawn = {
        key.layer: array for key, array in refbp.run(replace(case, steps=1)).arrays.items() if key.quantity == "mask"
    }
    return replace(case, masks={**drawn, **case.masks})
