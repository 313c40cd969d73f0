"""refbp imports NumPy and scipy.special alone, so that it shares no code with the libraries that it is compared with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import refbp

# Packages that an import brings along beside the standard library. cython_runtime, which Cython's modules share, is not one.
IMPORTED = """
import sys
before = set(sys.modules)
import {modules}
roots = {{name.partition(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names
print(*sorted(name for name in roots if not name.startswith("_") and name != "cython_runtime"))
"""


@pytest.mark.parametrize(
    ("modules", "packages"),
    [
        ("refbp", {"numpy", "refbp"}),
        ("refbp, oracle.case.arrays", {"numpy", "refbp", "oracle", "ml_dtypes"}),
    ],
)
def test_what_an_import_brings_along(modules: str, packages: set[str]) -> None:
    """In a fresh interpreter; SciPy comes with the first erf. The second case proves that the test can fail."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(modules=modules)], capture_output=True, text=True, check=True
    )
    assert set(run.stdout.split()) == packages


def test_of_scipy_only_special_functions() -> None:
    """NumPy has no erf; nothing else of scipy is needed."""
    sources = [path.read_text() for path in Path(refbp.__file__).parent.glob("*.py")]
    found = {
        line.strip() for text in sources for line in re.findall(r"^\s*(?:from|import) scipy[^#\n]*", text, re.MULTILINE)
    }
    assert found == {"from scipy import special"}
