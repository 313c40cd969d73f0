"""Ordinary programs, drawn at random: small networks, data and losses. torch runs them, so none may be accused.

The seed determines the whole program: network, data, loss, batch size, precision, optimizer, and whether the network is
trained beforehand, so that its gradients become small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator

from oracle.judging.rows import DISCREPANCIES, LOOSE, UNDECIDED
from oracle.running_error import LAMBDA

# torch is imported only where a program is made, because code that reads results does not need it.
Module: TypeAlias = Any
Tensor: TypeAlias = Any

CLASSES, FEATURES, CHANNELS = 10, 20, 3
# Most elements of an input, so that a program takes a fraction of a second.
NUMBERS = 60_000
TRAINED = 150
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Program:
    """A kind of network.

    Attributes:
        shape: draws the shape of one sample.
        output: maps it to the shape of the output for one sample.
        build: makes the layers of the network.
    """

    shape: Callable[[Generator], tuple[int, ...]]
    output: Callable[[tuple[int, ...]], tuple[int, ...]]
    build: Callable[[Any, tuple[int, ...]], list[Module]]


def flat(rng: Generator) -> tuple[int, ...]:
    return (FEATURES,)


def image(rng: Generator) -> tuple[int, ...]:
    size = int(rng.choice([8, 12, 16, 32]))
    return (CHANNELS, size, size)


def signal(rng: Generator) -> tuple[int, ...]:
    return (CHANNELS, int(rng.choice([16, 64, 200])))


def scores(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (CLASSES,)


def same(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


def per_position(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (CLASSES, *shape[1:])


def mlp(activation: str, norm: str = "", depth: int = 2, width: int = 32) -> Program:
    def build(nn: Any, shape: tuple[int, ...]) -> list[Module]:
        layers: list[Module] = []
        for index in range(depth):
            layers += [nn.Linear(shape[0] if index == 0 else width, width)]
            layers += [getattr(nn, norm)(width)] if norm else []
            layers += [getattr(nn, activation)()]
        return [*layers, nn.Linear(width if depth else shape[0], CLASSES)]

    return Program(flat, scores, build)


def cnn(norm: str = "", pool: str = "MaxPool2d", stride: int = 1, groups: int = 1, head: str = "mean") -> Program:
    def build(nn: Any, shape: tuple[int, ...]) -> list[Module]:
        def normed() -> list[Module]:
            made = nn.GroupNorm(2, 8) if norm == "GroupNorm" else getattr(nn, norm)(8) if norm else None
            return [made] if made is not None else []

        layers = [nn.Conv2d(CHANNELS, 8, 3, stride=stride, padding=1), *normed(), nn.ReLU()]
        layers += [getattr(nn, pool)(2)] if pool else []
        layers += [nn.Conv2d(8, 8, 3, padding=1, groups=groups), *normed(), nn.ReLU()]
        side = shape[1] // stride // (2 if pool else 1)
        last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)]
        return layers + (last if head == "mean" else [nn.Flatten(), nn.Linear(8 * side * side, CLASSES)])

    return Program(image, scores, build)


PROGRAMS = {
    "logistic regression": mlp("ReLU", depth=0),
    "mlp": mlp("ReLU"),
    "deep mlp": mlp("ReLU", depth=8),
    "tanh mlp": mlp("Tanh"),
    "sigmoid mlp": mlp("Sigmoid", depth=3),
    "gelu mlp": mlp("GELU", width=64),
    "elu mlp": mlp("ELU"),
    "silu mlp": mlp("SiLU"),
    "softplus mlp": mlp("Softplus"),
    "mlp with batch norm": mlp("ReLU", "BatchNorm1d"),
    "mlp with layer norm": mlp("ReLU", "LayerNorm"),
    "wide mlp": mlp("LeakyReLU", width=256),
    "cnn": cnn(),
    "cnn without pooling": cnn(pool=""),
    "flattened cnn": cnn(head="flat"),
    "cnn with average pooling": cnn(pool="AvgPool2d"),
    "cnn with batch norm": cnn("BatchNorm2d"),
    "cnn with group norm": cnn("GroupNorm"),
    "cnn with instance norm": cnn("InstanceNorm2d"),
    "strided cnn": cnn(stride=2, pool=""),
    "depthwise cnn": cnn("BatchNorm2d", groups=8),
    "signals": Program(
        signal,
        scores,
        lambda nn, shape: [
            nn.Conv1d(CHANNELS, 8, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(8, 8, 3, dilation=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, CLASSES),
        ],
    ),
    "autoencoder": Program(
        flat,
        same,
        lambda nn, shape: [nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, FEATURES)],
    ),
    "convolutional autoencoder": Program(
        image,
        same,
        lambda nn, shape: [
            nn.Conv2d(CHANNELS, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 8, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, CHANNELS, 1),
        ],
    ),
    "segmenter": Program(
        image,
        per_position,
        lambda nn, shape: [
            nn.Conv2d(CHANNELS, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(8, CLASSES, 1),
        ],
    ),
    "mlp with dropout": Program(
        flat,
        scores,
        lambda nn, shape: [nn.Linear(FEATURES, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, CLASSES)],
    ),
}


def smooth(rng: Generator, shape: tuple[int, ...]) -> Any:
    """A sine along the last dimension, with a random phase for each sample."""
    phase = rng.uniform(0, 6, (shape[0], *[1] * (len(shape) - 1)))
    return np.sin(np.linspace(0, 3, shape[-1]) + phase) + np.zeros(shape)


def one_hot(rng: Generator, shape: tuple[int, ...]) -> Any:
    return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]


DATA: dict[str, Callable[[Generator, tuple[int, ...]], Any]] = {
    "uniform": lambda rng, shape: rng.uniform(0, 1, shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.uniform(0, 1, shape) < 0.1),
    "constant": lambda rng, shape: np.full(shape, float(rng.choice([1.0, 0.7, 77.7]))),
    "bytes": lambda rng, shape: rng.integers(0, 256, shape).astype(float),
    "scaled bytes": lambda rng, shape: rng.integers(0, 256, shape) / 255,
    "smooth": smooth,
    "one-hot": one_hot,
    "tiny": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-12, -3),
    "large": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(2, 6),
    "sorted": lambda rng, shape: np.sort(rng.uniform(-1, 1, shape), axis=0),
}

# The targets of each loss. "probabilities" and "log probabilities" also describe its input: the network then ends in a
# sigmoid or a log-softmax.
LOSSES = {
    "CrossEntropyLoss": "classes",
    "NLLLoss": "log probabilities, classes",
    "MSELoss": "numbers",
    "L1Loss": "numbers",
    "SmoothL1Loss": "numbers",
    "HuberLoss": "numbers",
    "BCELoss": "probabilities",
    "BCEWithLogitsLoss": "bits",
    "KLDivLoss": "log probabilities, distribution",
    "PoissonNLLLoss": "positive",
    "SoftMarginLoss": "signs",
    "HingeEmbeddingLoss": "signs",
    "MultiMarginLoss": "classes",
    "MultiLabelSoftMarginLoss": "bits",
}
ONE_ROW = ("MultiMarginLoss", "MultiLabelSoftMarginLoss")  # take one row of scores per sample


def targets(rng: Generator, kind: str, shape: tuple[int, ...]) -> Any:
    """Random targets of this kind for an output of this shape."""
    if "classes" in kind:
        return rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if kind == "signs":
        return rng.choice([-1.0, 1.0], shape)
    if kind == "bits" or (kind == "probabilities" and rng.integers(2)):
        return rng.integers(0, 2, shape).astype(float)
    if "distribution" in kind:
        parts = rng.uniform(0.1, 1, shape)
        return parts / parts.sum(1, keepdims=True)
    if kind == "positive":
        return rng.integers(0, 6, shape).astype(float)
    return rng.uniform(0, 1, shape)


@dataclass(frozen=True)
class Drawn:
    """A program that is ready to run; `name` describes it in words."""

    name: str
    dtype: str
    module: Module
    x: Tensor
    loss: Module
    target: Tensor
    optimizer: Any


def draw(seed: int) -> Drawn:
    """The program of a seed. The state of torch's own random generator is left unchanged."""
    import torch

    rng = np.random.default_rng([seed, 2**20])
    kind = list(PROGRAMS)[seed % len(PROGRAMS)]
    program, data = PROGRAMS[kind], list(DATA)[int(rng.integers(len(DATA)))]
    dtype, shape = DTYPES[int(rng.integers(2))], program.shape(rng)
    least = 2 if data != "one-hot" else 3
    most = max(least, min(5000, NUMBERS // math.prod(shape)))
    n = int(np.clip(round(math.exp(rng.uniform(0, math.log(most)))), least if "norm" in kind else 1, most))
    output = (n, *program.output(shape))
    fitting = [name for name in LOSSES if not (name in ONE_ROW and len(output) > 2)]
    loss = fitting[int(rng.integers(len(fitting)))]
    trained, updated = bool(rng.integers(2)), int(rng.integers(3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = program.build(torch.nn, shape)
        takes = LOSSES[loss]
        layers += (
            [torch.nn.LogSoftmax(1)] if "log" in takes else [torch.nn.Sigmoid()] if takes == "probabilities" else []
        )
        module = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
        x = torch.from_numpy(DATA[data](rng, (n, *shape))).to(getattr(torch, dtype))
        target = torch.from_numpy(np.asarray(targets(rng, takes, output)))
        target = target if target.dtype == torch.int64 else target.to(x.dtype)
        criterion = getattr(torch.nn, loss)(**{"reduction": "batchmean"} if loss == "KLDivLoss" else {})
        with torch.no_grad():  # exp of large scores is infinite, and so is what follows from it
            if not torch.isfinite(criterion(module(x), target)):
                x = x / x.abs().max()
        if trained:
            train(module, x, criterion, target, rng)
    optimizer = None
    if updated:
        parameters = module.parameters()
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9) if updated == 1 else torch.optim.Adam(parameters)
    name = f"{kind}, {data}, {loss}, {n} samples of {'x'.join(map(str, shape))}{', trained' if trained else ''}"
    return Drawn(name, dtype, module, x, criterion, target, optimizer)


def train(module: Module, x: Tensor, criterion: Module, target: Tensor, rng: Generator) -> None:
    """Trains with Adam for at most 150 steps. A step that makes the state infinite or NaN is undone and ends it."""
    import torch

    rate = 10.0 ** rng.uniform(-3, -1)
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    for _ in range(min(TRAINED, 10 + 10**6 // max(x.numel(), 1))):
        kept = {name: value.clone() for name, value in module.state_dict().items()}
        optimizer.zero_grad()
        value = criterion(module(x), target)
        value.backward()
        optimizer.step()
        if not all(bool(torch.isfinite(own).all()) for own in module.state_dict().values()):
            module.load_state_dict(kept)
            break
    module.zero_grad()


@dataclass(frozen=True)
class Ordinary:
    """The result for an ordinary program.

    Attributes:
        elements: number of judged elements.
        accused: describes the first row that calls something wrong; empty if none does.
        undecided: share of the rows that are undecided.
        z_max: largest z of all elements.
        width: median over the rows of tolerance / largest error; NaN if no row has a rounding error.
    """

    seed: int
    program: str
    dtype: str
    elements: int
    accused: str
    undecided: float
    z_max: float
    width: float


def ordinary(seed: int) -> Ordinary:
    """Draws the program of a seed and judges it."""
    import torch

    from oracle.modules.check import check_module

    drawn = draw(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        table = check_module(drawn.module, drawn.x, drawn.loss, drawn.target, drawn.optimizer).table
    rows = table[table["n"] > 0]
    wrong = rows[rows["verdict"].isin([*DISCREPANCIES, LOOSE])]
    rounded = rows["z_max"][(rows["z_max"] > 0) & np.isfinite(rows["z_max"])]
    accused = ""
    if len(wrong):
        row = wrong.iloc[0]
        accused = f"{row['layer']} ({row['layer_type']}) {row['quantity']} {row['verdict']}, z = {row['z_max']:.3g}"
    return Ordinary(
        seed,
        drawn.name,
        drawn.dtype,
        elements=int(rows["n"].sum()),
        accused=accused,
        undecided=float((rows["verdict"] == UNDECIDED).mean()),
        z_max=float(rounded.max()) if len(rounded) else 0.0,
        width=float((LAMBDA / rounded).median()) if len(rounded) else math.nan,
    )
