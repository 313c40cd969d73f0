"""Results for vectors as a subject written in Python comes to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from oracle.case.arrays import Array
from oracle.exchange.received import entry_name
from oracle.exchange.tensors import packed
from oracle.trace import Key
from oracle.vectors.folder import read_manifest
from oracle.vectors.results import load


def fill(
    folder: Path, results: Path, subject: Any, change: Callable[[Key, Array], Array] = lambda _, array: array
) -> Path:
    """Run the subject on every case, change what it came to, and leave it where the judge looks for it."""
    for entry in read_manifest(folder).cases:
        case, _ = load(folder, entry)
        arrays = {entry_name(key): change(key, array) for key, array in subject.run(case).arrays.items()}
        path = results / entry.results
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(arrays))
    return results
