"""Judges torch, torch.compile and a Triton kernel on a GPU: `PYTHONPATH=. python tests/gpu/judge.py --out FILE` writes a table.

Run it from the root of a checkout on a machine that has torch, Triton and oracle's other dependencies. It takes a few minutes.
Each row says what is expected: a kernel that computes in TF32 is `imprecise` for a judge that was told float32, a planted bug
is `wrong`, and everything else conforms. The exit status is 1 if a row differs from that.

In 16 bits layers and operations are judged by the tables in oracle/running_error/kernels; CUDA's were read from torch's sources.
A second table measures which quantities of which layers are not added up in float32, with the verdict by these tables. Nothing is
expected of it: a verdict other than `pass` or `undecided` shows an entry that is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle
from oracle.judging.rows import DISCREPANCIES, IMPRECISE, PASS, UNDECIDED, WRONG
from oracle.report.report import Report
from oracle.selftest.models.language import Gpt, tokens
from tests.oracle.modules.layers_in_16_bits import DTYPES, LAYERS, checked

CONFORMS = "conforms"
SIDE, BATCH, ROWS = 32, 8, 64


@dataclass(frozen=True)
class Judged:
    """A row of the table.

    Attributes:
        expected: the gravest verdict that is due, CONFORMS if nothing is to be blamed.
        found: the one that came.
        undecided: the share of the elements whose tolerance is too wide.
        first: what is blamed first.
    """

    what: str
    precision: str
    expected: str
    found: str
    rows: int
    undecided: float
    z_max: float
    seconds: float
    first: str

    @property
    def is_right(self) -> bool:
        return self.found == self.expected


class Net(nn.Module):
    """Convolutions (one depthwise), batch norm, pooling and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.Conv2d(16, 32, 1),
            nn.GroupNorm(4, 32),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.GELU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))  # type: ignore[no-any-return]


class Autocast(nn.Module):
    """A module that runs under autocast."""

    def __init__(self, inner: nn.Module, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.device, self.dtype = inner, device, dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(self.device, self.dtype):
            return self.inner(*inputs)  # type: ignore[no-any-return]


class Placed(nn.Module):
    """The language model, which makes its positions and its mask on the default device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.inner, self.device = Gpt(), device

    def forward(self, words: Tensor) -> Tensor:
        with torch.device(self.device):
            return self.inner(words)  # type: ignore[no-any-return]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    if not torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def row_of(what: str, precision: str, expected: str, check: Callable[[], Report]) -> Judged:
    start = time.perf_counter()
    try:
        report = check()
    except Exception as error:  # the table goes on
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        return Judged(what, precision, expected, "raised", 0, 0.0, 0.0, time.perf_counter() - start, said)
    table = report.table
    found = next((v for v in (WRONG, "crashed", "missing", IMPRECISE) if (table["verdict"] == v).any()), CONFORMS)
    assert found != CONFORMS or not table["verdict"].isin(DISCREPANCIES).any()
    clean = table[~table["verdict"].isin(DISCREPANCIES)]
    undecided = float(((1 - clean["decided"]) * clean["n"]).sum() / max(1, clean["n"].sum()))
    return Judged(
        what,
        precision,
        expected,
        found,
        len(table),
        undecided,
        float(clean["z_max"][clean["verdict"] == PASS].max()),
        time.perf_counter() - start,
        str(report.blame[0]) if report.blame else f"undecided rows: {int((table['verdict'] == UNDECIDED).sum())}",
    )


def image_net(device: str, layout: torch.memory_format = torch.contiguous_format) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    net = Net().to(device, memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(BATCH, 3, SIDE, SIDE).to(device, memory_format=layout)
    return net, x, (torch.arange(BATCH) % 10).to(device)


def gpt(device: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    words = tokens(4, 2).to(device)
    return Placed(device).to(device), words, words.roll(-1, 1).reshape(-1)


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.reshape(-1, output.shape[-1]).float(), target)


def modules(device: str) -> Iterator[Judged]:
    def judged(
        what: str,
        precision: str,
        net: nn.Module,
        x: Tensor,
        target: Tensor,
        expected: str = CONFORMS,
        allowed: bool = False,
    ) -> Judged:
        def check() -> Report:
            with tf32(allowed):
                return oracle.check_module(net, x, loss_of, target, unjudged="allow")

        return row_of(what, precision, expected, check)

    for name, make in (("convolutional network", image_net), ("GPT of two blocks", gpt)):
        yield judged(name, "float32", *make(device))
        if device == "cuda":
            yield judged(name, "float32, TF32 allowed", *make(device), expected=IMPRECISE, allowed=True)
        for dtype in (torch.bfloat16, torch.float16):
            short = str(dtype).removeprefix("torch.")
            net, x, target = make(device)
            narrow = x.to(dtype) if x.dtype.is_floating_point else x
            yield judged(name, short, net.to(dtype), narrow, target)
            net, x, target = make(device)
            yield judged(name, f"autocast to {short}", Autocast(net, device, dtype), x, target)
        if device == "cuda":
            net, x, target = make(device)
            yield judged(name, "float32, torch.compile", torch.compile(net), x, target)
    yield judged("convolutional network", "float32, channels_last", *image_net(device, torch.channels_last))


def ops(device: str) -> Iterator[Judged]:
    """Single operations on the device, over the suite's cases."""

    def on_device(function: Callable[..., Tensor]) -> Callable[..., Any]:
        return oracle.from_torch(lambda *arrays: function(*(own.to(device) for own in arrays)).cpu())

    functions: dict[str, Callable[..., Tensor]] = {
        "linear": F.linear,
        "conv2d": F.conv2d,
        "conv_transpose2d": F.conv_transpose2d,
        "gelu": F.gelu,
        "softplus": F.softplus,
    }
    for name, function in functions.items():

        def check(name: str = name, function: Callable[..., Tensor] = function) -> Report:
            with tf32(False):
                return oracle.check_op(name, on_device(function), dtypes=("float32",))

        yield row_of(f"check_op of {name}", "float32", CONFORMS, check)


def kernels(device: str) -> Iterator[Judged]:
    """The Triton kernel, and its spoilt twin."""
    if device != "cuda":
        return
    from kernel import EPS, RmsNorm, SpoiltRmsNorm  # beside this script

    def meant(x: Tensor, w: Tensor) -> Tensor:
        return F.rms_norm(x, (w.shape[0],), w, EPS)

    for name, function, expected in (
        ("Triton RMSNorm", RmsNorm, CONFORMS),
        ("Triton RMSNorm with a planted bug", SpoiltRmsNorm, WRONG),
    ):

        def check(function: type[RmsNorm] = function) -> Report:
            own = oracle.from_torch(lambda x, w: function.apply(x.to(device), w.to(device)).cpu())
            return oracle.check_op(meant, own, dtypes=("float32",), x=(64, 1000), w=(1000,))

        yield row_of(name, "float32", expected, check)


def sums(device: str) -> list[dict[str, Any]]:
    """The quantities of layers in 16 bits that exceed the tolerance of sums in float32 which are rounded once, or that of the
    tables of kernels, with the verdict by the tables."""
    found: list[dict[str, Any]] = []
    for name, dtype in product(LAYERS, DTYPES):
        wide = checked(name, dtype, ROWS, oracle.Profile(accumulate="float32"), device).table
        own = checked(name, dtype, ROWS, None, device).table["verdict"]
        beyond = wide["verdict"].isin(DISCREPANCIES) | own.isin(DISCREPANCIES)
        found += [
            {"layer": name, "dtype": str(dtype), "quantity": row.quantity, "z": row.z_max, "by the tables": verdict}
            for row, verdict in zip(wide[beyond].itertuples(), own[beyond], strict=True)
        ]
    return found


def markdown(rows: list[Judged], device: str, seconds: float) -> str:
    where = torch.cuda.get_device_name() if device == "cuda" else "the processor"
    wrong = sum(not own.is_right for own in rows)
    frame = pd.DataFrame([asdict(own) for own in rows])
    frame["undecided"] = [f"{own.undecided:.2%}" for own in rows]
    head = f"# Judged on {where}\n\ntorch {torch.__version__}; {len(rows)} rows in {seconds:.0f} s, {wrong} not as expected.\n"
    return "\n".join([head, *_table(frame), ""])


def _table(frame: pd.DataFrame) -> list[str]:
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + "---|" * len(frame.columns)]
    return lines + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in frame.itertuples(index=False)]


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def main(typed: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge torch on a GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file")
    given = parser.parse_args(typed)
    start, rows = time.perf_counter(), []
    for part in (kernels, modules, ops):
        for own in part(given.device):
            rows.append(own)
            print(f"{own.what}, {own.precision}: {own.found}, {own.seconds:.1f} s; {own.first[:160]}", flush=True)
    text = markdown(rows, given.device, time.perf_counter() - start)
    beyond = pd.DataFrame(sums(given.device), columns=["layer", "dtype", "quantity", "z", "by the tables"])
    text = "\n".join([text, "## Not added up in float32 and rounded once\n", *_table(beyond), ""])
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    return int(not all(own.is_right for own in rows))


if __name__ == "__main__":
    sys.exit(main())
