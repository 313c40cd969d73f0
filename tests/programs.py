"""Programs that some tests need. Without them these tests skip and say so; .ci/run installs all and allows no such skip."""

from __future__ import annotations

import shutil

import pytest


def program(*names: str) -> str:
    """The path of the first one that is installed. Without any, the test that asks skips."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.skip(f"needs {' or '.join(names)}, which is not installed")
