"""Folders of vectors that were changed after they were exported, hashes and all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from oracle import vectors
from oracle.case.arrays import Array
from oracle.cli import main
from oracle.exchange.tensors import packed
from oracle.subjects import refbp as refbp_subject
from oracle.vectors import VectorsError
from oracle.vectors.folder import digest

from ..oracle.filled import fill

PLAIN = "worked-example/plain"
PARTS = ("expected", "tolerance", "scale")
EXPECTED, CASE = f"{PLAIN}.float64.expected.safetensors", f"{PLAIN}.float64.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors of two cases, and right results for them beside."""
    folder = tmp_path_factory.mktemp("vectors")
    vectors.export(folder / "vectors", "worked-example", ("float64",), "refbp")
    fill(folder / "vectors", folder / "results", refbp_subject)
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rewrite(folder: Path, path: str, data: bytes) -> None:
    """With the hash that the manifest holds."""
    (folder / path).write_bytes(data)

    def renew(manifest: dict[str, Any]) -> None:
        manifest["files"][path] = digest(data)

    remanifest(folder, renew)


def remanifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


# What is changed in the stored arrays of every gradient, and what is said of it.
TAMPERED: dict[str, tuple[str, Callable[[Array], Array], str]] = {
    "another value": ("expected", lambda array: array + 1, "the vectors cannot be right: they expect"),
    "a little": ("expected", lambda array: array * (1 + 1e-9), "the vectors cannot be right: they expect"),
    "a NaN": ("expected", lambda array: array * np.nan, "the vectors cannot be right: they expect nan"),
    "infinity": ("expected", lambda array: array * np.inf, "the vectors cannot be right: they expect"),
    "wide": ("tolerance", lambda array: array * 1e9 + 1, "the vectors cannot be right: their tolerance is"),
    "narrow": ("tolerance", lambda array: array * 1e-9, "the vectors cannot be right: their tolerance is"),
    "negative": ("tolerance", lambda array: -array, "the vectors cannot be right: their tolerance is"),
    "no tolerance": ("tolerance", lambda array: array * np.nan, "the vectors cannot be right: their tolerance is"),
    "no scale": ("scale", lambda array: array * 0, "the vectors cannot be right: their scale is"),
}


@pytest.mark.parametrize("what", TAMPERED)
@pytest.mark.parametrize("right", [True, False], ids=["right results", "results that fit"])
def test_expected_values_that_cannot_be_are_failed(copied: Path, what: str, right: bool) -> None:
    """Neither right results nor those that fit what was changed conform, and nobody is accused; the other case is judged."""
    part, change, said = TAMPERED[what]
    arrays = load_file(copied / "vectors" / EXPECTED)
    for name in [name for name in arrays if name.endswith(f"/grad.weight/{part}")]:
        arrays[name] = np.asarray(change(arrays[name]))
        place = name.removesuffix("/expected")
        if not right and part == "expected":
            path = copied / "results" / f"{PLAIN}.float64.safetensors"
            path.write_bytes(packed({**load_file(path), place: arrays[name]}))
    rewrite(copied / "vectors", EXPECTED, packed(arrays))
    report = vectors.judge(copied / "vectors", copied / "results")
    verdicts = dict(zip(report.cases["case"], report.cases["verdict"], strict=True))
    assert verdicts == {PLAIN: "failed", "worked-example/decay": "pass"} and not report.passed
    failed = report.table[report.table["verdict"] == "failed"]
    assert failed["diagnosis"].str.startswith(said).all()
    if right:
        assert report.outcome == "the harness itself failed"


def entry_of(manifest: dict[str, Any], case: str = PLAIN) -> dict[str, Any]:
    return next(entry for entry in manifest["cases"] if entry["case"] == case)


def other_name(folder: Path) -> None:
    value = json.loads((folder / CASE).read_bytes())
    rewrite(folder, CASE, json.dumps({**value, "name": "another"}).encode())


def strange_quantity(folder: Path) -> None:
    arrays = load_file(folder / EXPECTED)
    rewrite(folder, EXPECTED, packed({**arrays, **{f"0/conv9/output/{part}": np.ones(1) for part in PARTS}}))


def misshapen(folder: Path) -> None:
    arrays = load_file(folder / EXPECTED)
    name = next(name for name in arrays if name.endswith("grad.weight/expected"))
    rewrite(folder, EXPECTED, packed({**arrays, name: np.ones((7, 7))}))


def manifest_is(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: remanifest(folder, change)


def linked(folder: Path, path: str) -> None:
    """The file lies elsewhere, and a link leads to it."""
    elsewhere = folder.parent / "elsewhere"
    (folder / path).rename(elsewhere)
    (folder / path).symlink_to(elsewhere)


def fifo(folder: Path, path: str) -> None:
    (folder / path).unlink()
    os.mkfifo(folder / path)


def sparse(folder: Path, path: str) -> None:
    with (folder / path).open("r+b") as file:
        file.truncate(1 << 40)


# What is done to the folder, and a part of the one sentence that the command ends with, status 2.
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a case twice": (
        manifest_is(lambda m: m["cases"].append(dict(entry_of(m)))),
        "two cases have the same description",
    ),
    "a case under two paths": (
        manifest_is(
            lambda m: m["cases"].append(
                {**entry_of(m), "description": "a", "arrays": "b", "expected": "c", "results": "d"}
            )
        ),
        "twice",
    ),
    "one file for two cases": (
        manifest_is(lambda m: entry_of(m).update(arrays=entry_of(m, "worked-example/decay")["arrays"])),
        "two cases have the same arrays",
    ),
    "another case's name": (manifest_is(lambda m: entry_of(m).update(case="other")), "its description is that of"),
    "another dtype": (manifest_is(lambda m: entry_of(m).update(dtype="float32")), "its description is that of"),
    "a description of another": (other_name, "its description is that of 'another' in 'float64'"),
    "a quantity that there is not": (strange_quantity, "0/conv9/output is expected, and the case has no such quantity"),
    "another shape": (misshapen, "of shape (7, 7), expected (3, 2)"),
    "a number for a name": (manifest_is(lambda m: entry_of(m).update(case=3)), "a text is expected, got 3"),
    "a list of files": (manifest_is(lambda m: m.update(files=[])), "files is an object of texts, got []"),
    "no reference": (manifest_is(lambda m: m.update(reference=None)), "a text is expected, got None"),
    "a path upwards": (manifest_is(lambda m: entry_of(m).update(results="../x")), "is not a path inside the folder"),
    "an absolute path": (
        manifest_is(lambda m: entry_of(m).update(results="/etc/x")),
        "is not a path inside the folder",
    ),
    "an unknown field": (manifest_is(lambda m: m.update(colour=1)), "manifest.json is damaged"),
    "a manifest that is a link": (lambda folder: linked(folder, "manifest.json"), "it leads out of the folder"),
    "arrays that are a link": (lambda folder: linked(folder, EXPECTED), "it leads out of the folder"),
    "a manifest that is a pipe": (lambda folder: fifo(folder, "manifest.json"), "it is not a regular file"),
    "a case that is a pipe": (lambda folder: fifo(folder, CASE), "it is not a regular file"),
    "a sparse giant": (lambda folder: sparse(folder, EXPECTED), "it is larger than 4,096 MiB"),
    "a deep manifest": (
        lambda folder: (folder / "manifest.json").write_text("[" * 100_000, encoding="utf-8"),
        "it is nested too deeply",
    ),
    "a key twice": (
        lambda folder: (folder / "manifest.json").write_text('{"format": 1, "format": 1}', encoding="utf-8"),
        "an object in it has 'format' twice",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_contradicts_itself_is_refused(copied: Path, what: str) -> None:
    """In one sentence, and at once."""
    attack, said = REFUSED[what]
    attack(copied / "vectors")
    with pytest.raises(VectorsError) as raised:
        vectors.judge(copied / "vectors", copied / "results")
    assert said in str(raised.value) and "\n" not in str(raised.value)


RESULTS = {
    "a link": (lambda folder: linked(folder, f"{PLAIN}.float64.safetensors"), "it leads out of the folder"),
    "a pipe": (lambda folder: fifo(folder, f"{PLAIN}.float64.safetensors"), "it is not a regular file"),
    "a sparse giant": (lambda folder: sparse(folder, f"{PLAIN}.float64.safetensors"), "it is larger than 4,096 MiB"),
}


@pytest.mark.parametrize("what", RESULTS)
def test_results_that_are_no_files_cost_their_case(copied: Path, what: str) -> None:
    """The other is judged."""
    attack, said = RESULTS[what]
    attack(copied / "results")
    report = vectors.judge(copied / "vectors", copied / "results")
    own = report.table[report.table["case"] == PLAIN]
    assert list(own["verdict"]) == ["missing"] and said in own["diagnosis"].iloc[0]
    assert set(report.cases["verdict"]) == {"missing", "pass"}


def test_an_export_deletes_only_what_an_export_wrote(copied: Path) -> None:
    """A file of another content stands where the manifest names one, or a link leads to somebody else's: nothing is deleted."""
    folder, victim = copied / "vectors", copied / "victim"
    victim.write_text("precious", encoding="utf-8")
    (folder / CASE).unlink()
    (folder / CASE).symlink_to(victim)
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(VectorsError, match="cannot be written: it leads out of the folder"):
        vectors.export(folder, PLAIN, ("float64",), "refbp")
    (folder / CASE).unlink()
    (folder / CASE).write_text("my own notes", encoding="utf-8")
    with pytest.raises(VectorsError, match="which is not the file that an earlier export wrote"):
        vectors.export(folder, PLAIN, ("float64",), "refbp")
    assert victim.read_text(encoding="utf-8") == "precious"
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_an_export_does_not_write_through_a_link(tmp_path: Path) -> None:
    """A folder of links to folders is somebody's trap."""
    (tmp_path / "vectors").mkdir()
    vectors.export(tmp_path / "vectors", PLAIN, ("float64",), "refbp")
    shutil.rmtree(tmp_path / "vectors" / "worked-example")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "vectors" / "worked-example").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VectorsError, match="leads out of the folder"):
        vectors.export(tmp_path / "vectors", PLAIN, ("float64",), "refbp")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_command_ends_with_the_sentence(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 for what is refused, 3 for what cannot be."""
    arrays = load_file(copied / "vectors" / EXPECTED)
    changed = {name: array + (name.endswith("output/expected")) for name, array in arrays.items()}
    rewrite(copied / "vectors", EXPECTED, packed(changed))
    words = ["vectors", "judge", str(copied / "vectors"), str(copied / "results"), "--out", str(copied / "out")]
    assert main(words) == 3
    fifo(copied / "vectors", "manifest.json")
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("manifest.json: it is not a regular file\n")
