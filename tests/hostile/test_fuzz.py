"""Every reader of what others wrote, given whatever hypothesis comes up with: a value, or one sentence; no growth of memory.

ORACLE_FUZZ says how many inputs each is given: 300, unless told otherwise.
"""

from __future__ import annotations

import copy
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import oracle
from oracle import suite, vectors
from oracle.blame import details
from oracle.case.case import CaseError
from oracle.exchange.description import description, named_arrays
from oracle.exchange.numbers import array_to_object
from oracle.exchange.received import entry_name
from oracle.exchange.tensors import unpacked
from oracle.harness.run import load_cases
from oracle.report import stored
from oracle.report.report import ReportError
from oracle.subjects import refbp as refbp_subject
from oracle.subjects.child import ProgramFailed
from oracle.subjects.process import Dialogue
from oracle.trace import Trace, Unsupported
from oracle.vectors import VectorsError
from oracle.vectors.folder import read_manifest

from .test_files import PLACES, Wrong

INPUTS = int(os.environ.get("ORACLE_FUZZ", "300"))
MOST_GROWTH = 300_000_000  # bytes, over all inputs of a reader
FUZZ = settings(
    max_examples=INPUTS, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

NUMBERS = (0, 1, -1, 2**31, 2**40, 2**63, 10**400, 0.5, 1e308, 5e-324, math.nan, math.inf)
TEXTS = (
    "",
    "nan",
    "x" * 2000,
    "\ud800",
    "0.weight",
    "../x",
    "/etc/passwd",
    "\0",
    "a\nb",
    "ReLU",
    "Sequential",
    "float64",
    "float8",
)
NAMES = st.text(max_size=8) | st.sampled_from(TEXTS)
JUNK = st.recursive(
    st.sampled_from([None, True, False, *NUMBERS, *TEXTS]) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A good value of JSON with one to three of its parts replaced, added to, doubled, or taken away."""
    value = {"": copy.deepcopy(value)}
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([found for found in places(value) if found]))
        held: Any = value
        for key in path[:-1]:
            held = held[key]
        how = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if how == "replace":
            held[path[-1]] = draw(JUNK)
        elif how == "remove" and len(path) > 1:
            del held[path[-1]]
        elif isinstance(held[path[-1]], dict):
            held[path[-1]][draw(st.text(max_size=5))] = draw(JUNK)
        elif isinstance(held[path[-1]], list):
            held[path[-1]].append(draw(JUNK))
    return value[""]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, or with bytes changed."""
    data = bytearray(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def texts(value: Any) -> st.SearchStrategy[bytes]:
    """As bytes; some of them cut, or with bytes changed, or nothing of the kind."""
    whole = json.dumps(value).encode()
    return changed(value).map(lambda own: json.dumps(own).encode()) | damaged(whole) | st.binary(max_size=60)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def no_growth() -> Iterator[None]:
    """Over all of a test's inputs, after what the first ones import."""
    before = resident()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of data that is not finite
        yield
    growth = resident() - before
    sys.stdout.write(f"{INPUTS:,} inputs, memory {growth / 1e6:+.0f} MB\n")  # shown by pytest -rA
    assert growth < MOST_GROWTH


def ends_well(read: Callable[[], Any], *sentences: type[Exception]) -> Any:
    """What it returns; None after a sentence."""
    try:
        return read()
    except sentences as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 2500, str(error)
        return None


SMALL = [
    suite.named("worked-example/plain").to_json(),
    next(suite.matching("optimizer/*groups*")).to_json(),
    next(suite.matching("pool/MaxPool2d*")).to_json(),
    next(suite.matching("norm/BatchNorm1d*")).to_json(),
]


@FUZZ
@given(st.one_of([texts(value) for value in SMALL]))
def test_case_files(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(text)
    ends_well(lambda: load_cases(str(path)), CaseError)


PLAIN = suite.named("worked-example/plain")
TRACE = {entry_name(key): array_to_object(array) for key, array in refbp_subject.run(PLAIN).arrays.items()}


class Echo:
    """A child whose answer is known."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def ask(self, line: bytes, seconds: float) -> bytes:
        return self.answer.replace(b"\n", b" ")

    def failed(self, what: str) -> ProgramFailed:
        return ProgramFailed(what)


def answered(answer: bytes) -> Trace:
    dialogue = Dialogue.__new__(Dialogue)
    dialogue.seconds, dialogue.count, dialogue.child = 1.0, 0, Echo(answer)  # type: ignore[assignment]
    return dialogue.run(PLAIN, "json")


@FUZZ
@given(
    texts({"id": 1, "trace": TRACE}) | texts({"id": 1, "unsupported": "no"}) | texts({"id": 1, "trace": "/dev/zero"})
)
def test_answers_of_programs(answer: bytes) -> None:
    try:
        trace = answered(answer)
    except (ProgramFailed, Unsupported):
        return
    assert isinstance(trace, Trace) and all(trace.faults.values())


@pytest.mark.parametrize("what", ["a pipe", "zeros for ever", "a sparse giant", "a folder", "nothing"])
def test_an_answer_in_a_file_that_is_none(what: str, tmp_path: Path) -> None:
    """A sentence, at once: the time limit is the program's, and cannot end a read of the harness's own."""
    make, said = PLACES[what]
    make(tmp_path / "case.json")
    with pytest.raises(ProgramFailed, match=said.replace("512", "4,096")):
        answered(json.dumps({"id": 1, "trace": str(tmp_path / "case.json")}).encode())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    vectors.export(folder, "worked-example/plain", ("float64",), "refbp")
    return folder


def test_manifests(exported: Path) -> None:
    good = json.loads((exported / "manifest.json").read_bytes())

    @FUZZ
    @given(texts(good))
    def fuzzed(text: bytes) -> None:
        (exported / "manifest.json").write_bytes(text)
        ends_well(lambda: read_manifest(exported), VectorsError)

    fuzzed()


def test_descriptions(exported: Path) -> None:
    """Of cases in a folder of vectors, with arrays that fit the good one."""
    from oracle.exchange.description import case_of
    from oracle.execution.network import check

    arrays = named_arrays(PLAIN)

    @FUZZ
    @given(changed(description(PLAIN)))
    def fuzzed(value: Any) -> None:
        made = ends_well(lambda: case_of(value, arrays), CaseError)
        if made is not None:
            ends_well(lambda: check(made), CaseError)

    fuzzed()


HEADER = {"__metadata__": {"a": "b"}, "x": {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]}}


@FUZZ
@given(texts(HEADER), st.integers(-20, 20), st.sampled_from([0, 48, 100]))
def test_headers_of_safetensors(header: bytes, off: int, size: int) -> None:
    data = max(0, len(header) + off).to_bytes(8, "little") + header + bytes(size)
    found = ends_well(lambda: unpacked(data), ValueError)
    if found is not None:
        assert all(isinstance(array, np.ndarray) for array in found.arrays.values()) and all(found.faults.values())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    oracle.run(Wrong(), "refbp", "worked-example/plain", ("float64",)).save(tmp_path)
    return tmp_path


def test_saved_reports(saved: Path) -> None:
    """One that is read is also shown, in every form."""
    from oracle.report import github

    good = json.loads((saved / "report.json").read_bytes())
    good.pop("table")  # which the file beside it holds

    @FUZZ
    @given(texts(good))
    def fuzzed(text: bytes) -> None:
        (saved / "report.json").write_bytes(text)
        kept = ends_well(lambda: oracle.load_report(saved), ReportError)
        if kept is not None:
            assert kept.to_markdown() and kept.to_junit() and kept._repr_html_() and kept.conclusion and repr(kept)
            github.workflow_commands(kept.blame, kept.table)

    fuzzed()


def test_tables_of_saved_reports(saved: Path) -> None:
    @FUZZ
    @given(damaged((saved / "table.parquet").read_bytes()))
    def fuzzed(data: bytes) -> None:
        with suppress(Exception):  # of which `load_report` makes a sentence; never the end of the process, and no giant
            stored._table(data)

    fuzzed()


def test_arrays_of_saved_reports(saved: Path) -> None:
    places = [kept.place for kept in oracle.load_report(saved).details]
    whole = (saved / "details.npz").read_bytes()
    quoted = (
        whole[:27] + b"\x08" + whole[28:]
    )  # the first array's name is 2,048 characters longer, all of which zipfile quotes

    @FUZZ
    @example(quoted)
    @given(damaged(whole))
    def fuzzed(data: bytes) -> None:
        ends_well(lambda: details.load(data, places), ValueError)

    assert places
    fuzzed()
