"""A user's type checker sees the types of both packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_users_strict_mypy(tmp_path: Path) -> None:
    """Of run, check_module, check_op, the fixture and refbp; each mistake in the file is found, and nothing else. As for an
    installed package, only what the modules of both declare is read; the types of large libraries are left out."""
    assert (ROOT / "oracle" / "py.typed").is_file() and (ROOT / "refbp" / "py.typed").is_file()
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\n[mypy-torch.*,pandas.*,matplotlib.*,scipy.*]\nfollow_imports = skip\n"
        "[mypy-oracle.*,refbp.*]\nignore_errors = true\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), "tests/typed_user.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("tests/")]
    assert not found and done.returncode in (0, 1), done.stdout + done.stderr
