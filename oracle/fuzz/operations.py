"""The lines of random programs: expressions of torch, and statements that write in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch


class Unfit(Exception):
    """No value fits the operation."""


class Values:
    """The values that a line may use, by name. Later ones are taken more often."""

    def __init__(self, rng: np.random.Generator, held: dict[str, torch.Tensor]) -> None:
        self.rng, self.held = rng, held

    def one(self, fits: Callable[[torch.Tensor], bool] = lambda own: True) -> str:
        """Raises: Unfit."""
        names = [name for name, own in self.held.items() if own.numel() and fits(own)]
        if not names:
            raise Unfit
        place = int(self.rng.geometric(0.5)) if self.rng.random() < 0.85 else int(self.rng.integers(len(names))) + 1
        return names[-min(place, len(names))]

    def beside(self, x: str, within: bool = False) -> str:
        """A value that broadcasts with x; `within`, to the shape of x. Raises: Unfit."""
        shape = tuple(self.held[x].shape)

        def fits(own: torch.Tensor) -> bool:
            try:
                made = np.broadcast_shapes(tuple(own.shape), shape)
            except ValueError:
                return False
            return made == shape if within else math.prod(made) <= 600

        return self.one(fits)

    def axis(self, x: str) -> int:
        """Raises: Unfit for a number."""
        if not self.held[x].dim():
            raise Unfit
        return int(self.rng.integers(self.held[x].dim()))

    def size(self, x: str, axis: int) -> int:
        return self.held[x].shape[axis]


Line: TypeAlias = Callable[[Values], str]


def _of_one(text: str, least: int = 0) -> Line:
    return lambda own: text.format(x=own.one(lambda value: value.dim() >= least))


def _of_two(text: str) -> Line:
    def line(own: Values) -> str:
        x = own.one()
        return text.format(x=x, y=own.beside(x))

    return line


def _along(text: str) -> Line:
    def line(own: Values) -> str:
        x = own.one(lambda value: value.dim() >= 1)
        return text.format(x=x, dim=own.axis(x))

    return line


def _variance(text: str) -> Line:
    """Along a dimension of several numbers."""

    def line(own: Values) -> str:
        x = own.one(lambda value: value.dim() >= 1 and max(value.shape) > 1)
        return text.format(x=x, dim=int(np.argmax(own.held[x].shape)))

    return line


def _indexed(text: str) -> Line:
    """Some indices along a dimension, of which some stand twice."""

    def line(own: Values) -> str:
        x = own.one(lambda value: value.dim() >= 1)
        dim = own.axis(x)
        places = own.rng.integers(0, own.size(x, dim), 3).tolist()
        return text.format(x=x, dim=dim, places=places)

    return line


def _product(own: Values) -> str:
    x = own.one(lambda value: value.dim() >= 2)
    inner = own.size(x, -1)
    names = [name for name, value in own.held.items() if value.dim() == 2 and value.shape[0] == inner]
    return f"{x} @ {own.rng.choice(names)}" if names else f"{x} @ {x}.transpose(-1, -2)"


def _contraction(own: Values) -> str:
    x = own.one(lambda value: value.dim() >= 1)
    y = own.one(lambda value: value.shape == own.held[x].shape)
    return f"torch.einsum('...i,...i->...', {x}, {y})"


def _joined(text: str) -> Line:
    def line(own: Values) -> str:
        x = own.one(lambda value: value.dim() >= 1)
        y = own.one(lambda value: value.shape == own.held[x].shape)
        return text.format(x=x, y=y, dim=own.axis(x))

    return line


def _written(text: str) -> Line:
    """A statement: a computed value is overwritten with another that fits into it."""

    def line(own: Values) -> str:
        computed = Values(own.rng, {name: value for name, value in own.held.items() if name.startswith("v")})
        x = computed.one(lambda value: value.dim() >= 1)
        return text.format(x=x, y=own.beside(x, within=True))

    return line


F = "torch.nn.functional"
EXPRESSIONS: dict[str, Line] = {
    **{name: _of_two(f"{{x}} {name} {{y}}") for name in ("+", "-", "*")},
    "/": _of_two("{x} / ({y}.abs() + 0.5)"),
    "addcmul": _of_two("torch.addcmul({x}, {y}, {x}, value=0.3)"),
    "lerp": _of_two("torch.lerp({x}, {y} + torch.zeros_like({x}), 0.3)"),
    "maximum": _of_two("torch.maximum({x}, {y})"),
    "minimum": _of_two("torch.minimum({x}, {y} * 0.7)"),
    "logaddexp": _of_two("torch.logaddexp({x}, {y})"),
    "atan2": _of_two("torch.atan2({x}, {y}.abs() + 0.5)"),
    "where": _of_two("torch.where({x} > {y}, {x} * 2, {y})"),
    "affine": _of_one("{x} * 0.37 + 1.3"),
    "rsub": _of_one("1.7 - {x}"),
    "square": _of_one("{x} ** 2"),
    "power": _of_one("({x}.abs() + 0.3) ** 1.7"),
    "sqrt": _of_one("torch.sqrt({x}.abs() + 0.1)"),
    "rsqrt": _of_one("torch.rsqrt({x}.abs() + 0.5)"),
    "exp": _of_one("torch.exp({x}.clamp(-3, 3))"),
    "log": _of_one("torch.log({x}.abs() + 0.5)"),
    "log1p": _of_one("torch.log1p({x}.abs())"),
    **{name: _of_one(f"torch.{name}({{x}})") for name in ("sin", "cos", "atan", "erf", "tanh", "sigmoid", "abs")},
    **{
        name: _of_one(f"{F}.{name}({{x}})") for name in ("relu", "gelu", "silu", "softplus", "elu", "hardswish", "mish")
    },
    "leaky_relu": _of_one(f"{F}.leaky_relu({{x}}, -0.3)"),
    "clamp": _of_one("{x}.clamp(-0.8, 0.9)"),
    **{name: _along(f"{{x}}.{name}(dim={{dim}}, keepdim=True)") for name in ("sum", "mean", "amax", "logsumexp")},
    "sum of all": _of_one("{x}.sum()"),
    "mean over": _along("{x}.mean({dim})"),
    "var": _variance("{x}.var(dim={dim}, keepdim=True)"),
    "std": _variance("torch.std({x} * torch.linspace(0.5, 2, {x}.numel(), dtype={x}.dtype).reshape({x}.shape), {dim})"),
    "max": _along("{x}.max(dim={dim}).values"),
    "sort": _along("{x}.sort(dim={dim}).values"),
    "cumsum": _along("{x}.cumsum({dim})"),
    "vector norm": _along("torch.linalg.vector_norm({x} + 0.3, dim={dim}, keepdim=True)"),
    "softmax": _along("{x}.softmax({dim})"),
    "log_softmax": _along("{x}.log_softmax({dim})"),
    "normalize": _along(f"{F}.normalize({{x}} + 0.2, dim={{dim}})"),
    "layer_norm": _of_one(f"{F}.layer_norm({{x}}, {{x}}.shape[-1:])", 2),
    "rms_norm": _of_one(f"{F}.rms_norm({{x}}, {{x}}.shape[-1:])", 1),
    "matmul": _product,
    "linear": _of_one(f"{F}.linear({{x}}, {{x}}.reshape(-1, {{x}}.shape[-1])[:3])", 2),
    "einsum": _contraction,
    "attention": _of_one(f"{F}.scaled_dot_product_attention({{x}}[None], {{x}}[None], {{x}}[None])[0]", 3),
    "transpose": _of_one("{x}.transpose(0, -1)", 1),
    "reshape": _of_one("{x}.reshape(-1, {x}.shape[-1])", 1),
    "flatten": _of_one("{x}.flatten()", 2),
    "unsqueeze": _along("{x}.unsqueeze({dim})"),
    "expand": _of_one("{x}.unsqueeze(0).expand(2, *{x}.shape)"),
    "rest": _of_one("{x}[1:]", 1),
    "every second": _of_one("{x}[..., ::2]", 1),
    "first": _of_one("{x}[0]", 1),
    "flip": _along("{x}.flip({dim})"),
    "roll": _along("{x}.roll(1, {dim})"),
    "chunk": _along("{x}.chunk(2, {dim})[-1]"),
    "diagonal": _of_one("{x}.diagonal()", 2),
    "contiguous": _of_one("{x}.transpose(0, -1).contiguous()", 2),
    "index": _indexed("{x}.index_select({dim}, torch.tensor({places}))"),
    "fancy index": _indexed("{x}.transpose(0, {dim})[{places}]"),
    "masked_fill": _of_one("{x}.masked_fill({x} > 0.4, 0.25)"),
    "gather": _along("{x}.gather({dim}, {x}.argsort({dim}))"),
    "index_add": _indexed(
        "{x}.index_add({dim}, (i := torch.tensor({places})), {x}.flip({dim}).index_select({dim}, i))"
    ),
    "cat": _joined("torch.cat([{x}, {y}], {dim})"),
    "stack": _joined("torch.stack([{x}, {y}], {dim})"),
    "tril": _of_one("{x}.tril()", 2),
    "pad": _of_one(f"{F}.pad({{x}}, (1, 2))", 1),
}
STATEMENTS: dict[str, Line] = {
    "mul_": _written("{x}.mul_({y})"),
    "add_": _written("{x}.add_({y}, alpha=0.5)"),
    "copy_": _written("{x}[:1] = {y} if {y}.dim() < {x}.dim() else {y}[:1]"),
    "rows": _written("{x}[1:] *= 0.7"),
    "column": _written("{x}[..., 0] += 1.5"),
    "through a view": _written("{x}.transpose(0, -1).mul_(0.5)"),
    "clamp_": _written("{x}.clamp_(-0.9, 0.9)"),
    "sigmoid_": _written("{x}.sigmoid_()"),
    "fill": _written("{x}.masked_fill_({x} > 0.5, 0.25)"),
    "zero": _written("{x}[..., -1] = 0"),
}
OPERATIONS: dict[str, Line] = {**EXPRESSIONS, **STATEMENTS}
