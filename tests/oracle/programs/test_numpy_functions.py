"""Each accepted call of NumPy gives NumPy's own numbers when it is recorded, and the gradients of its differences.

A call that NumPy refuses for an array is refused by the recording too.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from oracle.case.nested import leaves
from oracle.programs.execution import Plain, Run
from oracle.programs.numpy_calls import record
from oracle.programs.numpy_functions import ADAPTED, CHOICES, COMPOSED, MOVES
from oracle.programs.table import NoRule
from tests.oracle.programs.numpy_programs import CALLS

rng = np.random.default_rng(7)
WHOLE = rng.permutation(np.linspace(0.5, 2.0, 240))
ARRAYS: dict[str, Any] = {
    "0-d": WHOLE[3].reshape(()),
    "1-d": WHOLE[:6],
    "2-d": WHOLE[:24].reshape(4, 6),
    "square": WHOLE[:9].reshape(3, 3),
    "3-d": WHOLE[:24].reshape(2, 3, 4),
    "empty": np.zeros((0, 3)),
    "one": WHOLE[:1].reshape(1, 1),
    "view": WHOLE.reshape(8, 30)[::-2, 3:9],
    "transposed": WHOLE[:24].reshape(2, 3, 4).transpose(2, 0, 1),
    "repeated": np.broadcast_to(WHOLE[:4], (3, 4)),
}
# Those that have calls under another name.
ELSEWHERE = {
    "amax", "amin", "permute_dims", "swapaxes", "matrix_transpose", "moveaxis", "rollaxis", "expand_dims", "flipud", "fliplr",
    "ravel", "rot90", "delete", "resize",
}  # fmt: skip


# Why a call is refused that NumPy takes, and for arrays of which form.
REFUSED = {
    "there is no rule for np.cross of vectors in two dimensions": ("transposed",),
    "there is no rule for an inverse Fourier transform of an empty axis to real numbers": ("empty",),
}


def results(made: Any) -> list[Any]:
    return [np.asarray(own) for own in leaves(made)]


def is_floating(array: Any) -> bool:
    return bool(array.dtype.kind == "f")


def change_of(program: Any, x: Any, step: Any, grads: list[Any]) -> float:
    """Half of the change of the results, weighted with their gradients, from x - step to x + step."""
    high, low = results(program(np.asarray(x + step))), results(program(np.asarray(x - step)))
    terms = (np.sum((up - down) * own) for up, down, own in zip(high, low, grads, strict=True) if own is not None)
    return float(sum(terms)) / 2


def check(name: str, program: Any, form: str) -> None:
    """Raises: AssertionError if the recording of a call differs from the call, NoRule if it is refused."""
    x = ARRAYS[form]
    try:
        due = results(program(np.array(x)))
        if not due:
            raise ValueError("no results")
    except Exception:
        with pytest.raises(Exception):  # noqa: B017
            record(program, np.array(x))
        return
    recorded, made = record(program, np.array(x))
    run = Run(recorded, Plain())
    for own, again, expected in zip(made, run.outputs, due, strict=True):
        assert (own.dtype, own.shape, again.shape) == (expected.dtype, expected.shape, expected.shape)
        np.testing.assert_allclose(own, expected, rtol=0.0 if name in MOVES else 1e-6)
        np.testing.assert_allclose(again, expected, rtol=1e-6, atol=1e-12)
    floating = [own for own in due if is_floating(own)]
    if form == "repeated" or not x.size or not all(np.isfinite(own).all() for own in floating):
        return  # equals share a gradient, of which differences know nothing
    if any(own.dtype == np.float32 for own in due):
        return  # in which small differences are lost
    grads = [np.cos(np.arange(own.size)).reshape(own.shape) if is_floating(own) else None for own in due]
    (grad,) = run.gradients(grads)
    step = 1e-6 * np.sin(1.0 + np.arange(x.size)).reshape(x.shape)
    due_change = change_of(program, x, step, grads)
    assert np.sum((0.0 if grad is None else grad) * step) == pytest.approx(due_change, rel=1e-5, abs=1e-12)


def test_every_function_that_is_followed_has_calls_here() -> None:
    followed = {*ADAPTED, *COMPOSED, *MOVES} - ELSEWHERE
    assert followed <= set(CALLS), sorted(followed - set(CALLS))
    assert not set(CHOICES) & followed


@pytest.mark.parametrize(("name", "place"), [(name, place) for name, own in CALLS.items() for place in range(len(own))])
def test_a_call_gives_its_own_numbers_and_gradients(name: str, place: int) -> None:
    """For arrays of each form. Only a few calls are refused that NumPy takes, some of them with a wrong result."""
    refused = {}
    for form in ARRAYS:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                check(name, CALLS[name][place], form)
            except NoRule as error:
                refused[form] = str(error)
            except BaseException as error:
                error.add_note(f"for the array {form}")
                raise
    assert all(form in REFUSED[why] for form, why in refused.items()), refused
