"""Moves a report's files to their folder together; if the process is killed in between, the next process completes the moves."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

STAGING = ".report-"
DAY = 86_400  # seconds
FILES = ("report.json", "report.md", "report.html", "table.parquet", "table.csv", "cases.csv", "details.npz")
# A folder of this name is a whole report that takes the place of the one around it; some of its files may be there already.
WHOLE = ".report-whole"


def begun(folder: Path) -> Path:
    """A folder inside in which the files of a report are made; what a process that was killed a day ago left there is removed."""
    for left in folder.glob(f"{STAGING}*"):
        old = left.lstat().st_mtime < time.time() - DAY
        if old and left.name != WHOLE and left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))


def put_in_place(staging: Path, folder: Path) -> None:
    """Move every file of `staging` to `folder`; if one cannot be moved, the former files are restored.

    Raises: OSError.
    """
    finish(folder)
    before = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
    try:
        for name in FILES:
            if (folder / name).exists():
                shutil.copy2(folder / name, before / name)
        staging.rename(folder / WHOLE)
        try:
            finish(folder)
        except OSError:
            (folder / WHOLE).rename(staging)
            for name in FILES:
                if (before / name).exists():
                    shutil.copy2(before / name, folder / name)
                elif not (staging / name).exists():
                    (folder / name).unlink()
            raise
    finally:
        shutil.rmtree(before, ignore_errors=True)


def finish(folder: Path) -> None:
    """Complete the moves of a process that was killed.

    The folder may come from somebody else, so no other file is moved, and no link is followed. Raises: OSError.
    """
    whole = folder / WHOLE
    if whole.is_symlink() or not whole.is_dir():
        return
    for name in FILES:
        if (whole / name).is_file() and not (whole / name).is_symlink():
            (whole / name).replace(folder / name)
    shutil.rmtree(whole, ignore_errors=True)
