"""The command line.

Exit status: 0 the subject conforms, 1 there are discrepancies, 2 arguments or input cannot be used or nothing could be judged,
3 the harness itself failed, 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.

Results go to standard output, progress and notes to standard error.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import typer

from oracle.wording import errors

# Each import registers its commands, in the order in which the help shows them.
from oracle.cli import run as run  # isort: skip
from oracle.cli import init as init  # isort: skip
from oracle.cli import look as look  # isort: skip
from oracle.cli import report as report  # isort: skip
from oracle.cli import selftest as selftest  # isort: skip
from oracle.cli import fuzz as fuzz  # isort: skip
from oracle.cli import scoreboard as scoreboard  # isort: skip
from oracle.cli import vectors as vectors  # isort: skip
from oracle.cli import bench as bench  # isort: skip
from oracle.cli.app import app

INTERRUPTED = 128 + signal.SIGINT  # as shells have it; typer does too
ENDING = ("SIGTERM", "SIGHUP")
# Errors of a stream. An error of a file is a ReportError or the like, which names the file.
OF_STREAMS = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG)


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP as an exception, so that the run unwinds as after Ctrl-C and ends the processes that it started."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(arguments: list[str] | None = None) -> int:
    """Run a command; every error is printed as one sentence on standard error, and sets the exit status."""
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        with _signals():
            try:
                command(args=arguments, prog_name="oracle", obj=sys.argv[1:] if arguments is None else arguments)
            finally:
                sys.stdout.flush()
    except BaseException as error:
        return _status(error)
    return 0


def _status(error: BaseException) -> int:
    """The exit status for the exception that ended a command; prints its sentence."""
    if isinstance(error, SystemExit):
        return _exit_status(error)
    if isinstance(error, KeyboardInterrupt):
        return _ended(error)
    if isinstance(error, OSError) and error.errno in OF_STREAMS:
        _say(f"standard output or standard error cannot be written: {error.strerror}")
        return 2
    if isinstance(error, (ValueError, ImportError)):
        _say(errors.message(error))
        return 2
    return _failed(error)


def _exit_status(end: SystemExit) -> int:
    """The exit status of the command; only typer's own exceptions may set it, not a SystemExit of other code."""
    frame = list(traceback.walk_tb(end.__traceback__))[-1][0]
    if not frame.f_globals.get("__name__", "").startswith("typer"):
        return _failed(end)
    if isinstance(end.__context__, OSError):  # a pipe that somebody closed
        return 2
    if end.code == INTERRUPTED and end.__context__ is not None:
        return _ended(end.__context__.__cause__)
    return int(end.code or 0) if not isinstance(end.code, str) else 2


def _ended(error: BaseException | None) -> int:
    number = error.number if isinstance(error, Ended) else signal.SIGINT
    _say("interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")
    return 128 + number


def _failed(error: BaseException) -> int:
    _say(f"the harness itself failed, please report this: {type(error).__name__}: {errors.message(error)}")
    return 3


def _say(sentence: str) -> None:
    for stream in (sys.stderr, sys.stdout):  # if one is full or closed, the other may take the sentence
        with suppress(OSError, ValueError):
            stream.write(f"oracle: {errors.visible(sentence)}\n")
            stream.flush()
            return


@contextmanager
def _signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP unwind the run as Ctrl-C does, so that workers and programs end too."""

    def end(number: int, _: FrameType | None) -> None:
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
        before = {
            number: signal.signal(number, end) for number in numbers if signal.getsignal(number) == signal.SIG_DFL
        }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def entry_point() -> None:
    for number in range(3):  # what is opened later must not take a closed stream's place
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w", encoding="utf-8") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115, PTH123
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal gets what it can show
    status = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a device that is full: the interpreter would try once more, and fail with a status of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            status = status or 2
    sys.exit(status)
