"""Functions that return several arrays, beside a program that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("fn", "rows"),
    [
        (lambda x: (x.sin(), x.cos()), 3),
        (lambda x: {"b": x.sin(), "a": [x.cos(), x * x]}, 4),
        (lambda x: {"only": x.sin()}, 2),
        (lambda x: x.max(-1), 3),
        (lambda x: (2 * x, x > 0), 3),
        (lambda x: (2 * x, x.detach()), 3),
    ],
    ids=["tuple", "nested", "dict of one", "with an index", "with a mask", "with a detached tensor"],
)
def test_functions_of_torch(fn: Callable[..., Any], rows: int) -> None:
    """Each output gets a gradient of its own, but for indices, masks, and tensors to which none arrives."""
    report = oracle.check_op(fn, oracle.from_torch(fn), x=X, dtypes=("float64", "float32"))
    assert report.passed and len(report.table) == 2 * rows, report


def test_functions_of_jax() -> None:
    """Also dicts in the order in which they were written: JAX sorts their keys."""
    jnp = pytest.importorskip("jax").numpy
    pairs: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
        (lambda x: (x.sin(), x.cos()), lambda x: (jnp.sin(x), jnp.cos(x))),
        (lambda x: {"b": x.sin(), "a": x.cos()}, lambda x: {"b": jnp.sin(x), "a": jnp.cos(x)}),
        (lambda x: x.max(-1), lambda x: (x.max(-1), x.argmax(-1))),
    ]
    for meant, fn in pairs:
        report = oracle.check_op(meant, oracle.from_jax(fn), x=X, dtypes=("float64",))
        assert report.passed, report


def test_mistakes_in_one_of_several_outputs() -> None:
    """A wrong factor, a wrong index, and a gradient that is swapped with another's."""

    def swapped(x: Any) -> Any:
        return (np.sin(x), np.cos(x)), lambda first, second: second * np.cos(x) - first * np.sin(x)

    def blamed(meant: Any, fn: Any) -> set[str]:
        report = oracle.check_op(meant, fn, x=X, dtypes=("float64",))
        assert {blame.verdict for blame in report.blame} == {"wrong"}
        return set(report.table.loc[report.table["verdict"] == "wrong", "quantity"])

    both = lambda x: (x.sin(), x.cos())  # noqa: E731
    assert blamed(both, oracle.from_torch(lambda x: (x.sin(), 1.01 * x.cos()))) == {"output#1", "grad_input"}
    assert blamed(both, swapped) == {"grad_input"}
    assert blamed(lambda x: x.max(-1), oracle.from_torch(lambda x: (x.amax(-1), x.argmin(-1)))) == {"output#1"}


def test_another_number_of_outputs() -> None:
    """It is said, and raises no error."""
    report = oracle.check_op(lambda x: 2 * x, oracle.from_torch(lambda x: (2 * x, x)), x=X, dtypes=("float64",))
    assert report.blame[0].diagnosis == "TypeError: <lambda> returns 2 arrays, and the reference 1"


@pytest.mark.parametrize("fn", [torch.view_as_real, lambda z: (torch.view_as_real(z), z)], ids=["alone", "beside"])
def test_complex_numbers_that_are_returned_as_real_ones(fn: Callable[[Any], Any]) -> None:
    """Both are the same memory; the gradient of the parts is real, that of the number complex."""

    def program(x: Any) -> Any:
        return fn(torch.complex(x, 2 * x))

    assert oracle.check_op(program, oracle.from_torch(program), x=X).passed
