"""expect and assert_close: derived tolerances in anybody's own test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle
from oracle.programs.table import NoRule


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def fused(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.gelu(x @ w + b)


def arrays() -> tuple[torch.Tensor, ...]:
    return torch.randn(32, 64), torch.randn(64, 16), torch.randn(16)


def gradients(inputs: tuple[torch.Tensor, ...], upstream: Any) -> tuple[torch.Tensor, ...]:
    given = [own.requires_grad_() for own in inputs]
    return torch.autograd.grad(fused(*given), given, torch.tensor(upstream))


def test_an_honest_implementation_is_close() -> None:
    """Output and every gradient, also where another order of additions rounds otherwise."""
    x, w, b = arrays()
    expected = oracle.expect(fused, x, w, b)
    oracle.assert_close(F.gelu(torch.addmm(b, x, w)), expected.output)
    grads = gradients((x, w, b), expected.grad_output)
    oracle.assert_close(grads, expected.grads)
    assert (expected.output.tolerance > 0).all() and len(expected.grads) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g * 2, "2 times the right value"),
        (lambda g: g.roll(1, 0), "shifted by 1 along dimension 0"),
        (lambda g: g.bfloat16().float(), "stored in bfloat16 on the way"),
        (lambda g: g.double(), "dtype float64, expected float32"),
        (lambda g: g[0], r"shape \(64,\), expected \(32, 64\)"),
        (lambda g: g + 1e-4 * (torch.arange(64) == 7), r"1.56 % of 2,048 elements .* worst at \(\d+, 7\)"),
    ],
)
def test_a_difference_is_said_with_its_likely_cause(change: Callable[[torch.Tensor], torch.Tensor], said: str) -> None:
    """Share, worst element, z, tolerance, and a cause."""
    inputs = arrays()
    expected = oracle.expect(fused, *inputs)
    grad = gradients(inputs, expected.grad_output)[0]
    with pytest.raises(oracle.Discrepancy, match=said) as raised:
        oracle.assert_close(change(grad), expected.grads[0])
    assert isinstance(raised.value, AssertionError) and "\n" not in str(raised.value)
    assert str(raised.value).startswith("grads[0]: ")


def test_what_rounding_makes_equal_shares_the_gradient_of_the_largest() -> None:
    """Roots that differ by less than float16 holds. An element far below the largest gets nothing in any case."""

    def largest(x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(x).amax(dim=1)

    x = torch.tensor([[3.0, 3.002, 2.0, 0.3], [0.7, 0.5, 0.4, 0.3]], dtype=torch.float16, requires_grad=True)
    expected = oracle.expect(largest, x)
    (grad,) = torch.autograd.grad(largest(x), x, torch.tensor(expected.grad_output))
    assert (grad[0, :2] != 0).all() and (grad[0, 3], grad[1, 1]) == (0, 0)
    oracle.assert_close(grad, expected.grads[0])
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(grad.flip(1), expected.grads[0])
    assert (expected.grads[0].tolerance[1] < 0.01 * np.abs(expected.grad_output[1])).all()


def test_a_module_gives_its_parameters_gradients_and_is_left_as_it_was() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Dropout(0.5))
    x, before = torch.randn(8, 6), {name: own.clone() for name, own in net.state_dict().items()}
    generator = torch.get_rng_state()
    expected = oracle.expect(net, x)
    assert all(torch.equal(own, before[name]) for name, own in net.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert list(expected.grads.keys()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    y = net(x)  # with the mask that the expectation was drawn with
    y.backward(torch.tensor(expected.grad_output))
    oracle.assert_close(y, expected.output)
    oracle.assert_close(net[0].weight.grad, expected.grads["0.weight"])
    with pytest.raises(oracle.Discrepancy, match=r"grads\['1.bias'\]"):
        oracle.assert_close(net[1].bias.grad * 1.001, expected.grads["1.bias"])


def test_what_it_computes_in_is_asked_for() -> None:
    """The same program in bfloat16: each result is rounded to it, and float32 would be too precise to be it."""
    x, w, b = arrays()
    expected = oracle.expect(fused, x, w, b, dtype=torch.bfloat16)
    assert expected.output.dtype == "bfloat16"
    oracle.assert_close(fused(x.bfloat16(), w.bfloat16(), b.bfloat16()), expected.output)
    assert np.median(expected.output.tolerance) > 1e3 * np.median(oracle.expect(fused, x, w, b).output.tolerance)


def test_several_outputs_and_a_gradient_of_ones_own() -> None:
    def program(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = x.exp(), x.argmax(-1)
        return values, indices

    x = torch.randn(3, 4)
    expected = oracle.expect(program, x, grad_output=(torch.ones(3, 4), None))
    oracle.assert_close(program(x), expected.output)
    oracle.assert_close(x.exp(), expected.grads[0])
    with pytest.raises(oracle.Discrepancy, match=r"output\[1\]: not the int64 values"):
        oracle.assert_close((x.exp(), x.argmin(-1)), expected.output)
    with pytest.raises(ValueError, match=r"grad_output has the output's shape \(3, 4\), got \(4,\)"):
        oracle.expect(program, x, grad_output=(torch.ones(4), None))
    with pytest.raises(ValueError, match="grad_output has 1 arrays, for 2 outputs"):
        oracle.expect(program, x, grad_output=(torch.ones(3, 4),))


def standardized(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """NumPy as people write it: a buffer from np.zeros, a view that is written into, an index, einsum."""
    out = np.zeros((2, *x.shape))
    out[0] = np.tanh(x)
    out[1, :, 0] = x[:, 1] * 2
    out[1] += x
    out -= np.mean(out, axis=(0, 1), keepdims=True)
    scaled = out / np.sqrt(np.mean(out**2, axis=-1, keepdims=True) + 1e-5)
    return np.einsum("aij,jk->aik", scaled[:, np.array([0, 2, 2])], w)


def test_a_numpy_program_is_one_like_any_other() -> None:
    """Its derivative comes from its own calls: held against differences."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 5)), rng.standard_normal((5, 3))
    expected = oracle.expect(standardized, x, w)
    oracle.assert_close(standardized(x, w), expected.output)
    step = 1e-6 * rng.standard_normal(x.shape)
    change = np.sum((standardized(x + step, w) - standardized(x - step, w)) * expected.grad_output)
    assert change == pytest.approx(2 * np.sum(expected.grads[0].value * step), rel=1e-6)
    with pytest.raises(oracle.Discrepancy, match="likely cause"):
        oracle.assert_close(2 * standardized(x, w), expected.output)
    assert type(np.zeros(2)) is np.ndarray


def test_what_has_no_rule_is_named() -> None:
    with pytest.raises(Exception, match=r"no rule for np\.heaviside"):
        oracle.expect(lambda x: np.heaviside(x, 0.5), np.ones(3))
    with pytest.raises(TypeError, match=r"expects what oracle\.expect gives .* got Tensor"):
        oracle.assert_close(torch.ones(1), torch.ones(1))


def test_small_programs_take_milliseconds() -> None:
    """Once warm it is quick enough for every test that there is: a fifth of what a million additions of Python take, where
    this was measured. Only the ratio is held, and only this thread's time: machines and their load differ."""
    inputs = arrays()

    def judged() -> None:
        expected = oracle.expect(fused, *inputs)
        oracle.assert_close(fused(*inputs), expected.output)

    def seconds(work: Callable[[], object]) -> float:
        start = time.thread_time()
        work()
        return time.thread_time() - start

    additions = min(seconds(lambda: sum(i + 1 for i in range(1_000_000))) for _ in range(5))
    assert min(seconds(judged) for _ in range(5)) < 2 * additions


def test_an_assertion_that_cannot_fail_says_so() -> None:
    """An infinite tolerance, and one that is larger than the number: zeros would pass. If a part is decided, that part counts."""
    softplus = lambda x: torch.log(1 + torch.exp(x))  # noqa: E731
    lost = oracle.expect(softplus, torch.tensor([100.0, 200.0]))
    half = oracle.expect(softplus, torch.tensor([100.0, 1.0]))
    numbers = torch.randn(4096, generator=torch.Generator().manual_seed(0)).bfloat16()
    total, few = oracle.expect(torch.sum, numbers), oracle.expect(torch.sum, numbers[:16])
    for due, actual in ((lost, torch.zeros(2)), (lost, torch.tensor([100.0, 200.0])), (total, numbers.sum())):
        with pytest.raises(oracle.Discrepancy, match=r"^output: undecided, since zeros would pass too: expected .* ± "):
            oracle.assert_close(actual, due.output)
    oracle.assert_close(torch.tensor([torch.inf, 1.3132617]), half.output)
    oracle.assert_close(numbers[:16].sum(), few.output)
    oracle.assert_close(numbers.float().sum(), oracle.expect(torch.sum, numbers.float()).output)
    oracle.assert_close(torch.zeros(3), oracle.expect(lambda x: 0 * x, torch.ones(3)).output)


def test_a_number_of_python_has_the_dtype_that_is_due() -> None:
    """`item` gives a loss of float32 as a number of Python, which is a double."""
    x = torch.linspace(0, 1, 8)
    expected = oracle.expect(lambda x: x.square().mean(), x)
    oracle.assert_close(x.square().mean().item(), expected)
    with pytest.raises(oracle.Discrepancy, match="100 % of 1 elements"):
        oracle.assert_close(x.square().mean().item() * (1 + 1e-5), expected)
    with pytest.raises(oracle.Discrepancy, match="dtype float64, expected float32"):
        oracle.assert_close(x.double().square().mean(), expected)


def test_sparse_tensors_are_refused_in_words() -> None:
    def product(x: torch.Tensor) -> torch.Tensor:
        return torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), x, (2, 2), check_invariants=True) @ torch.ones(
            2, 2
        )

    with pytest.raises(NoRule, match="sparse tensors are not judged, got sparse_coo"):
        oracle.expect(product, torch.ones(2))


def test_the_message_says_which_precision_the_errors_are_those_of() -> None:
    """A product of operands that were rounded to bfloat16 is told apart from a wrong formula."""
    torch.manual_seed(0)
    a, b = torch.randn(40, 64), torch.randn(64, 30)
    due = oracle.expect(torch.matmul, a, b).output
    with pytest.raises(oracle.Discrepancy, match="behaves like bfloat16 inside float32"):
        oracle.assert_close(a.bfloat16().float() @ b.bfloat16().float(), due)


@pytest.mark.parametrize(
    "places", [[(i, j) for i in range(3) for j in range(3)], [(i, j) for j in range(3) for i in range(3)]]
)
def test_an_edge_filter_may_add_place_by_place(places: list[tuple[int, int]]) -> None:
    """Positive data under it: in the order of its columns the partial sums are large, and in that of its rows they cancel."""
    x = torch.empty(1, 64, 12, 12).uniform_(0.9, 1.1)
    w = torch.empty(1, 64, 3, 3).uniform_(0.9, 1.1) * torch.tensor([-1.0, 0.0, 1.0])
    y = torch.zeros(1, 1, 10, 10)
    for i, j in places:
        for channel in range(64):
            y += x[:, channel, None, i : i + 10, j : j + 10] * w[:, channel, i, j]
    oracle.assert_close(y, oracle.expect(F.conv2d, x, w).output)
