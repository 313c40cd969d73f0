"""What every op of refbp.functional shares: the checks of its input and its upstream gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from refbp.layer import Array, Backward, as_array, require_floating, upstream

P = ParamSpec("P")
Output = TypeVar("Output")


def checked(op: Callable[P, tuple[Output, Backward]]) -> Callable[P, tuple[Output, Backward]]:
    """A decorator: an op from (input, ...) to (output, backward) that refuses what it would compute nonsense of.

    Raises: ValueError for an input that is no floating-point array, or a grad_output whose shape is not the output's.
    Conventions: numbers come as arrays without dimensions, grad_output in the output's dtype; NaN and infinities go without a
        warning.
    """

    @wraps(op)
    def with_checks(*args: P.args, **kwargs: P.kwargs) -> tuple[Output, Backward]:
        name = op.__name__
        require_floating(args[0] if args else kwargs.get("input"), name)
        with np.errstate(all="ignore"):
            made: Any
            made, op_backward = op(*args, **kwargs)
        output: Array
        output, *indices = made if isinstance(made, tuple) else (made,)
        output = as_array(output)

        def backward(grad_output: Array) -> Any:
            delta = upstream(grad_output, output, name)
            with np.errstate(all="ignore"):
                grads = op_backward(delta)
            return tuple(map(as_array, grads)) if isinstance(grads, tuple) else as_array(grads)

        result: Any = (output, *indices) if indices else output
        return result, backward

    return with_checks
