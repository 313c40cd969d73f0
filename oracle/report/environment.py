"""Where a run took place: versions, BLAS, threads, processor."""

from __future__ import annotations

import copy
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("refbp", "numpy", "scipy", "torch", "pandas")


def environment() -> dict[str, Any]:
    """Plain values, sorted by name."""
    return copy.deepcopy(_environment())


@cache
def _environment() -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "platform": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "seeds": "each case's generator is seeded by the CRC-32 of its name",
        "processors": os.cpu_count(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
