"""Any program as a subject: it reads one request per line on standard input and answers on standard output; see PROTOCOL.md.

A program that dies, hangs or gives an unusable answer is ended, with the reason, and started again for the next case.
"""

from __future__ import annotations

import atexit
import json
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle.case.case import Case
from oracle.case.files import MOST_ARRAYS, parsed, read
from oracle.exchange.description import description, named_arrays
from oracle.exchange.introduction import JSON, PROTOCOL, Introduction, introduction
from oracle.exchange.numbers import array_from_object, array_to_object, shown
from oracle.exchange.received import received
from oracle.exchange.tensors import Tensors, packed, unpacked
from oracle.judging.profile import Profile
from oracle.subjects import SubjectError
from oracle.subjects.child import Child, ProgramFailed
from oracle.trace import Trace, Unsupported

SECONDS = 60.0
# Words for numbers that are not finite, as C, Rust and Java print them.
WORDS = re.compile(r"[-+]?(nan|inf)", re.IGNORECASE)
FOR_ANSWERS = "its standard output is for answers only, each an object in JSON on one line,"
SPELLING = 'NaN and infinities are the strings "NaN", "Infinity" and "-Infinity"'


@dataclass(frozen=True)
class ChildProgram:
    """A program with its introduction. Each copy, in any process, starts its own child process.

    Args:
        command: the command with its arguments in shell syntax; it is run without a shell.
        seconds: the time limit for a case.
    """

    command: str
    seconds: float
    introduction: Introduction

    @property
    def name(self) -> str:
        return self.introduction.name

    @property
    def profile(self) -> Profile:
        return self.introduction.profile

    @property
    def accumulates(self) -> bool:
        return self.introduction.accumulates

    @property
    def option(self) -> str:
        """The option by which the command line names it."""
        return f"--subject-command {shlex.quote(self.command)}"

    def run(self, case: Case) -> Trace:
        """The trace of a case. Raises: Unsupported if the program says so; ProgramFailed if it dies, hangs, or gives an unusable
        answer."""
        lacking = self.introduction.lacks(case)
        if lacking:
            raise Unsupported(lacking)
        dialogue = _DIALOGUES.get((self.command, self.seconds))
        try:
            if dialogue is None:
                dialogue = _DIALOGUES[self.command, self.seconds] = Dialogue(self.command, self.seconds)
                dialogue.hello()
            return dialogue.run(case, self.introduction.arrays)
        except ProgramFailed:
            self.end()
            raise

    def end(self) -> None:
        """End this process's child, if there is one; the next case starts another."""
        _end(self.command, self.seconds)


def program(command: str, seconds: float = SECONDS) -> ChildProgram:
    """Start a program and read its introduction. Raises: SubjectError, in one sentence, if that fails."""
    if not seconds > 0:
        raise SubjectError(f"a time limit is a number of seconds above 0, got {seconds}")
    if not command.strip():
        raise SubjectError("a subject's command names a program and its arguments, got an empty one")
    _end(command, seconds)
    try:
        dialogue = _DIALOGUES[command, seconds] = Dialogue(command, seconds)
        return ChildProgram(command, seconds, dialogue.hello())
    except ProgramFailed as error:
        _end(command, seconds)
        raise SubjectError(f"the program {command!r} does not introduce itself: {error}") from error


class Dialogue:
    """Requests to a running program, and its answers. Raises: ProgramFailed, after which the program is not used any more."""

    def __init__(self, command: str, seconds: float) -> None:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ProgramFailed(f"a command that no shell would take: {error}") from error
        self.seconds, self.count = seconds, 0
        self.child = Child(words)

    def hello(self) -> Introduction:
        answer = self._ask({"request": "hello", "protocol": PROTOCOL})
        try:
            return introduction(answer)
        except ValueError as error:
            raise self.child.failed(str(error)) from error

    def run(self, case: Case, form: str) -> Trace:
        self.count += 1
        request = {"request": "run", "id": self.count, "case": description(case)}
        arrays = named_arrays(case)
        if form == JSON:
            objects = {name: array_to_object(array) for name, array in arrays.items()}
            return self._trace(case, self._ask({**request, "arrays": objects}))
        with tempfile.TemporaryDirectory(prefix="oracle-") as folder:
            sent, answer = Path(folder) / "arrays.safetensors", Path(folder) / "trace.safetensors"
            sent.write_bytes(packed(arrays))
            return self._trace(case, self._ask({**request, "arrays": str(sent), "answer": str(answer)}))

    def _ask(self, request: dict[str, Any]) -> Any:
        line = self.child.ask(json.dumps(request, allow_nan=False).encode() + b"\n", self.seconds)
        try:
            return parsed(line, _no_number)
        except ValueError as error:
            raise self.child.failed(unreadable(line, error)) from error

    def _trace(self, case: Case, answer: Any) -> Trace:
        if not isinstance(answer, dict):
            raise self.child.failed(f"{FOR_ANSWERS} and it wrote {shown(answer)}")
        if answer.get("id") != self.count:
            own = f"the id of its answer is {shown(answer['id'])}" if "id" in answer else "its answer has no id"
            raise self.child.failed(f"it answered to another request than {self.count}: {own}")
        kinds = [kind for kind in ("trace", "unsupported", "error") if kind in answer]
        if len(kinds) != 1:
            raise self.child.failed(f"an answer has one of trace, unsupported and error, this has {kinds or 'none'}")
        said = answer[kinds[0]]
        if kinds == ["trace"]:
            return received(case, *self._tensors(said, case.dtype))
        if not isinstance(said, str):
            raise self.child.failed(f"{kinds[0]} is a line of text, got {shown(said)}")
        if kinds == ["unsupported"]:
            raise Unsupported(said)
        raise self.child.failed(f"it says: {said}")

    def _tensors(self, trace: Any, dtype: str) -> Tensors:
        if isinstance(trace, str):
            try:
                return unpacked(read(trace, MOST_ARRAYS))
            except (OSError, ValueError) as error:
                raise self.child.failed(
                    f"its file {shown(trace)} cannot be read: {getattr(error, 'strerror', None) or error}"
                ) from error
        if not isinstance(trace, dict):
            raise self.child.failed(f"a trace is an object of arrays by name, or a path, got {shown(trace)}")
        found = Tensors({}, {})
        for name, value in trace.items():
            try:
                found.arrays[name] = array_from_object(value, dtype)
            except ValueError as error:
                found.faults[name] = str(error)
        return found


def unreadable(line: bytes, error: ValueError) -> str:
    """A sentence about a line that is not an answer in JSON: what was expected, and the text at the place of the error."""
    text = line.decode(errors="replace").rstrip()
    if not text.lstrip("\ufeff \t").startswith("{"):
        return f"{FOR_ANSWERS} and it wrote {shown(text[:1000])}"
    if not isinstance(error, json.JSONDecodeError):
        return f"its answer {shown(text[:1000])} cannot be read: {error}"
    if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
        return f"an answer is one line of JSON, and this line ends before its JSON does: {shown(text[:1000])}"
    what = f"{SPELLING}: " if WORDS.match(text, error.pos) else ""
    begin = max(error.pos - 20, 0)
    near = f"{'…' * (begin > 0)}{text[begin : error.pos + 30]}"
    return f"its answer is not JSON at character {error.pos + 1}: {what}{error.msg}, in {shown(near)}"


def _no_number(name: str) -> None:
    raise ValueError(f'{name} is no JSON: it is written as a string, "{name}"')


# One child per command and process; workers that judge side by side have one each.
_DIALOGUES: dict[tuple[str, float], Dialogue] = {}


def _end(command: str, seconds: float) -> None:
    dialogue = _DIALOGUES.pop((command, seconds), None)
    if dialogue is not None:
        dialogue.child.end()


@atexit.register
def _end_all() -> None:
    for place in list(_DIALOGUES):
        _end(*place)
