"""refbp as a subject."""

from __future__ import annotations

from oracle.case.arrays import Array, read_only
from oracle.case.case import Case
from oracle.execution.network import execute
from oracle.trace import Key, Trace, Unsupported

name = "refbp"
accumulates = True


def run(case: Case) -> Trace:
    """The trace of a case. A layer that writes to its arguments raises an error; an exception has the `trace` so far.

    Raises: Unsupported for bfloat16, which is not one of NumPy's types: some of the arithmetic would run in another precision.
    """
    trace = Trace()

    def watch(key: Key, array: Array) -> Array:
        trace.record(*key, array)
        return read_only(array) if key.quantity in ("input", "grad_output") else array

    try:
        execute(case, lambda array: array, watch)
    except Exception as error:
        if case.dtype == "bfloat16":
            raise Unsupported(f"refbp has no bfloat16: {error}") from error
        error.trace = trace  # type: ignore[attr-defined]
        raise
    if case.dtype == "bfloat16" and any(array.dtype.kind == "f" for array in trace.arrays.values()):
        raise Unsupported("refbp has no bfloat16: NumPy's arithmetic turns it into another precision")
    return trace
