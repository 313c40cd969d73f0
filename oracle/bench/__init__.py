"""Measurements of speed, each in its own process, and their report.

A section measures one thing, independently of how it is shown. `section.py` defines the interface, SECTIONS lists the modules.
"""

from __future__ import annotations

from importlib import import_module

from oracle.bench.section import Section

SECTIONS = {
    "training": "oracle.bench.training:Training",
    "training-one-thread": "oracle.bench.training:OneThread",
    "layers": "oracle.bench.layers:Layers",
    "judge": "oracle.bench.check_module:Judge",
    "suite": "oracle.bench.suite:Suite",
    "scale": "oracle.bench.scale:Scale",
    "fuzz": "oracle.bench.fuzz:Fuzz",
}

# Environment variables that a section's process gets in addition.
ONE_THREAD = dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
ENVIRONMENTS = {"training-one-thread": ONE_THREAD, "layers": ONE_THREAD, "fuzz": ONE_THREAD}


def load(name: str) -> Section:
    """A section by name. Raises: ValueError for an unknown one; ImportError, in one sentence, for a library that it needs."""
    if name not in SECTIONS:
        raise ValueError(f"unknown section {name!r}: known are {', '.join(SECTIONS)}")
    module, _, kind = SECTIONS[name].partition(":")
    made: Section = getattr(import_module(module), kind)()
    return made
