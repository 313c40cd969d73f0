"""A section in a process of its own, whose environment holds nothing that slows a library down."""

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
    """A section that did not come to its end."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of numerical libraries: each then chooses by the machine."""
    return {name: value for name, value in environment.items() if not name.startswith(REMOVED)}


def measure(name: str, quick: bool) -> tuple[dict[str, Any], Result]:
    """The machine, and what the section found on it. Progress goes to standard error.

    Raises: ImportError for a library that is missing, BenchError where the process fails otherwise.
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
