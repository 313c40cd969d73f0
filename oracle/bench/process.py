"""Runs a section in its own process, without environment variables that could slow down a library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from oracle.bench import ENVIRONMENTS
from oracle.bench.section import Result

# Settings of BLAS libraries that a machine may have for reasons of its own.
REMOVED = ("OPENBLAS_", "MKL_", "BLIS_", "OMP_", "GOMP_", "KMP_", "NUMEXPR_")


class BenchError(RuntimeError):
    """A section that failed."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of numerical libraries, so that each uses its defaults for the machine."""
    return {name: value for name, value in environment.items() if not name.startswith(REMOVED)}


def measure(name: str, quick: bool) -> tuple[dict[str, Any], Result]:
    """The machine, and the section's result on it. Progress goes to standard error.

    Raises: ImportError for a library that is missing, BenchError if the process fails for another reason.
    """
    command = [sys.executable, "-m", "oracle.bench", name, *(["--quick"] if quick else [])]
    environment = clean(os.environ) | ENVIRONMENTS.get(name, {})
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode == 2:
        raise ImportError(f"the section {name} {json.loads(ran.stdout)}")
    if ran.returncode != 0:
        raise BenchError(f"the section {name} ended with status {ran.returncode}")
    found = json.loads(ran.stdout)
    return found["machine"], Result.from_json(found["result"])
