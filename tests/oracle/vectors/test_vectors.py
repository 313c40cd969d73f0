"""Vectors: the same bytes each time, enough for anybody to judge by, and judged as a run is; whatever is damaged is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import oracle
from oracle import suite, vectors
from oracle.case.arrays import Array
from oracle.cli import main
from oracle.exchange.tensors import packed, unpacked
from oracle.judging.rows import Row
from oracle.subjects import load
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Key
from oracle.vectors import VectorsError
from oracle.vectors.expected import STORED, expectations
from oracle.vectors.export import with_masks
from oracle.vectors.folder import read_manifest
from oracle.vectors.stored import judged

from ..filled import fill
from ..planted import unturned

BY_HAND = Path(__file__).with_name("vectors_by_hand.py")
PLAIN = "worked-example/plain"
FAMILIES = (
    "worked-example",
    "lenet5",
    "kink/",
    "tie/",
    "nonfinite/ReLU",
    "dropout/Dropout2d",
    "batch/Linear",
    "exact/",
)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One case in float64."""
    folder = tmp_path_factory.mktemp("plain")
    vectors.export(folder, PLAIN, ("float64",))
    return folder


@pytest.fixture(scope="session")
def results(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """And what refbp makes of it."""
    return fill(plain, tmp_path_factory.mktemp("right"), refbp_subject)


def altered(results: Path, to: Path, change: Callable[[dict[str, Array]], object]) -> Path:
    """A copy of the results with the arrays of the plain case changed."""
    shutil.copytree(results, to)
    path = to / f"{PLAIN}.float64.safetensors"
    arrays = load_file(path)
    change(arrays)
    path.write_bytes(packed(arrays))
    return to


# --- export ---------------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_an_export_is_the_same_to_the_byte(tmp_path: Path) -> None:
    """Again into the same folder, and by another process; a CNN with long sums."""
    export = f"vectors.export({str(tmp_path / 'first')!r}, 'network/autoencoder', ('float32',))"
    subprocess.run([sys.executable, "-c", f"from oracle import vectors; {export}"], check=True)
    for _ in range(2):
        vectors.export(tmp_path / "second", "network/autoencoder", ("float32",))
    assert len(contents(tmp_path / "first")) == 7 and contents(tmp_path / "first") == contents(tmp_path / "second")


def test_an_export_is_what_its_documents_say(tmp_path: Path) -> None:
    """Every JSON file fits its schema, every hash its file; nothing else lies there, and nothing says when or where."""
    for pattern in (
        "network/shared_layer",
        "dropout/Dropout,p=0.5",
        "worked-example/decay",
        "loss/CrossEntropyLoss*weight=given*",
        "layout/Linear*",
    ):
        manifest = vectors.export(tmp_path, pattern)
        files = contents(tmp_path)
        value = json.loads(files.pop("manifest.json"))
        jsonschema.validate(value, json.loads(files["manifest.schema.json"]))
        schema = json.loads(files["case.schema.json"])
        assert value["files"] == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        assert {"PROTOCOL.md", "case.schema.json"} < files.keys()
        for entry in manifest.cases:
            jsonschema.validate(json.loads(files[entry.description]), schema)
            assert {name.rpartition("/")[2] for name in unpacked(files[entry.expected]).arrays} >= {
                "expected",
                "tolerance",
                "scale",
            }


def test_the_schemas_can_refuse(plain: Path) -> None:
    """Their twin: a case with a field that there is not, or without one that there must be."""
    case = json.loads((plain / f"{PLAIN}.float64.json").read_text())
    schema = json.loads((plain / "case.schema.json").read_text())
    for wrong in ({**case, "colour": "red"}, {**case, "format": 2}, {k: v for k, v in case.items() if k != "loss"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_masks_are_imposed() -> None:
    """What is expected of a dropout layer does not depend on anybody's random numbers."""
    case = with_masks(suite.named("dropout/Dropout2d,p=0.5"))
    assert set(case.masks) == {"0"}
    first, second = refbp_subject.run(case), load("torch").run(case)
    np.testing.assert_allclose(first.arrays[Key(0, "0", "output")], second.arrays[Key(0, "0", "output")], rtol=1e-15)


def test_what_the_reference_cannot_run_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """torch fails on an empty PixelShuffle."""
    manifest = vectors.export(tmp_path, "batch/PixelShuffle,batch=0", ("float64",))
    assert manifest.cases == () and "torch cannot run it" in manifest.left_out["batch/PixelShuffle,batch=0.float64"]


def test_known_errors_of_the_reference_are_not_published(tmp_path: Path) -> None:
    """torch's Hardsigmoid is less precise than float64: refbp's value stands there, and refbp conforms."""
    vectors.export(tmp_path / "v", "kink/Hardsigmoid", ("float64",))
    right = fill(tmp_path / "v", tmp_path / "right", refbp_subject)
    assert vectors.judge(tmp_path / "v", right).passed
    theirs = vectors.judge(tmp_path / "v", fill(tmp_path / "v", tmp_path / "theirs", load("torch")))
    assert {(blame.layer_type, blame.quantity) for blame in theirs.blame} == {("Hardsigmoid", "grad_input")}


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """In one sentence; an earlier export gives way, a stranger's file in it stays."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(VectorsError, match="holds files that are not vectors"):
        vectors.export(tmp_path, PLAIN, ("float64",))
    assert contents(tmp_path) == {"mine.txt": b"mine"}
    vectors.export(tmp_path / "v", PLAIN, ("float64",))
    (tmp_path / "v" / "notes.txt").write_text("mine")
    vectors.export(tmp_path / "v", "worked-example/decay", ("float64",))
    assert "notes.txt" in contents(tmp_path / "v") and not (tmp_path / "v" / f"{PLAIN}.float64.json").exists()


# --- judged as a run is -----------------------------------------------------------------------------------------------------


def test_right_results_conform(plain: Path, results: Path) -> None:
    """Each quantity by the stored tolerances, end to end, and locally."""
    report = vectors.judge(plain, results)
    assert report.passed and set(report.table["mode"]) == {"local", "end to end", STORED}
    assert set(report.table["verdict"]) == {"pass"}


def test_a_bug_is_blamed_as_in_a_run(tmp_path: Path) -> None:
    """The same layer and quantity with the same cause: convolutions whose kernel is not turned."""
    vectors.export(tmp_path / "v", "network/autoencoder", ("float32",))
    report = vectors.judge(tmp_path / "v", fill(tmp_path / "v", tmp_path / "r", unturned()))
    run = oracle.run(unturned(), "refbp", "network/autoencoder", ("float32",))
    assert [(b.layer, b.quantity, b.verdict, b.diagnosis, b.cause) for b in report.blame] == [
        (b.layer, b.quantity, b.verdict, b.diagnosis, b.cause) for b in run.blame
    ]
    assert len(report.blame) > 1 and report.blame[0].reproduce.startswith("oracle vectors judge ")


def without_torch(bar: Path, *commands: list[str]) -> tuple[list[int], subprocess.CompletedProcess[str]]:
    """The exit statuses of commands in a process, with processes of its own, in which torch cannot be imported."""
    bar.mkdir(exist_ok=True)
    (bar / "torch.py").write_text("raise ImportError('torch is barred')")
    path = os.pathsep.join([str(bar), str(Path(oracle.__file__).parents[1])])
    code = f"from oracle.cli import main\nfor words in {commands}: print(main(words), flush=True)"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    return [int(line) for line in done.stdout.splitlines() if line.isdecimal()], done


def test_no_torch_is_needed_to_judge(plain: Path, results: Path, tmp_path: Path) -> None:
    """With torch barred the judge works, and its twin, an export by torch, does not; one by refbp does."""
    report = str(tmp_path / "report")
    judge = ["vectors", "judge", str(plain), str(results), "--out", report, "--json"]
    export = ["vectors", "export", str(tmp_path / "v"), "--cases", PLAIN]
    statuses, done = without_torch(tmp_path / "bar", judge, export, [*export, "--reference", "refbp"])
    assert statuses == [0, 2, 0] and "torch is barred" in done.stderr, done.stderr
    said, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert said["passed"] and oracle.load_report(report).passed


def test_the_command_line_says_what_came_of_it(plain: Path, results: Path, tmp_path: Path, capsys: Any) -> None:
    """Status 0 and 1, a table and the blame."""
    assert main(["vectors", "judge", str(plain), str(results), "--out", str(tmp_path / "a")]) == 0
    assert "conforms" in capsys.readouterr().out
    wrong = altered(
        results, tmp_path / "wrong", lambda arrays: arrays.update({"0/hidden1/grad.weight": np.ones((3, 2))})
    )
    assert main(["vectors", "judge", str(plain), str(wrong), "--out", str(tmp_path / "b")]) == 1
    assert "hidden1 (Linear) grad.weight wrong" in capsys.readouterr().out


# --- by the stored files alone ------------------------------------------------------------------------------------------------


def by_hand(folder: Path, results: Path) -> dict[tuple[str, str], str]:
    done = subprocess.run(
        [sys.executable, str(BY_HAND), str(folder), str(results)], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    return {(case, name): verdict for case, rows in said.items() for name, verdict in rows.items()}


def stored(report: oracle.Report) -> dict[tuple[str, str], str]:
    rows = report.table[report.table["mode"] == STORED]
    coarse = {"imprecise": "wrong"}
    return {
        (f"{row.case}.{row.dtype}", f"{row.step}/{row.layer}/{row.quantity}"): coarse.get(row.verdict, row.verdict)
        for row in rows.itertuples()
    }


CHANGES: dict[str, tuple[Callable[[Key, Array], Array], set[str]]] = {
    "nothing": (lambda _, array: array, {"pass", "undecided"}),
    "a factor": (
        lambda key, array: array * array.dtype.type(1.001) if key.quantity == "grad_input" else array,
        {"pass", "undecided", "wrong"},
    ),
    "not finite": (
        lambda key, array: np.full_like(array, np.nan) if key.quantity == "output" else array,
        {"pass", "undecided", "wrong", "convention"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_stored_files_are_enough_to_judge(family: str, tmp_path: Path) -> None:
    """Somebody with PROTOCOL.md comes to the same verdict about every quantity, in a process without oracle and torch."""
    vectors.export(tmp_path / "v", family, ("float32",) if family == "lenet5" else ("float64", "float32"))
    for what, (change, expected) in CHANGES.items():
        if what == "not finite" and family == "lenet5":  # the largest; in the others it is seen
            continue
        results = fill(tmp_path / "v", tmp_path / what, refbp_subject, change)
        report = vectors.judge(tmp_path / "v", results)
        theirs = by_hand(tmp_path / "v", results)
        assert stored(report) == theirs
        assert report.passed == (what == "nothing")
        seen = set(theirs.values())
        assert seen <= expected and "pass" in seen and ("wrong" in seen) == (what != "nothing")


def one_at_zero(case: oracle.Case) -> Array:
    return np.where(case.inputs[0] >= 0, case.grad_outputs[0], 0.0)


def shared_by_all_winners(case: oracle.Case) -> Array:
    return _tied(case, lambda count: 1 / count)


def given_to_all_winners(case: oracle.Case) -> Array:
    return _tied(case, lambda count: 1.0)


def _tied(case: oracle.Case, share: Callable[[float], float]) -> Array:
    """Of a 2 x 2 max pooling whose winners each get a share of the gradient."""
    x, delta = case.inputs[0], case.grad_outputs[0]
    result = np.zeros_like(x)
    for index in np.ndindex(delta.shape):
        window = (*index[:-2], slice(2 * index[-2], 2 * index[-2] + 2), slice(2 * index[-1], 2 * index[-1] + 2))
        winners = x[window] == x[window].max()
        result[window] += winners * share(np.count_nonzero(winners)) * delta[index]
    return result


KINKS = [
    ("kink/ReLU", one_at_zero, "convention"),
    ("tie/MaxPool2d,kernel_size=2", shared_by_all_winners, "convention"),
    ("tie/MaxPool2d,kernel_size=2", given_to_all_winners, "wrong"),
]


@pytest.mark.parametrize("name, rule, verdict", KINKS)
def test_kinks_and_ties_are_in_the_files(name: str, rule: Any, verdict: str, tmp_path: Path) -> None:
    """Another derivative at a kink is a convention, more gradient than there is is wrong, by either judge."""
    manifest = vectors.export(tmp_path / "v", name, ("float64",))
    (entry,) = [entry for entry in manifest.cases if entry.case == name]
    fill(tmp_path / "v", tmp_path / "r", refbp_subject)
    path = tmp_path / "r" / entry.results
    path.write_bytes(packed({**load_file(path), "0/0/grad_input": rule(suite.named(name))}))
    ours, theirs = stored(vectors.judge(tmp_path / "v", tmp_path / "r")), by_hand(tmp_path / "v", tmp_path / "r")
    place = (f"{name}.float64", "0/0/grad_input")
    assert ours[place] == theirs[place] == verdict


def test_a_branch_that_rounding_decides_is_undecided(tmp_path: Path) -> None:
    """An input so near to a kink behind a sum that float32 may see either side: both are accepted, a third value is not."""
    weight = np.array([[1.0, 1.0, 1.0]])
    case = oracle.Case(
        "mine/near",
        layers=(oracle.Spec("Linear", {"in_features": 3, "out_features": 1, "bias": False}), oracle.Spec("ReLU")),
        params={"0.weight": weight},
        inputs=(np.array([[0.1, 0.2, -0.3 + 1e-8]]),),
        grad_outputs=(np.array([[0.7]]),),
    ).astype("float32")
    own = expectations(case, load("torch"))[Key(0, "1", "grad_input")]
    assert own.flipped is not None
    seen = [own.expected, 0.7 - own.expected, own.expected + 1.2]  # beyond the other side and its margin
    row = Row(case.name, "float32", 0, "1", "ReLU", "grad_input", STORED, "pass")
    rows = [judged(row, got.astype("float32"), own, structured=False, no_terms=False) for got in seen]
    assert [row.verdict for row in rows] == ["pass", "undecided", "wrong"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5", "digits/mlp", "mlp/Tanh", "network/inception"])
def test_torch_stays_within_the_stored_tolerances_over_all_steps(name: str, tmp_path: Path) -> None:
    """From the input alone through every step, in both precisions: z far below lambda, nearly everything decided."""
    vectors.export(tmp_path / "v", name)
    report = vectors.judge(tmp_path / "v", fill(tmp_path / "v", tmp_path / "r", load("torch")))
    rows = report.table[report.table["mode"] == STORED]
    assert report.passed and set(rows["verdict"]) <= {"pass", "undecided"}
    assert (rows["verdict"] == "pass").mean() > 0.95 and rows[rows["verdict"] == "pass"]["z_max"].max() < 6


# --- whatever is wrong with results is named ------------------------------------------------------------------------------------


def rename(arrays: dict[str, Array], old: str, new: str) -> None:
    arrays[new] = arrays.pop(old)


DAMAGES: dict[str, tuple[Callable[[dict[str, Array]], object], tuple[str, str], str, str]] = {
    "missing": (lambda a: a.pop("0/hidden2/output"), ("hidden2", "output"), "missing", "not"),
    "extra": (lambda a: a.update({"0/conv/output": np.ones(2)}), ("conv", "output"), "wrong", "extra: the case has no"),
    "misspelt": (lambda a: rename(a, "0/output/output", "0/Output/output"), ("Output", "output"), "wrong", "extra"),
    "another step": (lambda a: a.update({"7/loss/output": np.ones(())}), ("loss", "output"), "wrong", "extra"),
    "shape": (
        lambda a: a.update({"0/hidden1/grad.weight": np.ones((2, 3))}),
        ("hidden1", "grad.weight"),
        "wrong",
        "shape (2, 3), expected (3, 2)",
    ),
    "dtype": (
        lambda a: a.update({"0/hidden1/grad.bias": np.ones(3, np.float32)}),
        ("hidden1", "grad.bias"),
        "wrong",
        "dtype float32, expected float64",
    ),
    "integers": (lambda a: a.update({"0/loss/input": np.ones((1, 1), np.int64)}), ("loss", "input"), "wrong", "int64"),
    "not finite": (
        lambda a: a.update({"0/hidden2/grad.bias": np.full(2, np.inf)}),
        ("hidden2", "grad.bias"),
        "wrong",
        "",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_every_damaged_entry_is_named(what: str, plain: Path, results: Path, tmp_path: Path) -> None:
    """In a row of its layer and quantity, with what was expected and what came."""
    change, place, verdict, words = DAMAGES[what]
    report = vectors.judge(plain, altered(results, tmp_path / "r", change))
    rows = report.table[(report.table["layer"] == place[0]) & (report.table["quantity"] == place[1])]
    found = rows[(rows["verdict"] == verdict)]
    assert not report.passed and any(words in text for text in found["diagnosis"])
    assert "Traceback" not in report.to_markdown()


def test_a_truncated_entry_is_named(plain: Path, results: Path, tmp_path: Path) -> None:
    """The last one of the file, whose bytes are gone; the others are judged."""
    copy = altered(results, tmp_path / "r", lambda arrays: None)
    path = copy / f"{PLAIN}.float64.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    report = vectors.judge(plain, copy)
    bad = report.table[report.table["verdict"] == "wrong"]
    assert len(set(bad["quantity"])) == 1 and "truncated: its bytes" in bad["diagnosis"].iloc[0]
    assert "pass" in set(report.table["verdict"])


@pytest.mark.parametrize(
    "data", [None, b"", b"12345678{}", b"\xff" * 50], ids=["absent", "empty", "no header", "noise"]
)
def test_a_file_that_is_no_file_is_missing(data: bytes | None, plain: Path, results: Path, tmp_path: Path) -> None:
    """One row for the case, with the file's name."""
    copy = altered(results, tmp_path / "r", lambda arrays: None)
    path = copy / f"{PLAIN}.float64.safetensors"
    path.unlink() if data is None else path.write_bytes(data)
    report = vectors.judge(plain, copy)
    assert (
        list(report.table["verdict"]) == ["missing"] and f"{PLAIN}.float64.safetensors" in report.table["diagnosis"][0]
    )


def test_results_of_no_case_are_named(plain: Path, results: Path, tmp_path: Path) -> None:
    """A file too many is a typing error in a name, mostly."""
    copy = altered(results, tmp_path / "r", lambda arrays: None)
    (copy / "stranger.safetensors").write_bytes(packed({}))
    report = vectors.judge(plain, copy)
    assert not report.passed and "stranger.safetensors" in report.blame[0].diagnosis


def test_an_introduction_is_believed(plain: Path, results: Path, tmp_path: Path) -> None:
    """What it shows is judged, what it cannot show is not missed, what it has not is unsupported."""
    grads = lambda a: [a.pop(name) for name in list(a) if "/grad." not in name]  # noqa: E731
    copy = altered(results, tmp_path / "r", grads)
    assert not vectors.judge(plain, copy).passed
    hello: dict[str, Any] = {"protocol": 1, "name": "mine", "profile": {"quantities": ["grad.*"]}}
    (copy / "introduction.json").write_text(json.dumps(hello))
    report = vectors.judge(plain, copy)
    assert report.passed and report.environment["subject"] == "mine" and len(report.table) > 5
    (copy / "introduction.json").write_text(json.dumps({**hello, "supports": ["Linear"]}))
    assert set(vectors.judge(plain, copy).table["verdict"]) == {"unsupported"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_lies_in_a_file_there_are_rows(
    plain: Path, results: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes changed, cut off or thrown in anywhere: never an exception."""
    whole = bytearray((results / f"{PLAIN}.float64.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"{PLAIN}.float64.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert len(vectors.judge(plain, tmp_path).table)


def test_a_note_that_belongs_to_no_case_is_named(plain: Path, results: Path, tmp_path: Path) -> None:
    """The note's name is that of the results with an ending more; by another name it would be ignored without a word."""
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results" / f"{PLAIN}.float64.unsupported").write_text("no Sigmoid")
    table = vectors.judge(plain, tmp_path / "results").table
    (said,) = table[table["case"].str.endswith(".unsupported")]["diagnosis"]
    assert "no case whose results, or the note in their place, are" in said


# --- whatever is wrong with vectors ends in a sentence -----------------------------------------------------------------


def manifest_with(folder: Path, **fields: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


WRONG_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "holds no vectors: manifest.json: No such file"),
    "no JSON": (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]"), "names no format"),
    "format": (lambda f: manifest_with(f, format=99), "vectors of format 99, this version reads format 1"),
    "a field": (lambda f: manifest_with(f, colour="red"), "is damaged"),
    "an entry": (lambda f: manifest_with(f, cases=[{"case": "x"}]), "is damaged"),
    "a path": (lambda f: manifest_with(f, files={"../x": "0"}, cases=[]), "is not a path inside the folder"),
    "a file": (lambda f: (f / f"{PLAIN}.float64.json").unlink(), "is incomplete: worked-example/plain.float64.json"),
    "a byte": (
        lambda f: (f / f"{PLAIN}.float64.expected.safetensors").write_bytes(b"x"),
        "is damaged: worked-example/plain.float64.expected.safetensors is not the file",
    ),
}


@pytest.mark.parametrize("what", WRONG_FOLDERS)
def test_damaged_vectors_end_in_a_sentence(what: str, plain: Path, results: Path, tmp_path: Path, capsys: Any) -> None:
    """Status 2, nothing on standard output, no traceback."""
    damage, words = WRONG_FOLDERS[what]
    shutil.copytree(plain, tmp_path / "v")
    damage(tmp_path / "v")
    assert main(["vectors", "judge", str(tmp_path / "v"), str(results), "--out", str(tmp_path / "report")]) == 2
    out, err = capsys.readouterr()
    (sentence,) = [line for line in err.splitlines() if line.startswith("oracle: ")]
    assert out == "" and words in sentence


def test_wrong_arguments_end_in_a_sentence(plain: Path, tmp_path: Path, capsys: Any) -> None:
    """Results that are not there, an introduction that is none, cases and dtypes that there are not."""
    (tmp_path / "introduction.json").write_text("[]")
    lines = {
        f"judge {plain} /no/such/folder": "/no/such/folder is not a folder of results",
        f"judge {plain} {tmp_path}": "introduction.json: an introduction is an object",
        f"export {tmp_path / 'v'} --cases nonsense": "no case matches",
        f"export {tmp_path / 'v'} --dtype float8": "unknown dtype",
        "export /proc/nowhere --cases worked-example": "cannot be written",
    }
    for line, words in lines.items():
        out = ["--out", str(tmp_path / "report")] if line.startswith("judge") else []
        assert main(["vectors", *line.split(), *out]) == 2
        assert words in capsys.readouterr().err
    assert read_manifest(plain).cases
