"""Case files, reports and answers that are none: one sentence and status 2, at once, without a giant being built."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import resource
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import oracle
from oracle import suite
from oracle.cli import main
from oracle.report.report import ReportError
from oracle.subjects import refbp as refbp_subject

PLAIN = suite.named("worked-example/plain").to_json()
GROUPS = next(suite.matching("optimizer/*groups*")).to_json()
X = {"inputs": [[[1.0, 2.0]]], "grad_outputs": [[[1.0]]]}
IMAGE = [[[[1.0, 2.0], [3.0, 4.0]]]]


def case(**fields: Any) -> str:
    return json.dumps({"format": 1, "name": "mine", "dtype": "float64", **fields})


def layer(type: str, inputs: Any = IMAGE, **options: Any) -> str:
    return case(layers=[{"type": type, "options": options}], inputs=[inputs], grad_outputs=[[[1.0]]])


@cache
def zeros(number: int) -> str:
    return base64.b64encode(zlib.compress(b"\0" * number, 9)).decode()


def bomb(**more: Any) -> dict[str, Any]:
    return {"dtype": "float64", "shape": [2, 3], "base64": zeros(100_000_000), **more}


# The text of a case file, and a part of the sentence.
CASES: dict[str, tuple[str, str]] = {
    "nothing": ("", "is not JSON"),
    "no text": ("\udcff\udc80", "is not JSON: it is not text in UTF-8"),
    "deep": ("[" * 200_000 + "]" * 200_000, "is not JSON: it is nested too deeply"),
    "rather deep": ("[" * 500 + "]" * 500, "nested more than 100 deep"),
    "deep layers": (
        case(layers=json.loads('[{"type": "Sequential", "layers": ' * 60 + "[]" + "}]" * 60), **X),
        "is nested",
    ),
    "a key twice": ('{"name": "a", "name": "b"}', "has 'name' twice"),
    "a list": ("[]", "a case is a JSON object, got list"),
    "5,000 digits": ('{"steps": 1' + "0" * 5000 + "}", "is not JSON"),
    "400 digits of steps": (case(**PLAIN | {"steps": 10**400}), "steps expects 1 to 1,000,000, got a number of 1329 bits"),
    "steps for ever": (case(**PLAIN | {"steps": 10**9}), "steps expects 1 to 1,000,000"),
    "NaN steps": (case(**PLAIN | {"steps": float("nan")}), "steps expects int, got nan"),
    "true steps": (case(**PLAIN | {"steps": True}), "steps expects int, got True"),
    "400 digits of data": (case(**PLAIN | {"inputs": [[[10**400, 1.0]]]}), "do not fit float64"),
    "400 digits of an option": (layer("Softplus", beta=10**400), "cannot be run"),
    "infinite size": (layer("AdaptiveAvgPool2d", output_size=float("inf")), "got inf"),
    "NaN size": (layer("MaxPool2d", kernel_size=float("nan")), "got nan"),
    "layers that are a text": (case(layers="Linear", **X), "layers expects a list of objects"),
    "layers of numbers": (case(layers=[1], **X), "layers expects a list of objects"),
    "tags that are a number": (case(**PLAIN | {"tags": 3}), "tags expects a list of strings"),
    "a name that is a number": (case(layers=[{"type": "ReLU", "name": 3}], **X), "name expects a string"),
    "groups that are numbers": (
        case(**PLAIN | {"optimizer": {"type": "SGD", "options": {"lr": 0.1}, "groups": [3]}}),
        "groups expects a list of objects",
    ),
    "a group without names": (
        case(**PLAIN | {"optimizer": {"type": "SGD", "options": {"lr": 0.1}, "groups": [{"params": 3}]}}),
        "a group's params are a list of names",
    ),
    "no such state": (case(**PLAIN | {"optimizer_state": {"momentun": {}}}), "optimizer_state names 'momentun'"),
    "state of another": (
        case(**GROUPS | {"optimizer_state": {"momentum": {"nope": [1.0]}}}),
        "optimizer_state['momentum'] names 'nope', known: 0.weight, 0.bias",
    ),
    "gradients of another": (case(**GROUPS | {"grads": [{"nope": [1.0]}]}), "grads names 'nope', known: "),
    "state without an optimizer": (
        case(**{k: v for k, v in PLAIN.items() if k != "optimizer"} | {"optimizer_state": {"momentum": {"x": [1.0]}}}),
        "has optimizer_state, and no optimizer that would take them",
    ),
    "targets without a loss": (
        case(**{k: v for k, v in PLAIN.items() if k != "loss"} | {"grad_outputs": [[[1.0]]]}),
        "has targets, and no loss that would take them",
    ),
    "more batches than steps": (
        case(**PLAIN | {"steps": 1, "inputs": PLAIN["inputs"] * 2}),
        "has 2 inputs, and no more steps than 1 that would take them",
    ),
    "a mask of no dropout": (
        case(**PLAIN | {"masks": {"hidden1": [[True]]}}),
        "masks names 'hidden1', which is not a dropout layer",
    ),
    "layers in a loss": (
        case(**PLAIN | {"loss": {"type": "MSELoss", "layers": [{"type": "ReLU"}]}}),
        "MSELoss, loss, takes no 'layers'",
    ),
    "groups of a layer": (
        case(**PLAIN | {"layers": [{**PLAIN["layers"][0], "groups": [{"params": []}]}, *PLAIN["layers"][1:]]}),
        "Linear, hidden1, takes no 'groups'",
    ),
    "a bomb": (case(**PLAIN | {"inputs": [bomb()]}), "holds another number of bytes than the 48 of its shape"),
    "half a stream": (
        case(**PLAIN | {"inputs": [{"dtype": "float64", "shape": [2], "base64": "eJwL"}]}),
        "holds another number of bytes",
    ),
    "a giant shape": (case(**PLAIN | {"inputs": [bomb(shape=[2**31, 2**31])]}), "takes more than 4,294,967,296 bytes"),
    "a negative shape": (case(**PLAIN | {"inputs": [bomb(shape=[-1])]}), "a known 'dtype' and a 'shape'"),
    "a fractional shape": (case(**PLAIN | {"inputs": [bomb(shape=[1.5])]}), "a known 'dtype' and a 'shape'"),
    "objects": (case(**PLAIN | {"inputs": [bomb(dtype="O")]}), "an array's dtype is one of float64"),
    "a record": (case(**PLAIN | {"inputs": [bomb(dtype="f8,O")]}), "an array's dtype is one of float64"),
    "giant gaps": (
        case(**PLAIN | {"inputs": [{"dtype": "float64", "shape": [2], "data": [1, 2], "strides": [10**12]}]}),
        "strides",
    ),
    "a strange field of an array": (case(**PLAIN | {"inputs": [bomb(pickle="x")]}), "an array object has no 'pickle'"),
    "giant windows": (layer("MaxPool2d", kernel_size=10**9), "mine"),
    "giant averages": (layer("AvgPool2d", kernel_size=10**9, padding=5 * 10**8), "mine"),
    "giant features": (layer("Linear", IMAGE, in_features=2**31, out_features=2**31), "mine"),
    "many features": (layer("Linear", IMAGE, in_features=2**20, out_features=2**16), "params lacks"),
    "giant filters": (layer("Conv2d", IMAGE, in_channels=1, out_channels=2**16, kernel_size=2**10), "params lacks"),
    "giant padding": (layer("ZeroPad2d", padding=10**9), "mine"),
    "much padding": (layer("ConstantPad2d", padding=20_000, value=0.5), "asks for too much memory"),
    "giant scale": (layer("Upsample", scale_factor=2**15), "asks for too much memory"),
    "giant output": (layer("AdaptiveAvgPool2d", output_size=2**15), "asks for too much memory"),
    "giant norm": (layer("LayerNorm", normalized_shape=[2**16, 2**17]), "asks for too much memory"),
    "giant statistics": (layer("BatchNorm2d", num_features=2**34), "asks for too much memory"),
    "giant parameters": (layer("PReLU", num_parameters=2**34), "asks for too much memory"),
    "giant groups": (layer("GroupNorm", num_groups=1, num_channels=2**34), "asks for too much memory"),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_a_case_file_that_is_none_ends_in_a_sentence(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, nothing on standard output, and no more than a few seconds and a little memory."""
    text, said = CASES[what]
    path = tmp_path / "case.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert main(["run", "--case-file", str(path), "--reference", "refbp", "--out", str(tmp_path / "out")]) == 2
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("oracle: ") and said in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (fifo, "it is not a regular file"),
    "zeros for ever": (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
    "a terminal": (lambda path: path.symlink_to("/dev/tty"), "cannot be read"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "a sparse giant": (sparse, "it is larger than 512 MiB"),
    "a loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "nothing": (lambda path: None, "No such file"),
}


@pytest.mark.parametrize("what", PLACES)
def test_a_case_file_is_a_file(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not something that never ends."""
    make, said = PLACES[what]
    make(tmp_path / "case.json")
    assert main(["run", "--case-file", str(tmp_path / "case.json")]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


ARGUMENTS = {
    "run --cases x --case-file y": "choose the cases in one way, got --cases and --case-file",
    "run --cases worked-example/ --time-limit -1": "a time limit is a number of seconds above 0, got -1",
    "run --cases worked-example/ --time-limit nan": "a time limit is a number of seconds above 0, got nan",
    "run --cases worked-example/ --time-limit 0": "a time limit is a number of seconds above 0, got 0",
    "explain worked-example/plain --time-limit -1": "a time limit is a number of seconds above 0, got -1",
    "run --cases=": "a pattern of cases is not empty",
    "list cases --cases=": "a pattern of cases is not empty",
}


@pytest.mark.parametrize("line", ARGUMENTS)
def test_no_argument_is_ignored(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is said."""
    assert main(line.split(" ")) == 2
    assert ARGUMENTS[line] in capsys.readouterr().err


# --- saved reports ------------------------------------------------------------------------------------------------------


class Wrong:
    """refbp with twice the gradients of biases: a report of it has discrepancies, and arrays."""

    name = "wrong"

    def run(self, case: oracle.Case) -> oracle.Trace:
        trace = refbp_subject.run(case)
        for key in trace:
            if key.quantity == "grad.bias":
                trace.arrays[key] = 2 * trace.arrays[key]
        return trace


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a discrepancy and its arrays."""

    folder = tmp_path_factory.mktemp("report")
    oracle.run(Wrong(), "refbp", "worked-example/plain", ("float64",)).save(folder)
    return folder


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        value = json.loads((folder / "report.json").read_bytes())
        change(value)
        (folder / "report.json").write_text(json.dumps(value), encoding="utf-8")

    return edit


def retabled(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda folder: change(pd.read_parquet(folder / "table.parquet")).to_parquet(folder / "table.parquet")


def npz(**arrays: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with np.load(folder / "details.npz") as kept:
            held = {name: kept[name] for name in kept.files}
        np.savez_compressed(
            folder / "details.npz", **{**held, **{name.replace("_", "."): a for name, a in arrays.items()}}
        )

    return write


class Payload:
    def __reduce__(self) -> Any:
        return exec, ("raise RuntimeError('it ran')",)


def pickled(folder: Path) -> None:
    data = io.BytesIO()
    np.save(data, np.array([Payload()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(folder / "details.npz", "w") as file:
        for name in ("got", "expected", "tolerance", "shape", "origin"):
            file.writestr(f"0.{name}.npy", data.getvalue())


def replaced_by(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


REPORTS: dict[str, Callable[[Path], object]] = {
    "no object": replaced_by("report.json", b"[]"),
    "deep": replaced_by("report.json", b"[" * 100_000),
    "another format": edited(lambda v: v.update(format=10**30)),
    "an environment of numbers": edited(lambda v: v.update(environment=3)),
    "a subject that is a number": edited(lambda v: v["environment"].update(subject=3)),
    "cases that are a text": edited(lambda v: v["environment"].update(cases="many")),
    "dtypes that are a number": edited(lambda v: v["environment"].update(dtypes=3)),
    "dtypes of numbers": edited(lambda v: v["environment"].update(dtypes=[3])),
    "versions that are a list": edited(lambda v: v["environment"].update(versions=[])),
    "versions of numbers": edited(lambda v: v["environment"].update(versions={"numpy": 2})),
    "a seed that is a number": edited(lambda v: v["environment"].update(seeds=3)),
    "processors that are a text": edited(lambda v: v["environment"].update(processors="two")),
    "no reference": edited(lambda v: v["environment"].pop("reference")),
    "a culprit that is a list": edited(lambda v: v.update(blame=[[]])),
    "a culprit of numbers": edited(lambda v: v["blame"][0].update(case=3)),
    "a culprit without a verdict": edited(lambda v: v["blame"][0].update(verdict="fine")),
    "a culprit with follows of numbers": edited(lambda v: v["blame"][0].update(follows=[3])),
    "a record of a case too few": edited(lambda v: v["cases"][0].pop("verdict")),
    "a case's text in place of a number": edited(lambda v: v["cases"][0].update(rows="x")),
    "a case's unknown verdict": edited(lambda v: v["cases"][0].update(verdict="<b>")),
    "training of texts": edited(lambda v: v.update(training=["x"])),
    "training without gaps": edited(lambda v: v.update(training=[{"network": "x"}])),
    "details that are a number": edited(lambda v: v.update(details=3)),
    "a detail's place of numbers": edited(lambda v: v["details"].__setitem__(0, [1, 2, 3, 4, 5, 6])),
    "1,000 details": edited(lambda v: v.update(details=v["details"] * 1_000)),
    "coverage of texts": edited(lambda v: v.update(coverage={"parameters": "all", "unjudged": []})),
    "no table": replaced_by("table.parquet", b"PAR1"),
    "garbage for a table": replaced_by("table.parquet", bytes(range(256)) * 100),
    "a table of texts": retabled(lambda t: t.assign(z_max="x")),
    "a table of numbers": retabled(lambda t: t.assign(case=3)),
    "an unknown verdict": retabled(lambda t: t.assign(verdict="fine")),
    "fractional steps": retabled(lambda t: t.assign(step=0.5)),
    "garbage for arrays": replaced_by("details.npz", b"PK\x03\x04" + bytes(1000)),
    "a pickle for arrays": lambda folder: (folder / "details.npz").write_bytes(pickle.dumps(Payload())),
    "pickles in the arrays": pickled,
    "arrays of texts": npz(**{"0_got": np.array(["x"])}),
    "arrays that do not fit": npz(**{"0_expected": np.ones((9, 9))}),
    "a part beyond the whole": npz(**{"0_origin": np.array([10**6, 10**6])}),
    "arrays of a giant": npz(**{"0_got": np.zeros(10**7)}),
    "a pipe": lambda folder: ((folder / "table.parquet").unlink(), os.mkfifo(folder / "table.parquet")),
    "a link": lambda folder: ((folder / "report.json").unlink(), (folder / "report.json").symlink_to("/etc/passwd")),
    "a sparse giant": lambda folder: os.truncate(folder / "report.json", 1 << 40),
}


@pytest.mark.parametrize("what", REPORTS)
def test_a_report_that_is_none_ends_in_a_sentence(
    what: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No code of it runs, nothing of it is shown."""
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    REPORTS[what](tmp_path)
    with pytest.raises(ReportError) as raised:
        oracle.load_report(tmp_path)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 600 and "it ran" not in str(raised.value)
    assert main(["report", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("oracle: ") and err.count("\n") == 1


def test_the_report_itself_is_one(saved: Path) -> None:
    """The attacks change something that is read."""
    kept = oracle.load_report(saved)
    assert kept.blame and kept.details and main(["report", str(saved)]) == 0
