"""A wrong argument ends in a ValueError of one sentence that names the op, what was expected and what was received."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import refbp
from refbp import functional as F

X, ROW, LABELS = np.ones((2, 4, 5)), np.ones((3, 4)), np.array([0, 1, 2])

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "integers": (lambda: refbp.ReLU()(np.array([1, 2])), "ReLU expects a floating-point array, got an array of int64"),
    "a list": (lambda: refbp.Tanh()([1.0, 2.0]), "Tanh expects a floating-point array, got list"),  # type: ignore[arg-type]
    "integer parameters": (lambda: refbp.Linear(2, 2, dtype=int), "Linear expects a floating-point dtype, got int64"),
    "no dtype": (lambda: refbp.Linear(2, 2, dtype="float23"), "Linear expects a floating-point dtype, got 'float23'"),
    "a seed": (
        lambda: refbp.Dropout(rng=0),  # type: ignore[arg-type]
        "Dropout expects rng as a numpy.random.Generator, got int",
    ),
    "features": (
        lambda: refbp.Linear(3.0, 2),  # type: ignore[arg-type]
        "Linear expects in_features as a whole number of at least 0, got 3.0",
    ),
    "channels": (
        lambda: refbp.Conv1d(-3, 2, 1),
        "Conv1d expects in_channels as a whole number of at least 0, got -3",
    ),
    "transposed channels": (
        lambda: refbp.ConvTranspose1d(3, -2, 1),
        "ConvTranspose1d expects out_channels as a whole number of at least 1, got -2",
    ),
    "no channels": (
        lambda: refbp.Conv2d(1, 0, 1),
        "Conv2d expects out_channels as a whole number of at least 1, got 0",
    ),
    "no channels to transpose": (
        lambda: refbp.ConvTranspose2d(0, 1, 1),
        "ConvTranspose2d expects in_channels as a whole number of at least 1, got 0",
    ),
    "empty weight": (
        lambda: F.conv1d(X, np.ones((0, 4, 1))),
        r"conv1d expects a weight of at least one channel, got shape \(0, 4, 1\)",
    ),
    "empty transposed weight": (
        lambda: F.conv_transpose1d(X, np.ones((4, 0, 1))),
        r"conv_transpose1d expects a weight of at least one channel, got shape \(4, 0, 1\)",
    ),
    "padding_mode": (
        lambda: F.conv1d(X, np.ones((1, 4, 1)), padding_mode="zero"),
        "conv1d expects padding_mode zeros, reflect, replicate, circular, got 'zero'",
    ),
    "padding of nothing": (
        lambda: refbp.ReplicationPad1d(1)(X[..., :0]),
        r"replicate padding expects sides that a size of 0 can fill, got \(1, 1\)",
    ),
    "convolution of nothing": (
        lambda: refbp.Conv1d(4, 1, 2, padding=1, padding_mode="replicate")(X[..., :0]),
        r"replicate padding expects sides that a size of 0 can fill, got \(1, 1\)",
    ),
    "padding to nothing": (
        lambda: refbp.ReflectionPad1d((-2, -3))(X),
        r"reflect padding expects sides that leave something of \(5,\), got \[\(-2, -3\)\]",
    ),
    "normalized_shape": (
        lambda: refbp.LayerNorm(2.5),  # type: ignore[arg-type]
        "normalized_shape of LayerNorm expects an int of at least 0, or 1 of them, got 2.5",
    ),
    "output_size": (
        lambda: refbp.AdaptiveAvgPool1d("5")(X),  # type: ignore[arg-type]
        "adaptive_avg_pool1d expects output_size as an int or None, or 1 of them, got '5'",
    ),
    "integers to a loss": (
        lambda: F.mse_loss(LABELS, LABELS),
        "mse_loss expects a floating-point array, got an array of int64",
    ),
    "a list as target": (lambda: F.mse_loss(ROW, [1.0]), "mse_loss expects arrays, got list"),  # type: ignore[arg-type]
    "upstream of a loss": (
        lambda: F.mse_loss(ROW, ROW)[1]([1.0]),  # type: ignore[arg-type]
        r"a loss's backward expects grad_output of the value's shape \(\), got list",
    ),
    "nothing to optimize": (
        lambda: refbp.SGD(None, lr=0.1),  # type: ignore[arg-type]
        "SGD expects Layers or Parameters, got NoneType",
    ),
    "prelu": (lambda: F.prelu(X, np.ones(3)), r"prelu expects a weight of shape \(1,\) or \(4,\).*got \(3,\)"),
    "gelu": (lambda: F.gelu(X, "fast"), "gelu expects approximate 'none' or 'tanh', got 'fast'"),
    "celu": (lambda: F.celu(X, 0.0), "celu expects an alpha other than 0"),
    "hardtanh": (lambda: F.hardtanh(X, 2.0, 1.0), "hardtanh expects min_val <= max_val, got 2.0 and 1.0"),
    "softshrink": (lambda: F.softshrink(X, -1.0), "softshrink expects a lambd of at least 0, got -1.0"),
    "softmax": (lambda: F.softmax(X, 3), "softmax expects dim within the 3 dimensions of its input, got 3"),
    "glu": (lambda: F.glu(X, -1), r"glu expects an even size along dimension -1, got shape \(2, 4, 5\)"),
    "softmax2d": (lambda: refbp.Softmax2d()(ROW), r"Softmax2d expects input .* got shape \(3, 4\)"),
    "dropout p": (lambda: refbp.Dropout(1.5), "dropout expects a probability from 0 to 1, got 1.5"),
    "dropout mask": (lambda: F.dropout(X, mask=np.ones(3, bool)), r"dropout expects a mask .* got \(3,\)"),
    "alpha dropout mask": (
        lambda: F.alpha_dropout(X, training=True, mask=np.ones((3, 2, 4, 5), bool)),
        r"alpha_dropout expects a mask that broadcasts to .* \(2, 4, 5\), got \(3, 2, 4, 5\)",
    ),
    "dropout2d": (lambda: refbp.Dropout2d()(ROW), r"Dropout2d expects 3 or 4 dimensions, got shape \(3, 4\)"),
    "flatten": (lambda: F.flatten(X, 2, 1), "flatten expects start_dim <= end_dim within 3 dimensions, got 2, 1"),
    "unflatten": (lambda: F.unflatten(X, 1, (3, 2)), r"unflatten expects sizes that make up 4, got \(3, 2\)"),
    "unflatten dim": (lambda: F.unflatten(X, 5, (3, 2)), "unflatten expects dim within 3 dimensions, got 5"),
    "unflatten negative dim": (lambda: F.unflatten(X, -4, (5, 1)), "unflatten expects dim within 3 dimensions, got -4"),
    "pixel_shuffle": (lambda: F.pixel_shuffle(X, 3), r"pixel_shuffle expects .* divisible by 3², got \(2, 4, 5\)"),
    "unflatten twice": (
        lambda: F.unflatten(np.ones((2, 1)), 1, (-1, -1)),
        r"unflatten expects sizes that make up 1, got \(-1, -1\)",
    ),
    "pixel_unshuffle height": (
        lambda: F.pixel_unshuffle(np.ones((2, 5, 4)), 2),
        r"pixel_unshuffle expects .* divisible by 2, got \(2, 5, 4\)",
    ),
    "class of a number": (
        lambda: F.nll_loss(np.array(1.0), np.array(0)),
        r"nll_loss expects input \(C\), .* got \(\)",
    ),
    "pixel_shuffle shape": (lambda: F.pixel_shuffle(ROW, 1), r"pixel_shuffle expects .* got \(3, 4\)"),
    "pixel_unshuffle shape": (lambda: F.pixel_unshuffle(ROW, 1), r"pixel_unshuffle expects .* got \(3, 4\)"),
    "pixel_unshuffle": (lambda: F.pixel_unshuffle(X, 2), r"pixel_unshuffle expects .* divisible by 2, got \(2, 4, 5\)"),
    "upsample neither": (lambda: F.upsample(X), "upsample expects either size or scale_factor, got None and None"),
    "upsample mode": (
        lambda: F.upsample(X, 3, mode="bilinear"),
        "upsample expects mode nearest or linear for 3 dimensions",
    ),
    "upsample corners": (lambda: F.upsample(X, 3, align_corners=True), "align_corners with the linear modes only"),
    "upsample sizes": (
        lambda: F.upsample(X, (3, 4)),
        r"size of upsample expects an int of at least 1, or 1 of them, got \(3, 4\)",
    ),
    "upsample to nothing": (lambda: F.upsample(X, 0), "size of upsample expects an int of at least 1, .* got 0"),
    "upsample backwards": (lambda: F.upsample(X, -2), "size of upsample expects an int of at least 1, .* got -2"),
    "upsample to a half": (lambda: F.upsample(X, 2.5), "size of upsample expects an int of at least 1, .* got 2.5"),  # type: ignore[arg-type]
    "upsample by nothing": (
        lambda: F.upsample(X, scale_factor=0.1),
        r"upsample expects at least one element per side, got sides \(5,\) that become \(0,\)",
    ),
    "upsample nothing": (
        lambda: F.upsample(X[..., :0], 3),
        r"upsample expects at least one element per side, got sides \(0,\) that become \(3,\)",
    ),
    "upsample factor": (
        lambda: F.upsample(X, scale_factor=-1.0),
        "upsample expects one scale_factor above 0 or 1 of them, got -1.0",
    ),
    "upsample factors": (
        lambda: F.upsample(X, scale_factor=[2.0, "2"]),  # type: ignore[list-item]
        r"upsample expects one scale_factor above 0 or 1 of them, got \[2.0, '2'\]",
    ),
    "upsample no factor": (
        lambda: F.upsample(X, scale_factor=refbp),  # type: ignore[arg-type]
        "upsample expects one scale_factor above 0 or 1 of them, got <module",
    ),
    "upsample recomputed": (
        lambda: F.upsample(X, 3, recompute_scale_factor=True),
        "upsample expects recompute_scale_factor with a scale_factor only, got size 3",
    ),
    "upsample shape": (lambda: F.upsample(ROW, 3), r"upsample expects 3 to 5 dimensions, got shape \(3, 4\)"),
    "transposed output_padding": (
        lambda: F.conv_transpose1d(X, np.ones((4, 2, 3)), output_padding=1),
        "conv_transpose1d expects output_padding below stride or dilation, got 1 for 1 and 1",
    ),
    "transposed padding_mode": (
        lambda: refbp.ConvTranspose1d(2, 2, 3, padding_mode="reflect"),
        "ConvTranspose1d expects padding_mode zeros, got 'reflect'",
    ),
    "transposed bias": (
        lambda: F.conv_transpose1d(X, np.ones((4, 2, 3)), np.ones(1)),
        r"conv_transpose1d expects bias \(2,\)",
    ),
    "pool of nothing": (
        lambda: F.max_pool1d(X[..., :0], 2, padding=1),
        r"max_pool1d expects at least one element in each dimension, got shape \(2, 4, 0\)",
    ),
    "lp_pool": (lambda: F.lp_pool1d(X, 0.0, 2), "lp_pool1d expects a norm_type other than 0"),
    "reduction": (lambda: F.mse_loss(ROW, ROW, reduction="median"), "reduction 'none', 'mean' or 'sum', got 'median'"),
    "target shape": (
        lambda: F.l1_loss(ROW, X),
        r"l1_loss expects target of the input's shape \(3, 4\), got \(2, 4, 5\)",
    ),
    "smooth_l1": (
        lambda: F.smooth_l1_loss(ROW, ROW, beta=-1.0),
        "smooth_l1_loss expects a beta of at least 0, got -1.0",
    ),
    "huber": (lambda: F.huber_loss(ROW, ROW, delta=0.0), "huber_loss expects a delta above 0, got 0.0"),
    "gaussian eps": (
        lambda: F.gaussian_nll_loss(ROW, ROW, ROW, eps=0.0),
        "gaussian_nll_loss expects an eps above 0, got 0.0",
    ),
    "gaussian var": (
        lambda: F.gaussian_nll_loss(ROW, ROW, np.ones(2)),
        "gaussian_nll_loss expects var of the input's shape",
    ),
    "negative var": (lambda: F.gaussian_nll_loss(ROW, ROW, -ROW), "gaussian_nll_loss expects variances of at least 0"),
    "bce": (lambda: F.binary_cross_entropy(ROW * 2, ROW), "binary_cross_entropy expects input between 0 and 1"),
    "class": (lambda: F.nll_loss(ROW, LABELS + 2), "nll_loss expects class indices from 0 to 3, got 4"),
    "negative class": (lambda: F.nll_loss(ROW, LABELS - 1), "nll_loss expects class indices from 0 to 3, got -1"),
    "negative smoothing": (
        lambda: F.cross_entropy(ROW, LABELS, label_smoothing=-0.5),
        "cross_entropy expects label_smoothing between 0 and 1, got -0.5",
    ),
    "class dtype": (lambda: F.nll_loss(ROW, LABELS * 1.0), r"nll_loss expects class indices \(integers\) as target"),
    "class weight": (
        lambda: F.nll_loss(ROW, LABELS, np.ones(3)),
        r"nll_loss expects weight \(4,\), one per class, got \(3,\)",
    ),
    "smoothing": (
        lambda: F.cross_entropy(ROW, LABELS, label_smoothing=2.0),
        "cross_entropy expects label_smoothing between 0 and 1",
    ),
    "multi_margin p": (lambda: F.multi_margin_loss(ROW, LABELS, p=3), "multi_margin_loss expects p of 1 or 2, got 3"),
    "multi_margin shape": (
        lambda: F.multi_margin_loss(X, LABELS),
        r"multi_margin_loss expects input \(N, C\) or \(C\)",
    ),
    "multilabel": (
        lambda: F.multilabel_margin_loss(ROW, LABELS),
        r"multilabel_margin_loss expects target \(3, 4\), got \(3,\)",
    ),
    "cosine": (lambda: F.cosine_embedding_loss(ROW, ROW, ROW), "cosine_embedding_loss expects inputs"),
    "ranking": (lambda: F.margin_ranking_loss(ROW, X, ROW), "margin_ranking_loss expects input2 of the input's shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name: str) -> None:
    """Op, expected, received; in one line."""
    call, sentence = WRONG[name]
    with pytest.raises(ValueError, match=sentence) as raised:
        call()
    assert "\n" not in str(raised.value)


LOSSES = [name for name, value in vars(refbp).items() if isinstance(value, type) and issubclass(value, refbp.Loss)]


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"Loss"}))
def test_a_loss_without_a_forward_has_no_backward(name: str) -> None:
    """A RuntimeError, as for layers."""
    with pytest.raises(RuntimeError, match=f"{name}.backward needs a forward before it"):
        getattr(refbp, name)().backward()
