"""The reference of check_op as a program, or as a layer of refbp that runs on arrays with errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

import refbp
from oracle.case.arrays import Array, cast
from oracle.programs import numpy_calls
from oracle.programs.execution import SAME, Plain, Run, WithErrors
from oracle.programs.program import Program
from oracle.programs.table import NoRule
from oracle.wording.errors import in_a_line


def program_of(reference: Any, values: Sequence[Array], library: str | None, narrow: bool) -> Program:
    """The reference as a program. Some functions run on NumPy's arrays and on torch's tensors, and mean something else there.

    Raises: ValueError if it runs on neither, or if it gives other results on each and nothing says which is meant.
    """
    found: dict[str, Program] = {}
    refused: dict[str, Exception] = {}
    for name, record in (("NumPy", partial(_in_numpy, narrow=narrow)), ("torch", _in_torch)):
        if library in found:
            break
        try:
            found[name] = record(reference, values)
        except Exception as error:
            refused[name] = error
    if not found:
        without_rule = [name for name, why in refused.items() if isinstance(why, NoRule)]
        meant = library if library in without_rule or not without_rule else without_rule[0]
        if "Tensor" in str(refused["NumPy"]):  # NumPy's arrays were given to a function of torch
            meant = "torch"
        elif "numpy" in str(refused["torch"]):  # a function of NumPy makes torch complain of that
            meant = "NumPy"
        meant = meant or "torch"
        why = refused.pop(meant)
        raise ValueError(f"the reference cannot run on these arrays: {in_a_line(why)}") from why
    if library is None and len(found) > 1 and not _agree(*found.values()):
        raise ValueError(
            "the reference gives one result on NumPy's arrays and another on torch's tensors: give an array of the library "
            "that is meant, in place of its shape"
        )
    return found.get(library or "NumPy") or next(iter(found.values()))


def _in_numpy(reference: Any, values: Sequence[Array], narrow: bool) -> Program:
    return numpy_calls.record(reference, *values, narrow=narrow)[0]


def _in_torch(reference: Any, values: Sequence[Array]) -> Program:
    from oracle.ops.torch_programs import recorded

    return recorded(reference, values, None)[0]


def _agree(one: Program, other: Program) -> bool:
    """Whether two programs have the same outputs, computed in double precision."""
    found, due = ([np.asarray(own) for own in Run(program, Plain()).outputs] for program in (one, other))
    alike = (
        a.shape == b.shape and np.allclose(a, b, rtol=SAME, equal_nan=True) for a, b in zip(found, due, strict=False)
    )
    return len(found) == len(due) and all(alike)


def lifted_layer(layer: Any, arithmetic: WithErrors) -> Callable[..., tuple[Any, Callable[[Any], Any]]]:
    """A layer of refbp (with its parameters), or a loss, as a function that returns its output and its backward."""
    if isinstance(layer, refbp.Loss):
        loss: Any = deepcopy(layer)
        return lambda *arrays: (loss(*arrays), loss.backward)
    own = deepcopy(layer)
    for parameter in own.parameters():
        parameter.layer.params[parameter.name] = arithmetic.lifted(cast(parameter.data, arithmetic.model.dtype))
    return lambda x: (own(x), own.backward)
