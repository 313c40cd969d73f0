"""The memory of the process: a limit that the operating system enforces, and the return of what was freed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from oracle.case.arrays import Array
from oracle.case.case import Case

# The memory of a case: this multiple of the bytes of its own arrays, and at least this many bytes.
TIMES, LEAST = 1000, 1 << 31


def of_case(case: Case) -> int:
    """The bytes that a case may allocate: a multiple of the size of its own arrays. Its options do not change the limit."""
    held = 0

    def count(array: Array) -> Array:
        nonlocal held
        held += array.nbytes
        return array

    case.mapped(count)
    return max(LEAST, TIMES * held)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Inside, allocating more than `size` additional bytes raises MemoryError, if the system supports such a limit."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * os.sysconf("SC_PAGE_SIZE") + size
    except (ImportError, OSError):  # not Linux
        yield
        return
    tighter = [own for own in (soft, hard) if own != resource.RLIM_INFINITY and own <= limit]
    if tighter:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def give_back() -> None:
    """Returns freed memory to the operating system, which the C library would keep. It does nothing where the library cannot."""
    _trim()(0)


@cache
def _trim() -> Callable[[int], Any]:
    try:
        trim: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return lambda keep: None
    return trim
