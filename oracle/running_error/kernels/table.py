"""The entries of the tables. A source is a path below aten/src/ATen/native, unless it begins with another folder of torch's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Kernels:
    """Patterns of the quantities of a layer or loss that are not computed in the usual way, which adds up sums in float32, and
    rounds every result of an operation to 16 bits.

    Attributes:
        in_16_bits: those whose sums are added up in 16 bits.
        inside: those computed in float32 and rounded once.
        by_sample: those added up in float32 within a sample, and in 16 bits from sample to sample.
        by_place: those added up in float32 at a place in a convolution's window, stored, and in 16 bits from place to place and
            to the bias; a linear layer has one place. A padding that repeats elements is a step of its own before.
        by_slices: those added up in float32 within a few slices of the sum, which are stored, and in 16 bits from slice to slice.
        source: the files that say so.
    """

    in_16_bits: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    by_sample: tuple[str, ...] = ()
    by_place: tuple[str, ...] = ()
    by_slices: tuple[str, ...] = ()
    source: str = ""


class Sliced(NamedTuple):
    """An operation whose sums are added up in float32 within a few slices, which are stored, and in 16 bits from slice to slice.

    Attributes:
        source: the file that says so.
        output: whether its output is such a sum.
        first: the first argument whose gradient is one, as those of all later arguments are.
    """

    source: str
    output: bool = True
    first: int = 0


@dataclass(frozen=True)
class Operations:
    """The operations that are not computed in the usual way, which computes in float32 and rounds the result once, with the files
    that say so.

    Attributes:
        in_16_bits: those that add up in 16 bits, in the forward pass or for a gradient.
        gradients_in_16_bits: those that add up only gradients in 16 bits.
        step_by_step: those that round each step to 16 bits: a composition of several calls, or a kernel written in the dtype of
            its operands.
        outputs_step_by_step: those that do so for their results alone.
        by_slices: those that add up in slices.
    """

    in_16_bits: Mapping[str, str] = field(default_factory=dict)
    gradients_in_16_bits: Mapping[str, str] = field(default_factory=dict)
    step_by_step: Mapping[str, str] = field(default_factory=dict)
    outputs_step_by_step: Mapping[str, str] = field(default_factory=dict)
    by_slices: Mapping[str, Sliced] = field(default_factory=dict)
