"""The machine and software of a run: versions, BLAS, threads, processor."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

PACKAGES = ("refbp", "numpy", "scipy", "torch", "pandas")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine and its software; an unknown entry is an empty string.

    Attributes:
        processors: the number of processors.
        seeds: how the random numbers of a case are seeded.
        versions: name and version of each package.
    """

    blas: str = ""
    platform: str = ""
    processor: str = ""
    python: str = ""
    seeds: str = ""
    processors: int | None = None
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def software(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions)


def commit() -> str:
    """The commit of the repository that the current folder is in; "" if it is in none."""
    return _commit(Path.cwd())


@cache
def _commit(folder: Path) -> str:
    """The commit, with "-dirty" if files differ from it. It is read once, since imported code does not change."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):  # there is no git
        return ""
    return done.stdout.strip()


@cache
def environment() -> Environment:
    """The environment of this machine."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return Environment(
        blas=f"{blas.get('name')} {blas.get('version')}",
        platform=platform.platform(),
        processor=_processor(),
        python=platform.python_version(),
        seeds="each case's generator is seeded by the CRC-32 of its name",
        processors=os.cpu_count(),
        versions=tuple((package, version_of(package)) for package in PACKAGES),
    )


def version_of(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
