"""Subjects that attack what calls them: each is right but for one thing. Imported by tests, and by workers by name."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.case.case import Case
from oracle.subjects import refbp
from oracle.trace import Trace


class Right:
    """refbp; `before` is done first, `after` makes the answer from the trace."""

    name = "right"

    def __init__(
        self, before: Callable[[], object] = lambda: None, after: Callable[[Trace], Any] = lambda trace: trace
    ) -> None:
        self.before, self.after = before, after

    def run(self, case: Case) -> Any:
        self.before()
        return self.after(refbp.run(case))


def raises(error: BaseException) -> Right:
    def now() -> None:
        raise error

    return Right(now)


class Speechless(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class Evasive(Exception):
    def __getattr__(self, name: str) -> Any:
        raise GeneratorExit(name)


class Misplaced(Exception):
    place = 5


class Disguised:
    """Says that it is a trace."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise KeyError("no class")


def unlocked(trace: Trace) -> Trace:
    """Arrays of its own, locked, put into the trace by hand; `spoil` writes into them afterwards."""
    for key, array in trace.arrays.items():
        own = array.copy()
        own.flags.writeable = False
        trace.arrays[key] = own
        KEPT.append(own)
    return trace


ENTERED: list[Any] = []
KEPT: list[np.ndarray] = []


def spoil() -> None:
    for array in KEPT:
        array.flags.writeable = True
        array.fill(7)
    KEPT.clear()


def replaced(**arrays: Any) -> Callable[[Trace], Trace]:
    def change(trace: Trace) -> Trace:
        for name, value in arrays.items():
            setattr(trace, name, value)
        return trace

    return change


def recurse() -> None:
    recurse()


KEY = oracle.Key(0, "hidden1", "output")

# What it does, and the beginning of the sentence of the one row that there is then, a crash.
RAISING = {
    "sys.exit(0)": (Right(lambda: sys.exit(0)), "SystemExit: 0"),
    "SystemExit with a text": (raises(SystemExit("conforms")), "SystemExit: conforms"),
    "GeneratorExit": (raises(GeneratorExit()), "GeneratorExit"),
    "CancelledError": (raises(asyncio.CancelledError("late")), "CancelledError: late"),
    "pytest.skip": (Right(lambda: pytest.skip("not today")), "Skipped: not today"),
    "pytest.fail": (Right(lambda: pytest.fail("never")), "Failed: never"),
    "pytest.xfail": (Right(lambda: pytest.xfail("known")), "XFailed: known"),
    "pytest.exit": (Right(lambda: pytest.exit("done", returncode=0)), "Exit: done"),
    "StopIteration": (raises(StopIteration(3)), "StopIteration: 3"),
    "a group of errors": (
        raises(BaseExceptionGroup("two", [KeyError("a"), GeneratorExit()])),
        "BaseExceptionGroup: two (2 sub-exceptions)",
    ),
    "MemoryError": (raises(MemoryError("64 GiB")), "MemoryError: 64 GiB"),
    "RecursionError": (Right(recurse), "RecursionError: maximum recursion depth"),
    "an error without a text": (
        raises(Speechless()),
        "Speechless: its message cannot be read: that raises SystemExit",
    ),
    "an error without attributes": (raises(Evasive("x")), "Evasive: x"),
    "an error in a strange place": (raises(Misplaced("x")), "Misplaced: x"),
    "an error of many lines": (raises(ValueError("a\n::error::b\r\n\x1b[31mc")), "ValueError: a ::error::b"),
    "an endless message": (raises(ValueError("x" * 10**6)), "ValueError: xxxx"),
    "half a character": (raises(ValueError("\ud800")), "ValueError: "),
    "no trace": (Right(after=lambda trace: None), "TypeError: run returned NoneType, expected an oracle.Trace"),
    "a dictionary": (Right(after=lambda trace: trace.arrays), "TypeError: run returned dict, expected an oracle.Trace"),
    "a disguise": (Right(after=lambda trace: Disguised()), "KeyError: 'no class'"),
    "arrays that are a list": (
        Right(after=replaced(arrays=[1])),
        "AttributeError: 'list' object has no attribute 'items'",
    ),
    "an array of objects": (
        Right(after=replaced(arrays={KEY: np.array([object()])})),
        "TypeError: hidden1 output at step 0 holds object, expected real numbers",
    ),
    "complex numbers": (
        Right(after=replaced(arrays={KEY: np.array([1j])})),
        "TypeError: hidden1 output at step 0 holds complex128, expected real numbers",
    ),
    "a key that is none": (
        Right(after=replaced(arrays={("x", 0, 1): np.ones(1)})),
        "TypeError: a trace records by step, layer name and quantity",
    ),
    "faults that are none": (Right(after=replaced(faults={1: 2})), "TypeError: "),
}


# --- by name, in workers ------------------------------------------------------------------------------------------------

exits = Right(lambda: os._exit(0))
kills_itself = Right(lambda: os.kill(os.getpid(), signal.SIGKILL))
aborts = Right(os.abort)
hangs = Right(lambda: time.sleep(1000))
hangs_without_python = Right(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)) or time.sleep(1000))
closes_everything = Right(lambda: os.closerange(0, 100))
interrupts = raises(KeyboardInterrupt())
prints = Right(lambda: print('{"passed": true}', flush=True))

# The sentence of its row, in every case that it is given, and whether that is a crash of the subject's.
ENDING = {
    "exits": "the process that it ran in ended with exit status 0",
    "kills_itself": "the process that it ran in was ended by signal 9 (SIGKILL)",
    "aborts": "the process that it ran in was ended by signal 6 (SIGABRT)",
    "hangs": "the process that it ran in gave no answer within 2 s",
    "hangs_without_python": "the process that it ran in gave no answer within 2 s",
    "closes_everything": "the process that it ran in ",
    "interrupts": "KeyboardInterrupt",
}


class Property:
    """`name` ends the process that asks for it."""

    run = staticmethod(refbp.run)

    def __init__(self, how: Callable[[], Any]) -> None:
        self.how = how

    @property
    def name(self) -> Any:
        return self.how()


leaves_when_asked = Property(lambda: sys.exit(0))
ends_when_asked = Property(lambda: os._exit(0))
hangs_when_asked = Property(lambda: time.sleep(1000))
