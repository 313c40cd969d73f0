"""A bug in a 16-bit kernel, and its result. `check_module` must find it of the right kind, and must not accuse its twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

import oracle
from oracle.judging.rows import DISCREPANCIES, IMPRECISE, WRONG
from oracle.judging.verdict import INTERMEDIATE
from oracle.running_error import LAMBDA
from oracle.selftest.narrow.kernels import OPS, PRECISIONS, Kernel, Op, in_float32, with_forward, wrong_by_2_percent
from oracle.selftest.plant import attribute

SUMS, FORMULA = "sums in 16 bits", "wrong by 2 %"
# The largest median of tolerance / largest error that is narrow enough.
WIDEST = 15.0


@dataclass(frozen=True)
class NarrowBug:
    """A bug in the output of an operation.

    Attributes:
        op: the operation, a key of `kernels.OPS`.
        precision: one of PRECISIONS.
        kind: SUMS, which has to be `imprecise`, or FORMULA, which has to be `wrong`.
    """

    op: str
    precision: str
    kind: str

    @property
    def name(self) -> str:
        return f"{self.op}, {self.precision}: {self.kind}"


@dataclass(frozen=True)
class Found:
    """The result for a bug.

    Attributes:
        verdict: that of the operation's output; empty if no row has it.
        named: whether the verdict is that of the bug's kind, and sums in 16 bits are named, and nothing else is accused.
        twin: what the report of the kernel in float32 accuses; empty if it passes.
        width: tolerance / largest error of the twin's output; NaN without an error.
    """

    name: str
    op: str
    precision: str
    kind: str
    verdict: str
    named: bool
    twin: str
    width: float


def all_bugs() -> dict[str, NarrowBug]:
    """Every bug by name."""
    bugs = [
        NarrowBug(name, own, kind)
        for own in PRECISIONS
        for name, op in OPS.items()
        if own in op.precisions
        for kind in (SUMS, FORMULA)
    ]
    return {bug.name: bug for bug in bugs}


def found(bug: NarrowBug) -> Found:
    op = OPS[bug.op]
    wrong = _judged(bug, op, op.low if bug.kind == SUMS else wrong_by_2_percent(op))
    right = _judged(bug, op, in_float32(op))
    bad = wrong.table[wrong.table["verdict"].isin(DISCREPANCIES)]
    verdict, said = next(zip(bad["verdict"], bad["diagnosis"], strict=True), ("", ""))
    due = verdict == IMPRECISE and INTERMEDIATE in said if bug.kind == SUMS else verdict == WRONG
    outputs = right.table[right.table["quantity"] == "output"]
    largest = float(outputs["z_max"].max()) if len(outputs) else 0.0
    return Found(
        bug.name,
        bug.op,
        bug.precision,
        bug.kind,
        str(verdict),
        named=due and list(bad["quantity"]) == ["output"],
        twin="" if right.passed else str(next(iter(right.blame), right)),
        width=LAMBDA / largest if largest > 0 else np.nan,
    )


def _judged(bug: NarrowBug, op: Op, forward: Kernel) -> oracle.Report:
    """The report of the module that calls the operation, with this forward in its place."""
    is_mixed = bug.precision == "mixed"
    dtype = torch.bfloat16 if is_mixed else getattr(torch, bug.precision)
    kernel, references = with_forward(op, forward, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, x = op.make(), torch.randn(op.shape)
        if not is_mixed:
            module, x = module.to(dtype), x.to(dtype)
        with attribute(functional, op.real.__name__, kernel), torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            return oracle.check_module(module, x.requires_grad_(), references=references)
