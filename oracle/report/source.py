"""Finds the file and line of a subject's code by reading its source, without running it."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """A line of a file."""

    file: Path
    line: int


def source_of(subject: str) -> Source | None:
    """The source of a subject. For module:object it is `run` of the object's class, or else the statement that binds the name;
    for a module that is a subject, its `run`. None without source.
    """
    module, colon, name = subject.partition(":")
    file = _file_of(module)
    if file is None:
        return None
    try:
        body = ast.parse(file.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    bound = {own: node for node in body for own in _names(node)}
    if not colon and not {"name", "run"} <= bound.keys():  # a name of a subject, which a package may have too
        return None
    found = bound.get(name if colon else "run")
    if isinstance(found, ast.Assign | ast.AnnAssign) and isinstance(made := found.value, ast.Call):
        found = bound.get(ast.unparse(made.func), found)
    if isinstance(found, ast.ClassDef):
        methods = [own for own in found.body if isinstance(own, ast.FunctionDef) and own.name == "run"]
        found = methods[0] if methods else found
    return Source(file, found.lineno if found else 1)


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [own.id for own in node.targets if isinstance(own, ast.Name)]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


def _file_of(module: str) -> Path | None:
    """The file of a module. One inside a package is looked for in its folder, because find_spec would import the package."""
    top, *inner = module.split(".")
    spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    if inner:
        inside = file.parent.joinpath(*inner)
        file = inside / "__init__.py" if inside.is_dir() else inside.with_suffix(".py")
    return file if file.suffix == ".py" and file.is_file() else None
