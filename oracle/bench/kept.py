"""The measurements so far, in benchmarks.json; benchmarks.md and benchmarks.svg show them to people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oracle.bench import SECTIONS, render
from oracle.bench.section import Result

NAME = "benchmarks"


def load(folder: Path) -> dict[str, Any]:
    """The measurements by section. Raises: ValueError for a file that `save` did not write."""
    file = folder / f"{NAME}.json"
    if not file.exists():
        return {}
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for section in kept.values():
            for run in section["runs"]:
                Result.from_json(run)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} holds no benchmarks: remove it, or give another folder with --out") from error
    return {name: kept[name] for name in SECTIONS if name in kept}


def save(folder: Path, measured: Mapping[str, Any]) -> list[Path]:
    """Replace old sections by new ones, and write all three files; the picture only if there are charts."""
    both = load(folder) | dict(measured)
    sections = {name: both[name] for name in SECTIONS if name in both}
    folder.mkdir(parents=True, exist_ok=True)
    drawn = render.picture([Result.from_json(section["runs"][-1]) for section in sections.values()])
    files = [folder / f"{NAME}.json", folder / f"{NAME}.md"]
    if drawn is not None:
        files.append(folder / f"{NAME}.svg")
        drawn.savefig(files[-1], metadata={"Date": None})
    files[0].write_text(json.dumps(sections, indent=1) + "\n", encoding="utf-8")
    files[1].write_text(render.report(sections, files[-1].name if drawn is not None else None), encoding="utf-8")
    return files
