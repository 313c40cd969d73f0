"""How torch's kernels compute 16-bit numbers."""

from __future__ import annotations

from oracle.judging.kernels import Kernels

# Found by comparing torch's kernels with the usual way; tests/oracle/modules/test_kernels.py repeats the comparison.
OVERLAPPING = ("MaxPool", "AdaptiveMaxPool", "AvgPool", "AdaptiveAvgPool", "LPPool")
BY_CLASS: dict[str, Kernels] = {
    # If the rows are not contiguous, the product is stored before the bias is added.
    "Linear": Kernels(by_place=("output",)),
    "LayerNorm": Kernels(in_16_bits=("grad.*",), inside=("output",)),
    "GroupNorm": Kernels(inside=("output",)),
    **dict.fromkeys(("Softmax", "Softmin", "Softmax2d", "LogSoftmax"), Kernels(inside=("output",))),
    **dict.fromkeys(("GELU", "SiLU", "Mish"), Kernels(inside=("output", "grad_input"))),
    "LocalResponseNorm": Kernels(in_16_bits=("grad_input",)),
}
for rank in ("1d", "2d", "3d"):
    # Where oneDNN has no 16-bit instructions: aten/src/ATen/native/ConvolutionMM2d.cpp and its like.
    # With a dilation the bias is added up in the same way: NaiveDilatedConvolution.cpp.
    BY_CLASS[f"Conv{rank}"] = Kernels(by_sample=("grad.weight", "grad.bias"), by_place=("grad_input",))
    BY_CLASS[f"ConvTranspose{rank}"] = Kernels(by_sample=("grad.weight",), by_place=("output",))
    # The two products of a running mean are stored before they are added; those of a variance do not cancel.
    BY_CLASS[f"BatchNorm{rank}"] = Kernels(inside=("output", "buffer.running_var", "grad.weight"))
    BY_CLASS[f"InstanceNorm{rank}"] = Kernels(
        inside=("output", "buffer.running_var", "grad.*"),
        by_sample=("grad.*",),  # torch repeats the parameters for each sample
    )
    for name in OVERLAPPING:
        BY_CLASS[f"{name}{rank}"] = Kernels(in_16_bits=("grad_input",))
VERIFIED = ("cpu",)


def kernels_of(kind: str, device: str) -> Kernels | None:
    """How a class of layers or losses is computed on this kind of device; None if that was not measured."""
    return BY_CLASS.get(kind, Kernels()) if device in VERIFIED else None
