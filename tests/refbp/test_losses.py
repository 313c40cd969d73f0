"""Losses follow torch.nn in values and gradients, for every reduction and argument; and what they all share."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import refbp
from refbp import functional as F
from refbp.loss import Loss

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 5, 4))
CLOSE = X + 0.3 * RNG.standard_normal((5, 4))
IMAGE = RNG.standard_normal((2, 4, 3, 2))
PROBABILITIES, SHARES = RNG.uniform(0.05, 0.95, (2, 5, 4))
SIGNS = np.where(RNG.standard_normal((5, 4)) > 0, 1.0, -1.0)
WEIGHT, CLASSES, IMAGE_CLASSES = RNG.uniform(0.5, 2, 4), RNG.integers(0, 4, 5), RNG.integers(0, 4, (2, 3, 2))
IMAGE_SHARES = RNG.uniform(0.05, 0.95, IMAGE.shape)
IGNORED = np.array([1, 2, 2, 0, 2])
LABELS = np.array([[0, 2, -1, 1], [3, -1, 0, 0], [-1, 1, 2, 3], [0, 1, 2, 3], [2, -1, -1, -1]])

# Class, options, arguments, which of the arguments torch differentiates.
LOSSES: list[tuple[str, dict[str, Any], tuple[Any, ...], tuple[int, ...]]] = [
    ("MSELoss", {}, (X, Y), (0, 1)),
    ("L1Loss", {}, (X, Y), (0, 1)),
    ("SmoothL1Loss", {}, (X, Y), (0, 1)),
    ("SmoothL1Loss", {"beta": 0.0}, (X, Y), (0, 1)),
    ("SmoothL1Loss", {"beta": 0.3}, (X, CLOSE), (0, 1)),
    ("HuberLoss", {}, (X, Y), (0, 1)),
    ("HuberLoss", {"delta": 0.3}, (X, CLOSE), (0, 1)),
    ("KLDivLoss", {}, (X, PROBABILITIES), (0, 1)),
    ("KLDivLoss", {"log_target": True}, (X, Y), (0, 1)),
    ("PoissonNLLLoss", {}, (X, SHARES), (0, 1)),
    ("PoissonNLLLoss", {"log_input": False, "full": True}, (SHARES, 5 * PROBABILITIES), (0, 1)),
    ("GaussianNLLLoss", {}, (X, Y, SHARES), (0, 1, 2)),
    ("GaussianNLLLoss", {"full": True}, (X, Y, SHARES[:, :1]), (0, 1, 2)),
    ("GaussianNLLLoss", {"eps": 0.5}, (X, Y, SHARES[:, 0]), (0, 1, 2)),
    ("BCELoss", {}, (PROBABILITIES, SHARES), (0, 1)),
    ("BCELoss", {"weight": WEIGHT}, (PROBABILITIES, SHARES), (0, 1)),
    ("BCEWithLogitsLoss", {}, (X, SHARES), (0, 1)),
    ("BCEWithLogitsLoss", {"weight": WEIGHT}, (X, SHARES), (0, 1)),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT[::-1]}, (X, SHARES), (0, 1)),
    ("NLLLoss", {}, (X, CLASSES), (0,)),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 2}, (X, IGNORED), (0,)),
    ("NLLLoss", {}, (X[0], np.array(3)), (0,)),
    ("CrossEntropyLoss", {}, (X, CLASSES), (0,)),
    ("CrossEntropyLoss", {"weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.2}, (X, IGNORED), (0,)),
    ("CrossEntropyLoss", {"label_smoothing": 0.2}, (IMAGE, IMAGE_CLASSES), (0,)),
    ("CrossEntropyLoss", {}, (X, PROBABILITIES), (0, 1)),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.2}, (X, PROBABILITIES), (0, 1)),
    ("CrossEntropyLoss", {"weight": WEIGHT}, (IMAGE, IMAGE_SHARES), (0, 1)),
    ("CrossEntropyLoss", {"label_smoothing": 1.0}, (X, CLASSES), (0,)),
    ("MarginRankingLoss", {"margin": 0.5}, (X, Y, SIGNS), (0, 1, 2)),
    ("HingeEmbeddingLoss", {"margin": 0.5}, (X, SIGNS), (0,)),
    ("CosineEmbeddingLoss", {"margin": -0.2}, (X, CLOSE, SIGNS[:, 0]), (0, 1)),
    ("CosineEmbeddingLoss", {}, (X[0], Y[0], np.array(1.0)), (0, 1)),
    ("CosineEmbeddingLoss", {}, (X[0, :0], Y[0, :0], np.array(1.0)), (0, 1)),
    ("SoftMarginLoss", {}, (X, SIGNS), (0,)),
    ("MultiMarginLoss", {}, (X, CLASSES), (0,)),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": WEIGHT}, (X, CLASSES), (0,)),
    ("MultiLabelMarginLoss", {}, (X, LABELS), (0,)),
    ("MultiLabelMarginLoss", {}, (X[0], LABELS[0]), (0,)),
    ("MultiLabelSoftMarginLoss", {}, (X, SHARES), (0, 1)),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHT}, (X, SHARES), (0, 1)),
]


# The arguments whose gradients `backward` returns, where it is not the first alone.
PREDICTIONS = {"GaussianNLLLoss": (0, 2), "MarginRankingLoss": (0, 1), "CosineEmbeddingLoss": (0, 1)}


def in_torch(value: Any) -> Any:
    return torch.tensor(value.copy()) if isinstance(value, np.ndarray) else value


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # of KLDivLoss
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "options", "arguments", "differentiated"), LOSSES)
def test_follows_torch(
    name: str, options: dict[str, Any], arguments: tuple[Any, ...], differentiated: tuple[int, ...], reduction: str
) -> None:
    """The value and the gradients of all that torch differentiates, under a random upstream; None for the rest."""
    theirs = getattr(torch.nn, name)(**{key: in_torch(value) for key, value in options.items()}, reduction=reduction)
    tensors = [in_torch(argument) for argument in arguments]
    for place in differentiated:
        tensors[place].requires_grad_()
    expected = theirs(*tensors)
    upstream = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(upstream))
    ours = getattr(refbp, name)(**options, reduction=reduction)
    value, backward = ours.apply(*arguments)
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-12, atol=1e-14)
    grads = backward(upstream)
    for place, tensor in enumerate(tensors):
        if place in differentiated:
            np.testing.assert_allclose(grads[place], tensor.grad, rtol=1e-11, atol=1e-14)
        else:
            assert grads[place] is None
    ours(*arguments)
    predicted = ours.backward(upstream)
    pairs = zip(predicted, PREDICTIONS[name], strict=True) if name in PREDICTIONS else [(predicted, 0)]
    for got, place in pairs:
        np.testing.assert_array_equal(got, grads[place])


def test_poissons_gradient_by_a_target_of_zero() -> None:
    """It is that of the terms that are added; torch's is NaN, from the Stirling term that it leaves out."""
    _, backward = F.poisson_nll_loss(np.zeros(1), np.zeros(1), full=True, log_input=False, eps=1.0)
    assert backward()[1] == 0


@pytest.mark.parametrize("log_target", [False, True])
def test_batchmean_divides_by_the_first_size(log_target: bool) -> None:
    """Value and gradients, as torch's."""
    target = torch.tensor(PROBABILITIES, requires_grad=True)
    loss = torch.nn.KLDivLoss(reduction="batchmean", log_target=log_target)
    expected = loss(torch.tensor(X), target)
    expected.backward()
    value, backward = refbp.KLDivLoss(reduction="batchmean", log_target=log_target).apply(X, PROBABILITIES)
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(backward()[1], target.grad, rtol=1e-12)


def test_the_gradient_of_class_weights() -> None:
    """Of cross entropy of probabilities, by differences: the weight is an argument of the op too."""
    step = 1e-6
    _, backward = F.cross_entropy(X, PROBABILITIES, WEIGHT, label_smoothing=0.2)
    for index, got in enumerate(backward()[2]):  # type: ignore[arg-type]
        moved = [np.where(np.arange(4) == index, WEIGHT + sign * step, WEIGHT) for sign in (1, -1)]
        high, low = (F.cross_entropy(X, PROBABILITIES, weight, label_smoothing=0.2)[0] for weight in moved)
        np.testing.assert_allclose(got, (high - low) / (2 * step), rtol=1e-8)


def test_where_torchs_conventions_lie() -> None:
    """Hinges pass at exactly zero or not, all ignored is NaN with a gradient of zero, saturated logarithms stay finite."""
    one, zero = np.ones(1), np.zeros(1)
    assert F.margin_ranking_loss(zero, zero, one)[1]()[0] == -1
    assert F.hinge_embedding_loss(one, -one)[1]()[0] == -1
    np.testing.assert_array_equal(F.hinge_embedding_loss(one, zero, margin=3.0)[0], 1 + 2)  # counts as both
    np.testing.assert_array_equal(F.multi_margin_loss(np.array([1.0, 0.0]), np.array(0))[1]()[0], [0, 0])
    np.testing.assert_array_equal(F.multilabel_margin_loss(np.array([1.0, 0.0]), np.array([0, -1]))[1]()[0], [0, 0])
    assert F.l1_loss(zero, zero)[1]()[0] == 0
    value, backward = F.nll_loss(X, np.full(5, 3), ignore_index=3)
    assert np.isnan(value)
    np.testing.assert_array_equal(backward()[0], np.zeros((5, 4)))
    value, backward = F.binary_cross_entropy(zero, one)
    assert value == 100
    np.testing.assert_allclose(backward()[0], -1e12, rtol=1e-6)
    assert F.kl_div(zero, zero)[0] == 0
    assert np.isnan(F.mse_loss(np.zeros(0), np.zeros(0))[0])


@pytest.mark.parametrize(
    ("size_average", "reduce", "reduction"),
    [(True, None, "mean"), (False, None, "sum"), (None, False, "none"), (False, True, "sum"), (None, True, "mean")],
)
def test_deprecated_arguments_for_the_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> None:
    """They override `reduction`, with a warning, as in torch."""
    with pytest.warns(UserWarning, match=f"use reduction='{reduction}' instead") as warned:
        assert refbp.MSELoss(size_average, reduce, "sum").reduction == reduction
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match=f"use reduction='{reduction}' instead"):
        assert torch.nn.MSELoss(size_average, reduce, "sum").reduction == reduction


@pytest.mark.parametrize(
    "name", sorted({name for name, *_ in LOSSES if "reduce" in inspect.signature(getattr(refbp, name)).parameters})
)
def test_every_loss_takes_the_deprecated_arguments(name: str) -> None:
    """A loss that passed one of them on in the other's place would have another reduction."""
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert getattr(refbp, name)(size_average=False, reduce=True).reduction == "sum"


def test_a_variance_may_be_zero() -> None:
    """As in torch it counts as eps; only a negative one is refused."""
    value, _ = F.gaussian_nll_loss(np.ones(2), np.ones(2), np.zeros(2))
    np.testing.assert_allclose(value, np.log(1e-6) / 2)


def test_the_values_dtype_is_the_inputs() -> None:
    """It does not depend on the dtypes of target, weight and upstream gradient."""
    value, backward = F.nll_loss(X.astype("float32"), CLASSES, WEIGHT)
    assert value.dtype == np.float32
    grad = backward(np.array(2.0))[0]
    assert grad is not None and grad.dtype == np.float32


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_copy_has_no_forward(copied: Any) -> None:
    """The last forward's backward, which cannot be pickled, stays with the loss that made it."""
    loss = refbp.MSELoss()
    loss(np.ones((2, 3)), np.zeros((2, 3)))
    other = copied(loss)
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        other.backward()
    assert loss.backward().shape == (2, 3)


def test_the_upstream_gradient_may_be_a_number() -> None:
    """The value is an array without dimensions."""
    loss = refbp.MSELoss()
    assert loss(X, Y).shape == ()
    np.testing.assert_allclose(loss.backward(2.0), 4 * (X - Y) / X.size)


def test_your_own_loss() -> None:
    """It needs `op` only; without it the class says so."""
    with pytest.raises(TypeError, match="Loss defines no op"):
        Loss()(X, Y)


WRONG: dict[str, tuple[Any, str]] = {
    "input": (
        lambda: refbp.MSELoss()(CLASSES, CLASSES),
        "MSELoss expects a floating-point array, got an array of int64",
    ),
    "no array": (lambda: refbp.MSELoss()([1.0], Y), "MSELoss expects a floating-point array, got list"),
    "a list as target": (
        lambda: refbp.CrossEntropyLoss()(X, [0, 1]),
        "CrossEntropyLoss expects arrays beside its input, got list",
    ),
    "a list as weight": (
        lambda: refbp.NLLLoss([1.0, 2.0]),  # type: ignore[arg-type]
        "NLLLoss expects arrays beside its input, got list",
    ),
    "a list as pos_weight": (
        lambda: refbp.BCEWithLogitsLoss(pos_weight=[1.0]),  # type: ignore[arg-type]
        "BCEWithLogitsLoss expects arrays beside its input, got list",
    ),
    "upstream": (
        lambda: F.mse_loss(X, Y)[1](np.ones(3)),
        r"a loss's backward expects grad_output of the value's shape \(\), got \(3,\)",
    ),
    "weight": (
        lambda: refbp.BCELoss(np.ones(3))(PROBABILITIES, SHARES),
        r"binary_cross_entropy expects weight that broadcasts to \(5, 4\), got \(3,\)",
    ),
    "no classes": (
        lambda: F.nll_loss(np.ones((2, 0)), np.zeros(2, int)),
        r"nll_loss expects input \(C\), \(N, C\) or \(N, C, d1, …\) with C > 0, got \(2, 0\)",
    ),
    "ignored probabilities": (
        lambda: F.cross_entropy(X, PROBABILITIES, ignore_index=0),
        "cross_entropy expects class indices as target with an ignore_index, got float64",
    ),
    "multilabel": (
        lambda: F.multilabel_margin_loss(IMAGE, LABELS),
        r"multilabel_margin_loss expects input \(N, C\) or \(C\), got \(2, 4, 3, 2\)",
    ),
    "soft multilabel": (
        lambda: F.multilabel_soft_margin_loss(np.ones(()), np.ones(())),
        r"multilabel_soft_margin_loss expects input \(N, C\) or \(C\), got \(\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name: str) -> None:
    """Loss, expected, received."""
    call, sentence = WRONG[name]
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("l1_loss", {}), ("smooth_l1_loss", {"beta": 0.0}), ("smooth_l1_loss", {"beta": 0.5}), ("huber_loss", {})],
)
def test_nan_has_torchs_sign(name: str, options: dict[str, Any], reduction: str) -> None:
    """The gradient of an absolute value is zero there; that of a smooth middle is NaN."""
    x, t = np.array([np.nan, 1.0, np.inf]), np.array([0.0, np.nan, np.inf])
    tensor, target = (torch.tensor(array, requires_grad=True) for array in (x, t))
    expected = getattr(torch.nn.functional, name)(tensor, target, reduction=reduction, **options)
    expected.backward(torch.ones_like(expected))
    value, backward = getattr(F, name)(x, t, reduction=reduction, **options)
    np.testing.assert_array_equal(value, expected.detach())
    for ours, theirs in zip(backward(np.ones(value.shape)), (tensor.grad, target.grad), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("weight", [[0.0, 1.0], [0.0, 0.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mean_over_weights_of_zero_is_nan(weight: list[float], smoothing: float) -> None:
    """Also where smoothing makes the terms other than zero."""
    x = np.array([[1.0, 2.0], [3.0, 1.0]])
    tensor = torch.tensor(x, requires_grad=True)
    options = {"label_smoothing": smoothing}
    expected = torch.nn.functional.cross_entropy(tensor, torch.tensor([0, 0]), torch.tensor(weight).double(), **options)
    expected.backward()
    value, backward = F.cross_entropy(x, np.array([0, 0]), np.array(weight), **options)
    assert np.isnan(value) and expected.isnan()
    np.testing.assert_array_equal(backward()[0], tensor.grad)
