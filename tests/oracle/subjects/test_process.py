"""Programs as subjects: whatever they do becomes rows, they are started anew, and none is left behind."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import oracle
from oracle import suite
from oracle.case.case import Case
from oracle.cli import main
from oracle.exchange.description import case_of, description, named_arrays
from oracle.exchange.introduction import introduction
from oracle.exchange.numbers import array_from_object, array_to_object
from oracle.exchange.received import entry_name, received
from oracle.exchange.tensors import packed, unpacked
from oracle.harness import executors
from oracle.subjects import SubjectError, process
from oracle.subjects import refbp as refbp_subject
from oracle.subjects.child import complaint
from oracle.trace import Trace
from tests.programs import program

RUDE = Path(__file__).parents[2] / "subjects" / "rude.py"
PLAIN = "worked-example/plain"
SECONDS = 2.0


def rude(*arguments: str) -> str:
    return shlex.join([sys.executable, "-S", str(RUDE), *arguments])


@pytest.fixture(autouse=True)
def none_left_behind() -> Iterator[None]:
    """After each test every program that it started is gone, and waited for."""
    before = children()
    yield
    process._end_all()
    left = {number: line for number, line in children().items() if number not in before}
    assert not [line for line in left.values() if "resource_tracker" not in line], left  # which belongs to pools


def children() -> dict[int, str]:
    """This process's children by number, zombies among them, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def judged(command: str, cases: str = PLAIN, **more: Any) -> oracle.Report:
    return oracle.run(process.program(command, SECONDS), "refbp", cases, ("float64",), **more)


CRASHES = {
    "exits": "it ended with exit status 7 before it answered; its last line on standard error: no more memory",
    "segfaults": "it was ended by signal 11 (SIGSEGV) before it answered",
    "hangs": "no answer within 2 s; an answer that is not flushed does not arrive",
    "talks": "standard output is for answers only, each an object in JSON on one line, and it wrote 'computing layer 0 ...'",
    "stops halfway": "it ended with exit status 0 before it answered, after 28 bytes without the end of a line",
    "waits with half a line": "no answer within 2 s, after 28 bytes without the end of a line",
    "many lines": "an answer is one line of JSON, and this line ends before its JSON does: '{'",
    "C's infinity": """its answer is not JSON at character 50: NaN and infinities are the strings "NaN", "Infinity" and""",
    "a comma too much": "its answer is not JSON at character 52: Expecting value, in '…",
    "leaves a child": "it ended with exit status 3 before it answered",
    "another id": "it answered to another request than 1: the id of its answer is 2",
    "a text as id": "it answered to another request than 1: the id of its answer is '1'",
    "no id": "it answered to another request than 1: its answer has no id",
    "no object": "standard output is for answers only, each an object in JSON on one line, and it wrote 1.25",
    "nan": 'NaN is no JSON: it is written as a string, "NaN"',
    "error": "it says: out of registers",
    "no such file": "its file '/no/such/file' cannot be read",
}


@pytest.mark.parametrize("manner", CRASHES)
def test_what_a_program_does_wrong_is_a_row(manner: str, tmp_path: Path) -> None:
    """With the reason in words; and the next case has a new child."""
    starts = tmp_path / "starts"
    report = judged(rude(manner, str(starts)), "worked-example")
    assert list(report.table["verdict"]) == ["crashed", "crashed"] and not report.passed
    assert CRASHES[manner] in report.table["diagnosis"][0]
    assert len(starts.read_text().split()) == 2
    assert "Traceback" not in report.to_markdown()


COMPLAINTS = {
    "": "",
    "reading\nno more memory\n\n": "its last line on standard error: no more memory",
    "port.js:7\n  throw new Error('boom')\n  ^\n\nError: boom\n    at run (port.js:7)\n\nNode.js v20\n": (
        "on standard error: Error: boom"
    ),
    'Exception in thread "main" java.lang.Error: A\n\tat A.main(A.java:1)\nCaused by: my.Exception: B\n\tat C.error()\n': (
        "on standard error: Caused by: my.Exception: B"
    ),
    "\nthread 'main' (7) panicked at src/main.rs:3:5:\nindex out of bounds: 5\nnote: run with `RUST_BACKTRACE=1`\n": (
        "on standard error: thread 'main' (7) panicked at src/main.rs:3:5: index out of bounds: 5"
    ),
    "panic: index out of range [5]\n\ngoroutine 1 [running]:\nmain.main()\n": (
        "on standard error: panic: index out of range [5]"
    ),
    "terminate called after throwing an instance of 'std::out_of_range'\n  what():  vector\n": (
        "its last line on standard error: what():  vector"
    ),
    "KeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTypeError: y\n": (
        "its last line on standard error: TypeError: y"
    ),
}


@pytest.mark.parametrize("text", COMPLAINTS)
def test_the_line_that_names_the_error_is_quoted(text: str) -> None:
    """In many languages the last line on standard error is a frame of the calls, or a version, and says nothing."""
    assert complaint(text) == COMPLAINTS[text]


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is far above any answer."""
    monkeypatch.setattr("oracle.subjects.child.LONGEST_ANSWER", 1 << 20)
    assert "without the end of a line" in judged(rude("never ends a line")).table["diagnosis"][0]


def test_noise_on_standard_error_does_not_block() -> None:
    """A megabyte of it; the answer is what counts."""
    assert set(judged(rude("noise")).table["verdict"]) == {"unsupported"}


def test_what_it_says_it_lacks_is_unsupported() -> None:
    """In its own words."""
    table = judged(rude("says so")).table
    assert (list(table["verdict"]), list(table["diagnosis"])) == (["unsupported"], ["no layers at all"])


def test_an_empty_answer_misses_everything() -> None:
    """All quantities of all layers, none a crash."""
    table = judged(rude("nothing")).table
    assert set(table[table["quantity"] != "branches"]["verdict"]) == {"missing"}


PARTIAL = {
    ("hidden1", "output"): "shape (1, 3) needs 3 elements, got 2",
    ("hidden1", "grad_input"): "shape (2, 1), expected (1, 2)",
    ("sigmoid1", "output"): "dtype float16, expected float64",
    ("sigmoid1", "grad_input"): "unknown dtype 'float8'",
    ("hidden2", "output"): "an array is an object with 'shape' and 'data', got [1, 2]",
    ("conv9", "output"): "extra: the case has no quantity '0/conv9/output'; it has no layer 'conv9', but 'hidden1', ",
    ("", "nonsense"): "'nonsense'; a name is step/layer/quantity, such as 0/hidden1/output",
    ("hidden1", "weight.grad"): "of 'hidden1' in this step it has input, output, grad_output, grad.weight",
}


def test_an_answer_in_parts_is_judged_in_parts() -> None:
    """Every bad entry is named with its reason, what is not finite is wrong, the rest is missing."""
    table = judged(rude("partial")).table
    for (layer, quantity), reason in PARTIAL.items():
        rows = table[(table["layer"] == layer) & (table["quantity"] == quantity)]
        assert set(rows["verdict"]) == {"wrong"} and reason in rows["diagnosis"].iloc[0], (layer, quantity)
    rows = table[(table["layer"] == "hidden2") & (table["quantity"] == "grad_input")]
    assert "wrong" in set(rows["verdict"]) and not np.isfinite(rows["got"]).any()
    rows = table[(table["layer"] == "output") & (table["quantity"] == "grad.weight")]
    assert set(rows["verdict"]) == {"missing"}


HELLOS = {
    "mute": "no answer within 2 s",
    "old": "it speaks protocol 0, this version speaks 1",
    "nameless": "name is a short line of text, got None",
    "boasts": "no field 'colour'",
}


@pytest.mark.parametrize("manner", HELLOS)
def test_a_program_that_does_not_introduce_itself_is_refused(manner: str) -> None:
    """In one sentence, before anything is judged."""
    with pytest.raises(SubjectError, match="does not introduce itself") as raised:
        process.program(rude(manner), SECONDS)
    assert HELLOS[manner] in str(raised.value) and "\n" not in str(raised.value)


WRONG_COMMANDS = {
    "/no/such/program": "cannot be started: No such file",
    "": "names a program and its arguments, got an empty one",
    "'": "a command that no shell would take",
    f"{sys.executable} -c pass": "it ended with exit status 0 before it answered",
    f"{sys.executable} -c 'import nothing_of_the_kind'": "ModuleNotFoundError",
}


@pytest.mark.parametrize("line", WRONG_COMMANDS)
def test_a_command_that_is_none_ends_in_one_sentence(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with exit status 2."""
    assert main(["run", "--cases", PLAIN, "--subject-command", line]) == 2
    out, err = capsys.readouterr()
    (sentence,) = [text for text in err.splitlines() if text.startswith("oracle: ")]
    assert out == "" and WRONG_COMMANDS[line] in sentence and "Traceback" not in err


def test_two_subjects_or_no_time_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence each."""
    assert main(["run", "--subject", "torch", "--subject-command", "true"]) == 2
    assert "choose one subject" in capsys.readouterr().err
    assert main(["run", "--subject-command", "true", "--time-limit", "0"]) == 2
    assert "time limit" in capsys.readouterr().err


def test_the_command_line_runs_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its report names the program, and how to see the same again."""
    command = rude("nothing")
    arguments = ["run", "--cases", PLAIN, "--subject-command", command, "--reference", "refbp", "--out", str(tmp_path)]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "rude against refbp" in out
    assert f"--subject-command {shlex.quote(command)}" in oracle.load_report(tmp_path).blame[0].reproduce


@pytest.mark.slow
def test_workers_have_a_child_each_and_leave_none(tmp_path: Path) -> None:
    """As many processes as workers, whatever the number of cases, and none of them afterwards."""
    starts = tmp_path / "starts"
    with executors.pool() as executor:
        report = judged(rude("says so", str(starts)), "linear/", executor=executor)
    assert set(report.table["verdict"]) == {"unsupported"} and len(report.cases) > 20
    process._end_all()
    numbers = set(starts.read_text().split())
    assert 2 <= len(numbers) <= 1 + (os.cpu_count() or 1)
    deadline = time.monotonic() + 10
    while any(Path("/proc", number).exists() for number in numbers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- whatever comes -----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([entry_name(key) for key in refbp_subject.run(suite.named(PLAIN))]) | st.text(max_size=12)
ENTRIES = st.fixed_dictionaries(
    {"shape": st.lists(st.integers(-1, 4), max_size=3) | JSON, "data": st.lists(st.floats() | JSON, max_size=6) | JSON},
    optional={"dtype": st.sampled_from(["float64", "float32", "bool", "int64", "float16"]) | JSON},
)
TRACES = st.dictionaries(NAMES, ENTRIES | JSON, max_size=6) | JSON
ANSWERS = st.fixed_dictionaries(
    {"id": st.just(1) | JSON}, optional={"trace": TRACES, "unsupported": JSON, "error": JSON}
)


def in_json(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


@pytest.fixture(scope="module")
def sh() -> str:
    """The shell. Without it a test is skipped before Hypothesis begins, which would show the skip as a failing example."""
    return program("sh")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=st.binary(max_size=200) | JSON.map(in_json) | ANSWERS.map(in_json))
@example(answer=b"[" * 100_000 + b"\n")
@example(
    answer=b'{"id": 1, "trace": {"0/hidden1/output": {"shape": [1, 3], "data": [1e999, 1' + b"0" * 400 + b", 1]}}}\n"
)
@example(answer=b'{"id": 1, "trace": {"0/hidden1/output": {"shape": [2147483647, 2147483647], "data": []}}}\n')
@example(answer=b'{"id": 1' + b"0" * 5000 + b"}\n")
@example(answer=in_json({"id": 1, "trace": {f"{'9' * 5000}/0/output": {"shape": [], "data": [1]}, "²/0/output": 0}}))
def test_whatever_a_program_answers_there_are_rows(sh: str, answer: bytes) -> None:
    """Random bytes, random JSON and random traces: never an exception, never a pass."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(answer)
        file.flush()
        script = f"""read hello; echo '{{"protocol": 1, "name": "fuzz"}}'; read request; exec cat {file.name}"""
        subject = process.program(shlex.join([sh, "-c", script]), 10.0)
        report = oracle.run(subject, "refbp", PLAIN, ("float64",))
        subject.end()
    assert len(report.table) and set(report.table["verdict"]) != {"pass"}
    assert report.to_json() and report.to_markdown()


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_whatever_an_introduction_is_ends_in_a_sentence(value: Any) -> None:
    """Or is one."""
    known = ("protocol", "name", "supports", "dtypes", "arrays", "profile")
    for field in (None, *known):
        held = value if field is None else {"protocol": 1, "name": "x", field: value}
        try:
            introduction(held)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("supports", ["linear", "relu"], "supports are classes of torch's, such as Linear, got "),
        ("supports", ["Linear", "Relu"], "'Relu' is not one, 'ReLU' is"),
        ("supports", ["Linear", "CrossEntropy"], "'CrossEntropy' is not one, 'CrossEntropyLoss' is"),
        ("supports", ["Linear", "max_pool2d"], "'max_pool2d' is not one, 'MaxPool2d' is"),
        ("dtypes", ["fp32"], "dtypes are among float64, float32, float16, bfloat16, got "),
        ("dtypes", [], "dtypes are among "),
        ("profile", {"quantities": ["outputs"]}, "quantities are patterns of output, .*; got 'outputs'"),
        ("profile", {"quantities": []}, "quantities are patterns of output, .*; got none"),
        ("profile", {"quantities": "output"}, "quantities is a list of names, got "),
        ("profile", {"conventions": "biased_running_variance"}, "conventions is a list of names, got "),
        ("profile", {"accumulate": ["float64"]}, "accumulate is the name of a dtype, got "),
        ("profile", {"accumulate": "float80"}, "accumulate is one of float64, .*, got 'float80'"),
        ("profile", {"normwise": ["conv2d"]}, "normwise are layers that add up, Conv1d, Conv2d, .*, got 'conv2d'"),
    ],
)
def test_an_introduction_of_nothing_that_there_is_ends_in_a_sentence(field: str, value: Any, said: str) -> None:
    """Else a program whose lists are misspelt would be given nothing, or be asked for nothing, and conform."""
    with pytest.raises(ValueError, match=said):
        introduction({"protocol": 1, "name": "x", field: value})
    assert (
        introduction({"protocol": 1, "name": "x", "profile": {"accumulate": "float64"}}).profile.accumulate == "float64"
    )
    assert introduction({"protocol": 1, "name": "x", "profile": {"accumulate": None}}).profile.accumulate is None
    assert (
        introduction({"protocol": 1, "name": "x", "supports": ["LSTM", "Linear"], "dtypes": ["int8", "float32"]}).name
        == "x"
    )


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_numbers_come_back_bit_by_bit(array: np.ndarray) -> None:
    """As JSON and as safetensors: subnormals, -0.0, NaN and infinities, in each precision."""
    text = json.dumps(array_to_object(array), allow_nan=False)
    for back in (array_from_object(json.loads(text), "float64"), unpacked(packed({"a": array})).arrays["a"]):
        assert back.dtype == array.dtype and back.shape == array.shape
        np.testing.assert_array_equal(back, array)
        if array.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(back[~np.isnan(back)]), np.signbit(array[~np.isnan(array)]))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_nine_digits_of_a_float32_suffice(value: float) -> None:
    """As C's %.9g writes them: read as a double and rounded, the same float32 comes back."""
    sent = json.loads(json.dumps({"dtype": "float32", "shape": [], "data": [0]}))
    sent["data"] = [json.loads(f"{value:.9g}")]
    assert array_from_object(sent, "float32") == np.float32(value)


@given(st.data())
def test_damaged_tensors_are_named(data: st.DataObject) -> None:
    """A file that is cut or changed anywhere: what can be read is, the rest has a reason."""
    arrays = {
        "0/a/output": np.arange(6.0).reshape(2, 3),
        "0/a/grad_input": np.zeros(2, np.float32),
        "x": np.zeros((0, 2)),
    }
    whole = packed(arrays)
    cut = data.draw(st.integers(0, len(whole)))
    damaged = bytearray(whole[:cut])
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = unpacked(bytes(damaged))
    except ValueError as error:
        assert "no safetensors" in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in found.arrays.values()) and all(found.faults.values())


def test_a_truncated_file_keeps_what_is_whole() -> None:
    """Only the entry whose bytes are gone is lost."""
    whole = packed({"a": np.arange(3.0), "b": np.arange(3.0)})
    found = unpacked(whole[:-8])
    np.testing.assert_array_equal(found.arrays["a"], np.arange(3.0))
    assert list(found.faults) == ["b"] and "truncated" in found.faults["b"]


def test_every_case_of_the_suite_crosses_the_border() -> None:
    """Described and read back, it computes the same; every option is written out, every name is full."""
    for name, case in suite.all_cases().items():
        if name.startswith(("digits", "network")):  # like the others but for their size
            continue
        told = json.loads(json.dumps(description(case), allow_nan=False))
        arrays = unpacked(packed(named_arrays(case))).arrays
        back = case_of(told, arrays)
        assert description(back) == {**told, "strides": {}}, name
        for field, array in named_arrays(case).items():
            np.testing.assert_array_equal(named_arrays(back)[field], array)
    lenet = description(suite.named("lenet5/random"))
    assert lenet["layers"][0]["options"]["dilation"] == 1 and lenet["optimizer"]["options"]["nesterov"] is False
    nested = description(suite.named("network/resnet18"))
    assert "stage1_1.body.0" in json.dumps(nested)


@pytest.mark.parametrize("name", [PLAIN, "network/shared_layer", "dropout/Dropout,imposed", "batch/Linear,batch=0"])
def test_a_trace_that_crossed_the_border_is_the_same(name: str) -> None:
    """Nothing of a right trace is a fault, or lost."""
    (case,) = [case for case in suite.matching(name) if case.name == name] or [suite.named(name)]
    trace = refbp_subject.run(case)
    back = received(case, {entry_name(key): array for key, array in trace.arrays.items()}, {})
    assert not back.faults and back.arrays.keys() == trace.arrays.keys()


def file_of(header: str, body: bytes, length: bytes | None = None) -> bytes:
    return (len(header).to_bytes(8, "little") if length is None else length) + header.encode() + body


HEADER = '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [%d, %d]}}'
WRONG_FILES = {
    "its first 8, a little-endian number, say that the header has ": file_of(
        HEADER % (0, 8), bytes(8), b"\0" * 7 + b"@"
    ),
    "data_offsets count from the end of the header, and the first is 70": file_of(HEADER % (70, 78), bytes(8)),
}


@pytest.mark.parametrize("said", WRONG_FILES)
def test_a_file_in_another_form_says_what_was_expected(said: str) -> None:
    """A length in big-endian bytes, and offsets from the beginning of the file, as a writer by hand has them."""
    with pytest.raises(ValueError, match=said):
        unpacked(WRONG_FILES[said])


def test_a_dtype_by_another_name_is_named_with_those_that_there_are() -> None:
    """safetensors has F32, not float32."""
    found = unpacked(file_of((HEADER % (0, 8)).replace("F32", "float32"), bytes(8)))
    assert found.faults["a"].startswith("unknown dtype 'float32': known are F64, F32, ")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_in_other_bytes_are_named_without_a_warning(dtype: str) -> None:
    """As Java's streams write them: huge numbers and signalling NaN, of which conversions would warn."""

    class Reversed:
        name = "reversed"

        def run(self, case: Case) -> Trace:
            honest = refbp_subject.run(case).arrays
            swapped = {
                entry_name(key): np.asarray(own).byteswap() for key, own in honest.items() if own.dtype.kind == "f"
            }
            return received(case, *unpacked(packed(swapped)))

    report = oracle.run(Reversed(), "refbp", "mlp/ReLU+CrossEntropyLoss", (dtype,))
    assert report.blame[0].cause_name == "byte order", report.blame[0].in_full()
    assert report.to_markdown()


def test_results_by_wrong_names_are_one_fault() -> None:
    """A program that writes 0.0.output for 0/0/output has one, not one for each of its arrays."""

    class Dotted:
        name = "dotted"

        def run(self, case: Case) -> Trace:
            arrays = refbp_subject.run(case).arrays
            return received(case, {entry_name(key).replace("/", "."): own for key, own in arrays.items()}, {})

    report = oracle.run(Dotted(), "refbp", "mlp/ReLU+CrossEntropyLoss", ("float64",))
    assert list(report.kinds["cause_name"]) == ["missing", "name"]
    assert "a name is step/layer/quantity, such as 0/0/output" in str(report)
