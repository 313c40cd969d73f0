"""A folder of vectors: its files, and the manifest that names them with their hashes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from oracle.case.files import MOST_ARRAYS, parsed, read
from oracle.exchange.numbers import shown
from oracle.wording.errors import Sentence, message

FORMAT = 1
MANIFEST = "manifest.json"
SCHEMAS = ("case.schema.json", "manifest.schema.json")
DOCUMENT = "PROTOCOL.md"


class VectorsError(Sentence):
    """A folder that holds no usable vectors, or cannot be written. The message is one sentence."""


@dataclass(frozen=True)
class Entry:
    """A case in one dtype, with the paths of its files.

    Attributes:
        description, arrays, expected: paths relative to the folder of vectors.
        results: a path relative to the folder of results.
    """

    case: str
    dtype: str
    description: str
    arrays: str
    expected: str
    results: str

    @classmethod
    def of(cls, case: str, dtype: str) -> Entry:
        stem = f"{case}.{dtype}"
        return cls(
            case,
            dtype,
            f"{stem}.json",
            f"{stem}.arrays.safetensors",
            f"{stem}.expected.safetensors",
            f"{stem}.safetensors",
        )


@dataclass(frozen=True)
class Manifest:
    """The list of a folder's contents.

    Attributes:
        reference, versions: the source of the expected values, and the versions of the packages that computed them.
        left_out: the reason for each case that is left out.
        files: the SHA-256 of every file by path.
    """

    reference: str
    versions: Mapping[str, str]
    cases: tuple[Entry, ...]
    left_out: Mapping[str, str]
    files: Mapping[str, str]

    def text(self) -> str:
        return json_text({"format": FORMAT, **asdict(self)})


def json_text(value: Any) -> str:
    """The value as JSON with sorted keys, so that equal values give equal texts."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def documents() -> dict[str, bytes]:
    """The files that are added for the reader: the description of the format, and its schemas."""
    own = {name: (resources.files("oracle.vectors") / name).read_bytes() for name in SCHEMAS}
    return {DOCUMENT: (resources.files("oracle") / DOCUMENT).read_bytes(), **own}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def cleared(folder: Path) -> Path:
    """The folder, created, or cleared of an earlier export: only files that are still as it wrote them are removed.

    Raises: VectorsError if anything else lies there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / MANIFEST).exists():
            earlier = read_manifest(folder)
            kept = [path for path, expected in earlier.files.items() if not _is_removable(folder, path, expected)]
            if kept:
                raise VectorsError(
                    f"folder {folder} holds {kept[0]}, which is not the file that an earlier export wrote: "
                    "an empty or a new folder is expected"
                )
            (folder / MANIFEST).unlink()  # first: without it the rest counts for nothing
            for path in earlier.files:
                (folder / path).unlink(missing_ok=True)
        elif any(folder.iterdir()):
            raise VectorsError(
                f"folder {folder} holds files that are not vectors: an empty or a new folder is expected"
            )
    except OSError as error:
        raise VectorsError(f"folder {folder} cannot be written: {error.strerror}") from error
    return folder


def _is_removable(folder: Path, path: str, expected: str) -> bool:
    """Whether a file is gone already, or lies inside the folder with the contents in the manifest."""
    place = folder / path
    try:
        return digest(read(place, MOST_ARRAYS, inside=folder)) == expected and not place.is_symlink()
    except FileNotFoundError:
        return not place.is_symlink()


def write(folder: Path, path: str, data: bytes) -> None:
    """Raises: VectorsError."""
    try:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise VectorsError(f"file {folder / path} cannot be written: it leads out of the folder")
        (folder / path).write_bytes(data)
    except OSError as error:
        raise VectorsError(f"file {folder / path} cannot be written: {error.strerror}") from error


def read_manifest(folder: Path) -> Manifest:
    """Raises: VectorsError."""
    try:
        value = parsed(read(folder / MANIFEST, inside=folder))
        if not isinstance(value, dict) or "format" not in value:
            raise VectorsError(f"{folder} holds no vectors: {MANIFEST} names no format")
        own = value.pop("format")
        if own != FORMAT:
            raise VectorsError(f"{folder} holds vectors of format {shown(own)}, this version reads format {FORMAT}")
        entries = tuple(Entry(**entry) for entry in value.pop("cases"))
        manifest = Manifest(cases=entries, **value)
        _check_types(manifest)
        _check_paths(manifest)
    except OSError as error:
        raise VectorsError(f"{folder} holds no vectors: {MANIFEST}: {error.strerror}") from error
    except VectorsError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VectorsError(f"{folder} holds no vectors: its {MANIFEST} is damaged ({message(error)})") from error
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Checks the types of a manifest's entries, and that no case is listed twice. Raises: ValueError."""
    for name in ("versions", "left_out", "files"):
        held = getattr(manifest, name)
        if not isinstance(held, dict) or not all(isinstance(text, str) for text in held.values()):
            raise ValueError(f"{name} is an object of texts, got {shown(held)}")
    texts = [manifest.reference, *(text for entry in manifest.cases for text in asdict(entry).values())]
    strange = [text for text in texts if not isinstance(text, str)]
    if strange:
        raise ValueError(f"a text is expected, got {shown(strange[0])}")
    for field in ("description", "arrays", "expected", "results"):
        twice = [
            path for path, count in Counter(getattr(entry, field) for entry in manifest.cases).items() if count > 1
        ]
        if twice:
            raise ValueError(f"two cases have the same {field}, {shown(twice[0])}")
    for (case, dtype), count in Counter((entry.case, entry.dtype) for entry in manifest.cases).items():
        if count > 1:
            raise ValueError(f"it has the case {shown(case)} in {shown(dtype)} twice")


def _check_paths(manifest: Manifest) -> None:
    """Checks that every file of a case is listed, and lies inside the folder. Raises: ValueError."""
    for entry in manifest.cases:
        for path in (entry.description, entry.arrays, entry.expected):
            if path not in manifest.files:
                raise ValueError(f"{shown(path)} is not among its files")
    for path in (*manifest.files, *(entry.results for entry in manifest.cases)):
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or PurePosixPath(path).is_absolute() or "\0" in path:
            raise ValueError(f"{shown(path)} is not a path inside the folder")


def verify(folder: Path, manifest: Manifest) -> None:
    """Checks that every file is present and unchanged. Raises: VectorsError."""
    for path, expected in manifest.files.items():
        try:
            data = read(folder / path, MOST_ARRAYS, inside=folder)
        except OSError as error:
            raise VectorsError(f"{folder} is incomplete: {path}: {error.strerror}") from error
        if digest(data) != expected:
            raise VectorsError(f"{folder} is damaged: {path} is not the file whose SHA-256 the manifest holds")
