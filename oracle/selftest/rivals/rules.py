"""The rules as their tools define them, with the defining file and the part of a step that the tool looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oracle.case.arrays import Array

GRADCHECK = "torch.autograd.gradcheck"
OUTPUT, GRADIENT, UPDATE = "output", "gradient", "update"
ALL = frozenset({OUTPUT, GRADIENT, UPDATE})
BACKWARD = frozenset({OUTPUT, GRADIENT})
FORWARD = frozenset({OUTPUT})


class ThreeArrays(NamedTuple):
    """A subject's array, torch's array in the same dtype (`eager`), and torch's array in float64 (`exact`)."""

    kind: str
    step: int
    got: Array | None
    eager: Array
    exact: Array


Accepts = Callable[[ThreeArrays], bool]


@dataclass(frozen=True)
class Rule:
    """A tool's rule.

    Attributes:
        source: repository and file.
        looks_at: kinds of quantities that it compares.
        accepts: whether it takes two arrays of the same shape and dtype as equal.
        steps: number of steps whose results it compares; None stands for all.
        dtypes: dtypes in which it applies; a rule that needs a wider dtype does not apply to float64.
    """

    name: str
    source: str
    looks_at: frozenset[str]
    accepts: Accepts
    steps: int | None = 1
    dtypes: tuple[str, ...] = ("float64", "float32", "bfloat16")

    def catches(self, comparisons: Iterable[ThreeArrays]) -> bool:
        """Whether the rule refuses an array that it looks at. A missing array or another shape or dtype is refused."""
        for own in comparisons:
            if own.kind not in self.looks_at or (self.steps is not None and own.step >= self.steps):
                continue
            if own.got is None or own.got.shape != own.eager.shape or own.got.dtype != own.eager.dtype:
                return True
            with np.errstate(all="ignore"):
                if not self.accepts(own):
                    return True
        return False


def wide(array: Array) -> Array:
    return np.asarray(array, np.float64)


def within(rtol: float, atol: float, equal_nan: bool = False) -> Accepts:
    return lambda own: bool(np.allclose(wide(own.got), wide(own.eager), rtol, atol, equal_nan=equal_nan))  # type: ignore[arg-type]


def _by_dtype(tolerances: dict[str, tuple[float, float]]) -> Accepts:
    return lambda own: within(*tolerances[own.eager.dtype.name], equal_nan=True)(own)


def _rms(a: Array, b: Array) -> float:
    return float(np.sqrt(np.mean((wide(a) - wide(b)) ** 2))) if a.size else 0.0


def same(tolerance: float) -> Accepts:
    """dynamo's rule: the arrays are close, or the RMS error is at most twice eager's.

    The factor is 3 for fewer than 1000 elements and for bfloat16. In float64 only closeness counts.
    """

    def accepts(own: ThreeArrays) -> bool:
        assert own.got is not None
        if within(tolerance, tolerance, equal_nan=True)(own):
            return True
        factor = 3.0 if own.eager.size < 1000 or own.eager.dtype.name == "bfloat16" else 2.0
        if own.eager.dtype == np.float64:
            return False
        return _rms(own.exact, own.got) <= factor * _rms(own.exact, own.eager) + tolerance / 10

    return accepts


def cosine(tolerance: float) -> Accepts:
    def accepts(own: ThreeArrays) -> bool:
        if within(tolerance, tolerance, equal_nan=True)(own):
            return True
        a, b = wide(own.got).ravel(), wide(own.eager).ravel()  # type: ignore[arg-type]
        return bool(a @ b >= 0.99 * max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))

    return accepts


def largest(output: float, gradient: float) -> Accepts:
    """FlashAttention's rule: the largest error is at most this multiple of eager's in the same dtype."""

    def accepts(own: ThreeArrays) -> bool:
        assert own.got is not None
        if not own.got.size:
            return True
        factor = output if own.kind == OUTPUT else gradient
        error, honest = (float(np.max(np.abs(wide(a) - wide(own.exact)))) for a in (own.got, own.eager))
        return bool(error <= factor * honest)

    return accepts


def rms_ratio(factor: float) -> Accepts:
    return lambda own: own.got is not None and _rms(own.exact, own.got) <= factor * _rms(own.exact, own.eager)


NARROW = ("float32", "bfloat16")
ASSERT_CLOSE = {"float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5), "bfloat16": (1.6e-2, 1e-5)}
KERNELBENCH = {"float64": (1e-4, 1e-4), "float32": (1e-4, 1e-4), "bfloat16": (1e-2, 1e-2)}

RULES = (
    Rule(
        "torch.testing.assert_close",
        "pytorch/pytorch: torch/testing/_comparison.py",
        ALL,
        _by_dtype(ASSERT_CLOSE),
        steps=None,
    ),
    Rule(
        "torch.allclose (1e-5, 1e-8)",
        "pytorch/pytorch: torch/_torch_docs.py",
        ALL,
        within(1e-5, 1e-8, equal_nan=True),
        steps=None,
    ),
    Rule(
        "gradcheck's tolerances (1e-3, 1e-5)",
        "pytorch/pytorch: torch/autograd/gradcheck.py",
        frozenset({GRADIENT}),
        within(1e-3, 1e-5),
    ),
    Rule(
        "dynamo same() (1e-3, or 2 to 3 × eager's RMS error)",
        "pytorch/pytorch: torch/_dynamo/utils.py",
        ALL,
        same(1e-3),
    ),
    Rule("dynamo same() by cosine ≥ 0.99", "pytorch/pytorch: torch/_dynamo/utils.py", ALL, cosine(1e-4)),
    Rule(
        "KernelBench (1e-4, in 16 bits 1e-2)",
        "ScalingIntelligence/KernelBench: src/kernelbench/eval.py",
        FORWARD,
        _by_dtype(KERNELBENCH),
    ),
    Rule(
        "robust-kbench (1e-5)",
        "SakanaAI/robust-kbench: robust_kbench/primitives/backward/cuda_correct.py",
        BACKWARD,
        within(1e-5, 1e-5),
    ),
    Rule(
        "BackendBench (1e-2)",
        "meta-pytorch/BackendBench: BackendBench/eval.py",
        BACKWARD,
        within(1e-2, 1e-2, equal_nan=True),
    ),
    Rule(
        "FlashInfer-Bench (1e-2)",
        "flashinfer-ai/flashinfer-bench: flashinfer_bench/bench/config.py",
        FORWARD,
        within(1e-2, 1e-2),
    ),
    Rule("Helion (1e-2, 1e-1)", "pytorch/helion: helion/_testing.py", BACKWARD, within(1e-2, 1e-1, equal_nan=True)),
    Rule(
        "ONNX backend tests (1e-3, 1e-7)",
        "onnx/onnx: onnx/backend/test/loader/__init__.py",
        FORWARD,
        within(1e-3, 1e-7, equal_nan=True),
    ),
    Rule(
        "StableHLO (0, 1e-4)",
        "openxla/stablehlo: stablehlo/tests/CheckOps.td",
        FORWARD,
        within(0, 1e-4, equal_nan=True),
    ),
    Rule("NNSmith (1e-2, 1e-3)", "ise-uiuc/nnsmith: nnsmith/difftest.py", FORWARD, within(1e-2, 1e-3)),
    Rule(
        "FlashAttention (2 × eager's error, 3 × for gradients)",
        "Dao-AILab/flash-attention: tests/test_flash_attn.py",
        BACKWARD,
        largest(2, 3),
        dtypes=NARROW,
    ),
    Rule("2 × eager's RMS error", "same(), above, without its tolerance", ALL, rms_ratio(2), dtypes=NARROW),
)
# Candidates for the best fixed tolerance, which is the smallest that accuses no legal implementation.
FIXED = tuple(m * 10.0**-e for e in range(15, 0, -1) for m in (1, 3))


def fixed(tolerance: float) -> Rule:
    return Rule(f"rtol = atol = {tolerance:g}", "", ALL, within(tolerance, tolerance, equal_nan=True), steps=None)
