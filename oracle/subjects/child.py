"""A child process that answers each line with a line, within a time limit, and never outlives its parent."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from oracle.wording.errors import ended

CHUNK = 1 << 16
# A longer line is not an answer.
LONGEST_ANSWER = 1 << 30
# The number of bytes of standard error that are kept, and how often it is read after a failure.
TAIL = 1 << 16
MOST_READS = 4096
# A line that names an error, as Java, JavaScript, Rust, Go, Ruby and Julia write it before a trace of the calls.
NAMES_AN_ERROR = re.compile(
    r"(error|exception|panic)( \[\w+\])?:|\bpanicked at |\(\w*(error|exception)\)$", re.IGNORECASE
)
# Seconds between two looks whether the child is alive. If it died, a child of its own may still hold its pipes open.
PULSE = 0.2


class ProgramFailed(Exception):
    """The program died, hung, or gave an answer that cannot be used."""


class Child:
    """The process, in its own process group, with its three pipes. Raises: ProgramFailed if it cannot be started."""

    def __init__(self, words: Sequence[str]) -> None:
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            raise ProgramFailed(f"it cannot be started: {getattr(error, 'strerror', None) or error}") from error
        self.pending, self.searched, self.complaints = bytearray(), 0, bytearray()
        self.selector = selectors.DefaultSelector()
        for pipe in (self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, selectors.EVENT_READ)
        os.set_blocking(self._stdin.fileno(), False)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def _stderr(self) -> IO[bytes]:
        assert self.process.stderr is not None
        return self.process.stderr

    def ask(self, line: bytes, seconds: float) -> bytes:
        """Send a line, and wait for one. Raises: ProgramFailed."""
        deadline = time.monotonic() + seconds
        self.unsent = memoryview(line)
        self.selector.register(self._stdin, selectors.EVENT_WRITE)
        try:
            while True:
                end = self.pending.find(b"\n", self.searched)
                if end >= 0 and not self.unsent:
                    answer, self.searched = bytes(self.pending[:end]), 0
                    del self.pending[: end + 1]
                    return answer
                self.searched = len(self.pending) if end < 0 else end
                self._wait(deadline, seconds)
        finally:
            if self._stdin in self.selector.get_map():
                self.selector.unregister(self._stdin)

    def _wait(self, deadline: float, seconds: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            unseen = "" if self.pending else "; an answer that is not flushed does not arrive"
            raise self.failed(f"no answer within {seconds:g} s{self._so_far()}{unseen}")
        if len(self.pending) > LONGEST_ANSWER:
            raise self.failed(f"it wrote {len(self.pending):,} bytes without the end of a line")
        ready = self.selector.select(min(remaining, PULSE))
        alive = self.process.poll() is None
        for key, _ in ready:
            if key.fileobj is self._stdin:
                self._send()
            elif self._read(key.fileobj is self._stdout) == b"" and key.fileobj is self._stdout:
                raise self.failed(self._end_of_output())
        if not ready and not alive:
            raise self.failed(self._end_of_output())

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[os.write(self._stdin.fileno(), self.unsent[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # its output and its complaints are still read
            self.unsent = memoryview(b"")
        if not self.unsent:
            self.selector.unregister(self._stdin)

    def _read(self, is_output: bool) -> bytes | None:
        """The available bytes; empty at the end of the pipe, None if there are none yet."""
        pipe = self._stdout if is_output else self._stderr
        try:
            data = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return None
        if is_output:
            self.pending += data
        else:
            self.complaints = (self.complaints + data)[-TAIL:]
            if not data:
                self.selector.unregister(pipe)
        return data

    def _end_of_output(self) -> str:
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            return f"it closed its output before it answered{self._so_far()}"
        return f"it {ended(self.process.returncode)} before it answered{self._so_far()}"

    def _so_far(self) -> str:
        return f", after {len(self.pending):,} bytes without the end of a line" if self.pending else ""

    def failed(self, what: str) -> ProgramFailed:
        """The error to raise, with the line on standard error that names an error, else the last one."""
        for _ in range(MOST_READS):  # it may go on complaining for ever
            if self._stderr not in self.selector.get_map() or not self._read(is_output=False):
                break
        said = complaint(self.complaints.decode(errors="replace"))
        return ProgramFailed(f"{what}; {said}" if said else what)

    def end(self) -> None:
        """End the process and all processes that it started."""
        self.selector.close()
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def complaint(text: str) -> str:
    """The line of a text on standard error that says what went wrong, in words; "" if there is none.

    It is the last line that names an error and is not indented as in a trace of the calls. If no line is, it is the last one.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    named = [i for i, line in enumerate(lines) if not line[0].isspace() and NAMES_AN_ERROR.search(line)]
    place = named[-1] if named else len(lines) - 1
    found = lines[place].strip()
    if place == len(lines) - 1:
        return f"its last line on standard error: {found[:200]}"
    if found.endswith(":"):  # Rust's message is on the line after the place
        found = f"{found} {lines[place + 1].strip()}"
    return f"on standard error: {found[:200]}"
