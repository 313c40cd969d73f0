"""Describes an exception, or how a process ended, in one line of text that is safe to show."""

from __future__ import annotations

import os
import signal
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

OWN = tuple(f"{Path(__file__).parents[2] / package}{os.sep}" for package in ("oracle", "refbp"))
INSTALLED = tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
LONGEST = 1000
LONGEST_SENTENCE = 2400


class Sentence(ValueError):
    """An unusable argument or input. The message is one line that is safe to show, whatever names and values it quotes."""

    def __init__(self, text: str) -> None:
        said = visible(text)
        super().__init__(said if len(said) <= LONGEST_SENTENCE else f"{said[: LONGEST_SENTENCE - 1]}…")


class Raised(Exception):
    """Stands for something raised that is not an Exception, such as SystemExit, or that has no usable text; its text names it."""


def in_a_line(error: BaseException) -> str:
    """`ValueError: no such option (mine.py:12, in backward)`, with the innermost line that is neither a library's nor ours."""
    return _said(error, lambda file: not file.startswith((*OWN, *INSTALLED, "<frozen ")))


def failure(error: BaseException) -> str:
    """The same for an error of the harness itself, with the innermost line of the harness."""
    return _said(error, lambda file: file.startswith(OWN))


def message(error: BaseException) -> str:
    """The error's text; an exception class of a subject may fail to give one."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:
        return f"its message cannot be read: that raises {type(raised).__name__}"


def _said(error: BaseException, counts: Callable[[str], bool]) -> str:
    name = "" if isinstance(error, Raised) else type(error).__name__
    said = " ".join(f"{name}: {message(error)}".strip(": ").split())
    said = visible(said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if counts(frame.filename)]
    if not frames:
        return said
    return f"{said} ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})"


def visible(text: str) -> str:
    """The text with all invisible characters escaped: control characters, ends of lines, unpaired surrogates."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def ended(status: int | None) -> str:
    """How a process ended, by its exit status as `subprocess` and `multiprocessing` tell it."""
    if status is None:
        return "closed its output"
    return f"ended with exit status {status}" if status >= 0 else f"was ended by {_signal_name(-status)}"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
