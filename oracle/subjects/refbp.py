"""refbp as a subject."""

from __future__ import annotations

from oracle.case import Case
from oracle.network import execute
from oracle.trace import Trace

name = "refbp"


def run(case: Case) -> Trace:
    trace = Trace()
    for key, array in execute(case, lambda array: array).items():
        trace.record(*key, array)
    return trace
