"""Reading files and JSON of unknown origin: regular files of bounded size only, with one sentence for anything unreadable."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20
# The largest JSON file, and the largest file of arrays.
MOST_TEXT, MOST_ARRAYS = 512 * MIB, 4096 * MIB
# The deepest nesting of a JSON value, far above that of any case. Python's own limit of recursion depends on the reader.
DEEPEST = 100


def read(path: Path | str, most: int = MOST_TEXT, inside: Path | str | None = None) -> bytes:
    """The bytes of a file.

    inside: a folder that the path must not leave, by a symbolic link or otherwise.
    Raises: OSError, whose `strerror` says why, for a file that is not regular, too large, or outside the folder.
    """
    path = Path(path)
    if inside is not None and not path.resolve().is_relative_to(Path(inside).resolve()):
        raise _refused(path, f"it leads out of the folder {inside}")
    _require_regular(path, path.stat(), most)
    # The file may have been replaced in the meantime, and opening a FIFO would wait for a writer.
    with os.fdopen(
        os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)), "rb"
    ) as file:
        _require_regular(path, os.fstat(file.fileno()), most)
        data = file.read(most + 1)
    if len(data) > most:  # a file that grows, or whose reported size is wrong
        raise _too_large(path, most)
    return data


def _require_regular(path: Path, found: os.stat_result, most: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise _refused(path, "it is not a regular file")
    if found.st_size > most:
        raise _too_large(path, most)


def _too_large(path: Path, most: int) -> OSError:
    return _refused(path, f"it is larger than {most // MIB:,} MiB", errno.EFBIG)


def _refused(path: Path, why: str, number: int = errno.EINVAL) -> OSError:
    return OSError(number, why, str(path))


def parsed(data: bytes | str, constant: Callable[[str], Any] | None = None) -> Any:
    """The value of a JSON text in UTF-8. Raises: ValueError, in one sentence.

    constant: called with the name of a NaN or infinity, which are not JSON but which Python's parser accepts.
    """
    try:
        value = json.loads(data, object_pairs_hook=_object, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8: {error.reason} at byte {error.start}") from None
    except MemoryError:
        raise ValueError("it needs more memory than there is") from None
    if _is_deeper(value, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object in it has {twice!r} twice")
    return found


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            item
            for held in level
            if isinstance(held, (dict, list))
            for item in (held.values() if isinstance(held, dict) else held)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True
