"""Every cause that can be named is listed, and every one that is listed can be named."""

from __future__ import annotations

import ast
from pathlib import Path

import oracle.blame.search
from oracle.blame.causes.names import CAUSES
from oracle.blame.causes.operations import OPERATIONS
from oracle.blame.causes.updates import WRONG_RULES
from oracle.judging.conventions import CONVENTIONS
from oracle.selftest.bugs import expected_causes
from oracle.selftest.corpus.score import all_entries

FOLDER = Path(oracle.blame.search.__file__).parent


def named_in_the_code() -> set[str]:
    """The first argument of each hypothesis, rerun or cause that is made, where it is a text; and of each plain cause."""
    found = set()
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in ("Hypothesis", "rerun", "Cause"):
                    found.add(node.args[0].value)
    return found


def test_the_list_of_causes_is_complete() -> None:
    made = named_in_the_code() | {own.cause for own in WRONG_RULES} | {own[1] for own in OPERATIONS}
    made |= CONVENTIONS.keys() | {
        "missing",
        "name",
        "shape",
        "dtype",
        "mask",
        "count",
        "precision",
        "not finite",
        "in place",
        "empty batch",
        "layout",
    }
    computed = {"turned", "permuted"}  # by a condition
    assert made | computed == CAUSES.keys()
    assert {name for names in expected_causes().values() for name in names} <= CAUSES.keys()
    assert {name for entry in all_entries().values() for name in entry.causes} <= CAUSES.keys()
