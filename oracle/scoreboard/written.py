"""The pages under reports/findings about errors of the judged libraries, and where each error appears."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from oracle.blame.blame import Blame
from oracle.judging.known import BOTH


class Written(NamedTuple):
    """A page about an error of a judged library: where the error appears. It does not excuse the error."""

    page: str
    subjects: tuple[str, ...]
    layer_types: tuple[str, ...] = ("*",)
    quantities: tuple[str, ...] = ("*",)
    dtypes: tuple[str, ...] = BOTH
    cases: tuple[str, ...] = ("*",)


# The first that fits counts: what is narrow before what is wide.
ELUS = ("ELU", "CELU", "SELU")
LABELS = ("BCEWithLogitsLoss",), ("grad.target",)
GRAD_INPUT = ("grad_input",)
WRITTEN: tuple[Written, ...] = (
    Written("expm1-gradient", ("jax", "autograd"), ELUS, GRAD_INPUT),
    Written("binary-cross-entropy-labels", ("jax", "tinygrad"), *LABELS),
    Written("binary-cross-entropy-certain", ("mlx", "tinygrad"), ("BCELoss",), cases=("kink/*",)),
    Written("binary-cross-entropy-near-its-label", ("mlx", "tinygrad"), ("BCELoss",), GRAD_INPUT),
    Written("huber-small-errors", ("jax", "mlx"), ("HuberLoss", "SmoothL1Loss"), ("grad_input", "grad.target")),
    Written(
        "adam-correction-float32",
        ("mlx", "tinygrad"),
        quantities=("param.*",),
        cases=("optimizer/Adam*", "usual/Adam*", "network/*adam"),
    ),
    Written(
        "autograd-logaddexp-infinity", ("autograd",), ("Softplus", "LogSigmoid"), GRAD_INPUT, cases=("nonfinite/*",)
    ),
    Written("mygrad-relu-infinity", ("mygrad",), ("ReLU",), cases=("nonfinite/*",)),
    Written("mygrad-dilation", ("mygrad",), ("",), ("",), cases=("conv/Conv?d,dilation=*",)),
    Written("mygrad-elu", ("mygrad",), ELUS, ("output", "grad_input")),
    Written("mygrad-float64", ("mygrad",), dtypes=("float32",)),
    Written("sklearn-several-outputs", ("sklearn",), ("Linear",), cases=("*MSELoss*",)),
    Written(
        "mlx-conv-transpose-output-padding",
        ("mlx",),
        ("ConvTranspose*", ""),
        ("grad_input", ""),
        cases=("*ConvTranspose*output_padding=[12]*", "*ConvTranspose*output_padding_beyond_stride"),
    ),
    Written("mlx-compiled-softmax", ("mlx",), ("",), ("",), cases=("value/Softmax2d,channels=1",)),
    Written("mlx-logaddexp", ("mlx",), ("BCEWithLogitsLoss",), GRAD_INPUT, cases=("value/*",)),
    Written("mlx-equal-sides", ("mlx",), ("CELU", "PReLU"), GRAD_INPUT, cases=("kink/*", "value/PReLU,zeros")),
    Written("mlx-equal-sides", ("mlx",), ("LeakyReLU",), GRAD_INPUT, cases=("nonfinite/*",)),
    Written("mlx-shrink-nan", ("mlx",), ("Hardshrink", "Softshrink"), ("output",), cases=("nonfinite/*",)),
    Written("mlx-hardswish-infinity", ("mlx",), ("Hardswish",), GRAD_INPUT, cases=("nonfinite/*",)),
    Written(
        "mlx-elu",
        ("mlx",),
        ELUS,
        dtypes=("float32",),
        cases=("*,tiny", "nonfinite/*", "mlp/*", "network/*", "layout/*"),
    ),
    Written("mlx-elu", ("mlx",), ELUS, cases=("*,tiny", "nonfinite/*")),
    Written(
        "exp-far-from-zero",
        ("mlx",),
        ("CELU", "Mish", "Sigmoid", "SiLU", "Softplus"),
        dtypes=("float32",),
        cases=("*,large",),
    ),
    Written("mlx-float64", ("mlx",), dtypes=("float64",)),
    Written("tinygrad-erf", ("tinygrad",), ("GELU",)),
    Written(
        "tinygrad-empty-batch", ("tinygrad",), ("",), cases=("batch/GroupNorm,batch=0", "batch/Reflection*,batch=0")
    ),
    Written("tinygrad-float64", ("tinygrad",), ("RMSNorm", "Upsample"), dtypes=("float64",)),
    Written("tinygrad-nan", ("tinygrad",), ("ReLU", "Hardshrink", "Threshold"), ("output",), cases=("nonfinite/*",)),
    Written("tinygrad-dropped-infinity", ("tinygrad",), ("Dropout",), cases=("nonfinite/*",)),
    Written("torch-hardsigmoid-float64", ("tinygrad",), ("Hardsigmoid",), GRAD_INPUT, ("float64",), ("kink/*",)),
    Written("tinygrad-relu6", ("tinygrad",), ("ReLU6", "Hardswish", "Hardsigmoid"), cases=("nonfinite/*", "*,large")),
    Written(
        "exp-far-from-zero", ("tinygrad",), ("Sigmoid", "SiLU", "CrossEntropyLoss"), cases=("*,large", "*,extreme")
    ),
    Written("exp-far-from-zero", ("tinygrad",), ("Softplus",), GRAD_INPUT, cases=("*,large",)),
    Written("tinygrad-logaddexp", ("tinygrad",), ("Softplus", "LogSigmoid")),
    Written("tinygrad-elu", ("tinygrad",), ELUS, GRAD_INPUT, cases=("nonfinite/*", "*,large")),
    Written("tinygrad-elu", ("tinygrad",), ("ELU",), GRAD_INPUT, cases=("*,tiny",)),
    Written("tinygrad-tanh", ("tinygrad",), ("Tanh", "Tanhshrink", "Mish", *ELUS)),
)


def page_of(subject: str, culprit: Blame) -> str:
    """The page under reports/findings about a subject's culprit; empty if there is none."""
    for written in WRITTEN:
        seen = (
            (culprit.layer_type, written.layer_types),
            (culprit.quantity, written.quantities),
            (culprit.dtype, written.dtypes),
            (culprit.case, written.cases),
        )
        fits = all(any(fnmatchcase(value, pattern) for pattern in patterns) for value, patterns in seen)
        if fits and subject in written.subjects:
            return written.page
    return ""
