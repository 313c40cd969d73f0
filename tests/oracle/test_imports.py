"""The imports of oracle and refbp go one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(path for package in ("oracle", "refbp") for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, known: set[str]) -> Iterator[str]:
    """Modules of the project that a source imports anywhere: at its top, for types only, or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "the project names its modules in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from (name for name in (full if full in known else str(node.module),) if name in known)


def ordered(sources: dict[str, str]) -> list[str]:
    """The modules, each after all that it imports. Raises: CycleError."""
    return list(
        TopologicalSorter(
            {name: {own for own in imported(source, set(sources)) if own != name} for name, source in sources.items()}
        ).static_order()
    )


def test_no_import_leads_back() -> None:
    """Not for a type, nor in a function: what hides a circle is one."""
    order = ordered({name: path.read_text() for name, path in modules().items()})
    assert (
        order.index("oracle.case.case") < order.index("oracle.judging.case_rows") < order.index("oracle.report.report")
    )
    assert (
        order.index("oracle.report.html.page") < order.index("oracle.report.report") < order.index("oracle.harness.run")
    )


def folder(module: str) -> str:
    """Of oracle its folder or file at the top, all of refbp as one."""
    return ".".join(module.split(".")[:2]) if module.startswith("oracle.") else module.partition(".")[0]


def test_no_import_between_folders_leads_back() -> None:
    """The folders are stages: a case is run, judged, blamed and reported, and none looks at a later one."""
    sources = {name: path.read_text() for name, path in modules().items() if name != "oracle"}
    arrows: dict[str, set[str]] = {}
    for name, source in sources.items():
        others = {folder(other) for other in imported(source, set(sources))}
        arrows.setdefault(folder(name), set()).update(others - {folder(name)})
    order = list(TopologicalSorter(arrows).static_order())
    stages = [
        f"oracle.{name}" for name in ("case", "trace", "execution", "judging", "blame", "report", "harness", "cli")
    ]
    assert sorted(stages, key=order.index) == stages


def test_the_package_shows_itself_at_a_glance() -> None:
    """Its folders are its stages: a list that is longer than this is a drawer."""
    entries = {path.name for path in (ROOT / "oracle").iterdir()} - {"__pycache__"}
    assert len(entries) <= 28


def test_a_circle_would_be_seen() -> None:
    """Also one that is closed inside a function."""
    with pytest.raises(CycleError):
        ordered({"oracle.a": "from oracle import b", "oracle.b": "def f():\n    from oracle.a import g"})


def test_the_judge_is_quick_to_import() -> None:
    """Each worker pays for it: scipy.stats, which takes longer than all the rest, comes with the one test that needs it."""
    names = ", ".join(name for name in modules() if name.startswith("oracle.judging."))
    code = f"import sys, {names}; print('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
