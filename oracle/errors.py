"""What was raised, in a line: its type, its message, and where in the code of whoever wrote it."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

OWN = tuple(f"{Path(__file__).parents[1] / package}{os.sep}" for package in ("oracle", "refbp"))
INSTALLED = tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def in_a_line(error: BaseException) -> str:
    """`ValueError: no such option (mine.py:12, in backward)`: the innermost line that is no library's, nor this project's."""
    return _said(error, lambda file: not file.startswith((*OWN, *INSTALLED, "<frozen ")))


def failure(error: BaseException) -> str:
    """The same of an error of the harness itself, with the innermost line of its own."""
    return _said(error, lambda file: file.startswith(OWN))


def _said(error: BaseException, counts: Callable[[str], bool]) -> str:
    said = " ".join(f"{type(error).__name__}: {error}".strip(": ").split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if counts(frame.filename)]
    if not frames:
        return said
    return f"{said} ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})"
