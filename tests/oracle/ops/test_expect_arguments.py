"""expect and assert_close take what programs take and give, and refuse anything else in one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle
import refbp
from oracle.programs.table import NoRule

X = torch.linspace(-2.0, 2.0, 30).reshape(5, 6)
W = torch.linspace(-1.0, 1.0, 24).reshape(4, 6)


@dataclass
class Both:
    first: Any
    second: Any


def scaled(x: Any, factor: Any, offset: Any = None) -> Any:
    return x * factor if offset is None else x * factor + offset


@pytest.mark.parametrize(
    ("fn", "inputs", "gradients"),
    [
        (F.linear, (X, W, None), 2),
        (F.leaky_relu, (X, 0.2), 1),
        (F.layer_norm, (X, (6,)), 1),
        (lambda x, approximate: F.gelu(x, approximate=approximate), (X, "tanh"), 1),
        (lambda pair: pair[0] * pair[1]["w"], ([X, {"w": X + 1}],), 2),
        (scaled, (X.numpy(), 2), 1),
        (scaled, (X.numpy(), 2.5, None), 1),
        (lambda pair: pair["x"] * pair["y"][0], ({"x": X.numpy(), "y": (X.numpy(), "unused")},), 2),
    ],
)
def test_other_inputs_stand_beside_arrays(fn: Callable[..., Any], inputs: tuple[Any, ...], gradients: int) -> None:
    """Numbers, texts, None, and nested structures; there is a gradient of each array alone."""
    expected = oracle.expect(fn, *inputs)
    oracle.assert_close(fn(*inputs), expected.output)
    assert len(expected.grads) == gradients


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: {"a": x * 2, "b": (x, [x + 1])},
        lambda x: Both(x * 2, Both(x, None)),
        lambda x: (x * 2, None, "said", 3.0),
    ],
)
@pytest.mark.parametrize("x", [X, X.numpy()])
def test_results_are_compared_as_the_program_nests_them(fn: Callable[[Any], Any], x: Any) -> None:
    expected = oracle.expect(fn, x)
    oracle.assert_close(fn(x), expected.output)
    oracle.assert_close(fn(x), expected)
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(fn(x * 1.01), expected)


def test_a_recurrent_network_is_compared_with_its_states() -> None:
    lstm, x, states = nn.LSTM(6, 4), X.reshape(5, 1, 6), (torch.ones(1, 1, 4), torch.zeros(1, 1, 4))
    expected = oracle.expect(lstm, x, states)
    oracle.assert_close(lstm(x, states), expected.output)
    assert len(expected.output) == 3 and len(expected.grads) == 3


@pytest.mark.parametrize(
    ("fn", "inputs", "said"),
    [
        (3, (X,), "^expect takes a function or a module, got int$"),
        (abs, ([1.0, 2.0],), "^expect needs a tensor or an array among the inputs, got list$"),
        (abs, (3.0, "x"), "got float, str$"),
        (scaled, (X, X.to("meta")), "input 1 is a tensor on the meta device, which has no numbers$"),
        (abs, (X.to_sparse(),), "input 0 is a tensor with the layout torch.sparse_coo$"),
        (abs, (np.array([None]),), "input 0 is an array of object$"),
        (abs, (np.array(["a"]),), "input 0 is an array of <U1$"),
    ],
)
def test_inputs_of_other_kinds_are_refused_by_name(fn: Any, inputs: tuple[Any, ...], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        oracle.expect(fn, *inputs)


def test_arrays_of_other_libraries_are_refused_by_name() -> None:
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"input 0 is jaxlib's ArrayImpl$"):
        oracle.expect(jax.numpy.sin, jax.numpy.ones(3))


def test_a_program_that_gives_no_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="the program returns float: it has to return a tensor, or several"):
        oracle.expect(lambda x: 1.0, X)


def test_numbers_of_numpy_beside_the_arrays_are_constants() -> None:
    """They are no inputs with a gradient, whatever their type."""
    x = np.linspace(0.5, 2, 6)
    for factor in (np.float64(3.0), np.int64(3), 3):
        expected = oracle.expect(lambda x, c: x * c, x, factor)
        assert len(expected.grads) == 1
        oracle.assert_close(3 * x, expected.output)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_programs_that_are_not_recorded_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"give the module of which torch\.jit\.script made it$"):
        oracle.expect(torch.jit.script(nn.GELU()), X)
    with pytest.raises(TypeError, match=r"check_op takes refbp's Linear$"):
        oracle.expect(refbp.Linear(6, 4), X.numpy())


@pytest.mark.parametrize("dtype", ["float31", "int32", torch.int64, np.complex64, object()])
def test_only_dtypes_that_are_judged_are_computed_in(dtype: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^expect computes in one of float64, float32, float16, bfloat16.*, got dtype="
    ):
        oracle.expect(abs, X, dtype=dtype)


@pytest.mark.parametrize(
    ("actual", "said"),
    [
        (X.tolist(), "^output: got list: an array of NumPy, torch, JAX or CuPy is expected"),
        (None, "^output: got NoneType"),
        (X.to("meta"), "^output: got a tensor on the meta device, which has no numbers$"),
        (X.to_sparse(), r"^output: got a tensor with the layout torch\.sparse_coo: to_dense\(\)"),
    ],
)
def test_results_without_numbers_are_refused_by_name(actual: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        oracle.assert_close(actual, oracle.expect(abs, X).output)


def test_another_number_of_results_is_a_discrepancy() -> None:
    expected = oracle.expect(scaled, X, X + 1)
    with pytest.raises(oracle.Discrepancy, match=r"^output: got 2 arrays, expected 1$"):
        oracle.assert_close((X, X), expected)
    with pytest.raises(oracle.Discrepancy, match=r"^grads: got 1 arrays, expected 2$"):
        oracle.assert_close([None, X], expected.grads)


def test_what_is_expected_is_asked_of_expect() -> None:
    with pytest.raises(TypeError, match=r"such as expectation\.output, got Tensor$"):
        oracle.assert_close(oracle.expect(abs, X).output, X)
    with pytest.raises(TypeError, match=r"got Tensor$"):
        oracle.assert_close(X, (X, X))


def test_gradients_that_are_not_there_are_named() -> None:
    expected = oracle.expect(abs, X)
    with pytest.raises(KeyError, match="no gradient of a parameter 'w'; there are none"):
        expected.grads["w"]
    with pytest.raises(IndexError, match=r"there is no grads\[5\]: the program has 1 floating-point inputs"):
        expected.grads[5]
    module = oracle.expect(nn.Linear(6, 4), X)
    with pytest.raises(KeyError, match="'w'; there are weight, bias"):
        module.grads["w"]


@pytest.mark.parametrize(
    ("given", "said"), [([3, 4], "as x: got list"), ((-3, 4), r"as x, got \(-3, 4\)"), (None, "as x: got")]
)
def test_check_op_names_the_argument_that_is_no_array(given: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        oracle.check_op(torch.matmul, oracle.from_torch(torch.matmul), x=given, w=(4, 2))


def test_a_result_without_a_rule_is_named() -> None:
    """The mean and 1/σ of a batch norm have no rule, though its output has one."""
    with pytest.raises(NoRule, match="no rule for one of the program's results, such as the statistics"):
        oracle.expect(lambda x: torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5), X)
