"""What was raised, in a line: its type, its message, and where in the code of whoever wrote it."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

ORACLE = str(Path(__file__).parent)
LIBRARIES = tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def in_a_line(error: BaseException, *, inside: str = "") -> str:
    """`ValueError: no such option (mine.py:12, in backward)`: the innermost line that is neither oracle's nor a library's.

    inside: a folder whose lines are wanted instead.
    """
    said = f"{type(error).__name__}: {error}".strip(": ")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if (frame.filename.startswith(inside) if inside else _is_own(frame.filename))
    ]
    if not frames:
        return said
    return f"{said} ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})"


def _is_own(file: str) -> bool:
    return not file.startswith((ORACLE, "<", *LIBRARIES))
