"""Each option of an adapter: it gives torch's numbers, or the adapter says in words that its library lacks it.

An option that is taken and not heeded would be a false accusation of the library. The cases run without the judge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oracle import subjects, suite
from oracle.case.case import Case, Spec
from oracle.execution.network import LOSSES, Network
from oracle.trace import Key, Unsupported

from .test_libraries import compiler

RNG = np.random.default_rng(0)
X, ROWS = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((4, 3))
CLASSES = np.array([0, 2, 1, 1])
SHARES = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.25, 0.25, 0.5]])
TENSOR, OF_TENSOR = RNG.standard_normal((4, 3, 2)), np.array([[0, 1], [2, 0], [1, 1], [2, 2]])
IN = "float32"  # MLX and tinygrad have no float64 to speak of


def of(kind: str, *inputs: Any, options: dict[str, Any] | None = None, **more: Any) -> Case:
    """A forward pass of a layer, or a loss with its gradient."""
    spec, (x, *targets) = Spec(kind, options or {}), inputs
    if kind in LOSSES:
        return Case(kind, inputs=(x,), loss=spec, targets=(tuple(targets),), **more)
    case = Case(kind, layers=(spec,), inputs=(x,), **more)
    state = [(full, own[short]) for _, own, short, full in Network(case).state()]
    return replace(case, params={full: at_random(value) for full, value in state})


def at_random(value: Any) -> Any:
    return RNG.uniform(0.5, 1.5, value.shape) if value.dtype.kind == "f" else value


def perceptron(*specs: Spec, x: Any = ROWS, target: Any = CLASSES, loss: Spec | None = None, **more: Any) -> Case:
    loss = loss or Spec("CrossEntropyLoss")
    case = Case("perceptron", layers=specs, inputs=(x,), loss=loss, targets=((target,),), **more)
    return replace(case, params={full: at_random(own[short]) for _, own, short, full in Network(case).state()})


def dense(inner: int, outer: int, **options: Any) -> Spec:
    return Spec("Linear", {"in_features": inner, "out_features": outer, **options})


def norm(rank: int, **options: Any) -> Case:
    return of(f"BatchNorm{rank}d", X if rank == 2 else ROWS, options={"num_features": 3, **options})


def upsample(**options: Any) -> Case:
    return Case("Upsample", layers=(Spec("Upsample", options),), inputs=(X,))  # also in modes that refbp lacks


def pool(kind: str, **options: Any) -> Case:
    return of(f"{kind}2d", X, options={"kernel_size": 2, **options})


def conv(**options: Any) -> Case:
    return of("Conv2d", X, options={"in_channels": 3, "out_channels": 2, "kernel_size": 2, **options})


def entropy(*inputs: Any, **options: Any) -> Case:
    return of("CrossEntropyLoss", *inputs, options=options)


SMOOTH = {"label_smoothing": 0.1}
WEIGHT = {"weight": [0.5, 1.0, 2.0]}
KEPT = of("Dropout", X, masks={"0": X > 0})


def str_of(value: Any) -> str:
    return value.name if isinstance(value, Case) else str(value)


HAS = {
    "jax": [
        conv(padding="same"),
        conv(padding=1, padding_mode="reflect"),
        pool("AvgPool", divisor_override=3),
        pool("AvgPool", stride=3, padding=1, ceil_mode=True),
        replace(norm(1), training=False),
        upsample(scale_factor=2.0, mode="bilinear"),
        upsample(scale_factor=2.0),
        upsample(size=(8, 10)),
        upsample(size=(4, 5), mode="bilinear"),
        entropy(ROWS, SHARES, **SMOOTH),
        entropy(ROWS, CLASSES, **SMOOTH),
        entropy(ROWS, CLASSES, **WEIGHT),
    ],
    "tinygrad": [
        norm(2, track_running_stats=False),
        of("RMSNorm", ROWS, options={"normalized_shape": 3}),
        upsample(scale_factor=2.0),
        upsample(size=(7, 3), mode="bilinear"),
        of("Dropout", X),
        of("Dropout", X, training=False),
        entropy(ROWS, CLASSES, **SMOOTH),
        entropy(TENSOR, OF_TENSOR, **SMOOTH),
        of("NLLLoss", ROWS, CLASSES),
    ],
    "mlx": [
        conv(padding="valid"),
        norm(2, track_running_stats=False),
        upsample(size=(8, 10), mode="bilinear"),
        of("Dropout", X, training=False),
        of("KLDivLoss", ROWS, np.log(SHARES + 0.1), options={"log_target": True, "reduction": "batchmean"}),
        of("KLDivLoss", ROWS, np.log(SHARES + 0.1), options={"log_target": True, "reduction": "sum"}),
    ],
    "autograd": [
        replace(norm(2), training=False),
        of("Unflatten", ROWS, options={"dim": -1, "unflattened_size": [3, -1]}),
        of("MSELoss", ROWS, SHARES, options={"reduction": "sum"}),
        suite.named("network/accumulated"),
    ],
    "sklearn": [
        perceptron(Spec("Flatten"), dense(60, 4), Spec("Tanh"), dense(4, 3), x=X, target=np.array([2, 0])),
    ],
}


@pytest.mark.parametrize("subject, case", [(own, case) for own, cases in HAS.items() for case in cases], ids=str_of)
def test_an_option_that_is_taken_is_heeded(subject: str, case: Case) -> None:
    """Outputs, gradients and running statistics are torch's; a mask that the library drew is given to torch."""
    compiler(subject)
    case = case.astype(IN)
    got = subjects.load(subject).run(case)
    masks = {key.layer: array for key, array in got.arrays.items() if key.quantity == "mask"}
    expected = subjects.load("torch").run(replace(case, masks=masks))
    assert Key(0, "loss" if case.loss else "0", "output") in got.arrays
    for key, array in got.arrays.items():
        np.testing.assert_allclose(array, expected.arrays[key], 1e-4, 1e-5, err_msg=str(key))


LACKS = {
    "jax": [
        (upsample(scale_factor=2.0, mode="bilinear", align_corners=True), "align_corners"),
        (upsample(size=(7, 5)), "nearest"),
        (upsample(scale_factor=2.0, mode="bicubic"), "cubic"),
        (entropy(ROWS, SHARES, **WEIGHT), "weights"),
        (entropy(ROWS, CLASSES, **SMOOTH, **WEIGHT), "neither weights"),
        (entropy(ROWS, CLASSES, **SMOOTH, ignore_index=1), "an ignored one"),
        (entropy(ROWS, np.zeros(4, int), ignore_index=0), "all are ignored"),
        (of("CosineEmbeddingLoss", ROWS, SHARES, np.array([1, -1, 1, 1]), dtype="float64"), "1e-12"),
    ],
    "tinygrad": [
        (norm(2, momentum=None), "momentum=None"),
        (of("RMSNorm", X, options={"normalized_shape": [4, 5]}), "one dimension"),
        (upsample(scale_factor=2.0, mode="bicubic"), "cubic"),
        (upsample(scale_factor=1.3), "takes a size"),
        (KEPT, "its own mask"),
        (entropy(ROWS[0], np.array(1)), r"scores \(N, C"),
        (of("NLLLoss", ROWS[0], np.array(1)), r"scores \(N, C"),
    ],
    "mlx": [
        (pool("MaxPool", dilation=2), "no dilation"),
        (pool("AvgPool", padding=1, count_include_pad=False), "counts the padding in"),
        (of("LayerNorm", ROWS, options={"normalized_shape": 3, "eps": 0.0}), "positive eps"),
        (norm(2, momentum=None), "momentum=None"),
        (of("ZeroPad2d", X, options={"padding": -1}), "negative"),
        (upsample(scale_factor=1.3, mode="bilinear"), "keeps to the scale"),
        (upsample(size=(7, 5)), "nearest to the centre"),
        (
            of("Upsample", RNG.standard_normal((1, 1, 11)), options={"size": 15, "mode": "linear"}),
            "does not make that size",
        ),
        (KEPT, "its own mask"),
        (of("Dropout", X, options={"p": 1.0}), "keeps something"),
        (of("LeakyReLU", X, options={"negative_slope": 1.5}), "at most 1"),
        (entropy(ROWS, CLASSES, ignore_index=1), "ignores no class"),
        (of("NLLLoss", ROWS, CLASSES, options={"ignore_index": 1}), "ignores no class"),
        (entropy(ROWS, SHARES, **SMOOTH), "smooths labels that are classes"),
        (of("KLDivLoss", ROWS, SHARES), "takes logarithms"),
        (of("GaussianNLLLoss", ROWS, SHARES, np.ones((4, 1))), "a variance for each element"),
        (of("CosineEmbeddingLoss", ROWS, SHARES, np.array([1, -1, 1, 1]), dtype="float64"), "1e-12"),
        (of("Tanh", np.zeros((0, 3))), "empty batches"),
    ],
    "mygrad": [
        (conv(padding="same"), "both sides alike"),
        (of("MaxPool2d", X[:0], options={"kernel_size": 2}), "no empty batch"),
        (of("Softmax", np.zeros((2, 0)), options={"dim": 1}), "at least one number"),
        (of("NLLLoss", ROWS[0], np.array(1)), r"scores \(N, C\)"),
        (entropy(ROWS, CLASSES, ignore_index=1), "ignores no class"),
    ],
    "autograd": [
        (conv(stride=2), "no stride"),
        (entropy(TENSOR, OF_TENSOR), r"scores \(N, C\)"),
        (of("NLLLoss", ROWS, CLASSES, options={"ignore_index": 1}), r"scores \(N, C\)"),
        (of("Tanh", ROWS, dtype="float16"), "float16"),
    ],
    "sklearn": [
        (perceptron(dense(3, 3), dtype="float16"), "float16"),
        (perceptron(Spec("Sequential", {}, "", (dense(3, 3),))), "plain sequences"),
        (perceptron(dense(3, 3), Spec("LogSoftmax", {"dim": 0}), loss=Spec("NLLLoss")), "over the outputs"),
        (perceptron(dense(3, 4), Spec("Tanh"), dense(4, 4), Spec("ReLU"), dense(4, 3)), "one activation"),
        (perceptron(dense(3, 4), Spec("GELU"), dense(4, 3)), "one activation"),
        (perceptron(dense(3, 3, bias=False)), "have a bias"),
        (perceptron(dense(3, 3), x=ROWS[:, None], target=CLASSES[:, None]), "samples × features"),
        (perceptron(dense(3, 3), target=SHARES), "one class for each sample"),
        (perceptron(dense(3, 3), loss=Spec("CrossEntropyLoss", {"ignore_index": 1})), "ignores no class"),
        (perceptron(dense(3, 3), grad_outputs=(np.array(2.0),)), "no upstream gradient"),
    ],
}


@pytest.mark.parametrize(
    "subject, case, words", [(own, *lacking) for own, cases in LACKS.items() for lacking in cases], ids=str_of
)
def test_an_option_that_is_lacking_is_refused_in_words(subject: str, case: Case, words: str) -> None:
    """Before the library computes something else, ends with an error of its own, or ends the process."""
    compiler(subject)
    with pytest.raises(Unsupported, match=words):
        subjects.load(subject).run(case.astype(case.dtype if case.dtype != "float64" or "1e-12" in words else IN))


STATE = {
    "SGD": ({"lr": 0.1, "momentum": 0.9}, ("momentum",)),
    "Adam": ({"lr": 0.1}, ("exp_avg", "exp_avg_sq", "step")),
    "RMSprop": ({"lr": 0.1, "centered": True, "momentum": 0.9}, ("square_avg", "grad_avg", "momentum", "step")),
}


@pytest.mark.parametrize(
    "subject, kind",
    [*((own, kind) for own in ("jax", "mlx", "sklearn", "tinygrad") for kind in ("SGD", "Adam")), ("jax", "RMSprop")],
)
def test_an_optimizer_goes_on_where_it_stood(subject: str, kind: str) -> None:
    """From the state that the case brings along, the count of steps included: not from zeros, as if it were the first step."""
    compiler(subject)
    options, names = STATE[kind]
    params = {"0.weight": ROWS, "0.bias": ROWS[0]}

    def kept(name: str, value: Any) -> Any:
        if name == "step":
            return np.array(7.0)
        return 0.1 * value if name == "grad_avg" else np.abs(value) + 1  # below the root of the squares

    state = {name: {own: kept(name, value) for own, value in params.items()} for name in names}
    optimizer = Spec(kind, options)
    case = Case("resumed", params=params, grads=(params,), optimizer=optimizer, optimizer_state=state, steps=2).astype(
        IN
    )
    got, expected = subjects.load(subject).run(case), subjects.load("torch").run(case)
    anew = subjects.load("torch").run(replace(case, optimizer_state={}))
    for key in (Key(step, "0", f"param.{own}") for step in range(2) for own in ("weight", "bias")):
        np.testing.assert_allclose(got.arrays[key], expected.arrays[key], 1e-4, 1e-5, err_msg=str(key))
        assert not np.allclose(anew.arrays[key], expected.arrays[key], 1e-3)


def test_a_type_that_numpy_lacks_reaches_mlx_and_comes_back() -> None:
    """bfloat16 goes through float32, which loses nothing of it."""
    case = of("ReLU", ROWS, dtype="bfloat16").astype("bfloat16")
    output = subjects.load("mlx").run(case).arrays[Key(0, "0", "output")]
    assert output.dtype.name == "bfloat16" and np.array_equal(output, np.maximum(case.inputs[0], 0))
