"""How classes of layers and losses are computed."""

from __future__ import annotations

from oracle.running_error.kernels.table import Kernels

RANKS = ("1d", "2d", "3d")
# Of a loss over images, whose input has more than two dimensions, torch has another kernel: it is looked up by this name.
OF_IMAGES = "{} of images"


def kernels_of(kind: str, device: str) -> Kernels | None:
    """How a class of layers or losses is computed on this kind of device; None if nothing is known of the device."""
    return BY_CLASS[device].get(kind, Kernels()) if device in BY_CLASS else None


def _of_ranks(name: str, kernels: Kernels, ranks: tuple[str, ...] = RANKS) -> dict[str, Kernels]:
    return {f"{name}{rank}": kernels for rank in ranks}


def _gradient_in_16_bits(source: str) -> Kernels:
    return Kernels(in_16_bits=("grad_input",), source=source)


ON_BOTH: dict[str, Kernels] = {
    **dict.fromkeys(
        ("Softmax", "Softmin", "Softmax2d", "LogSoftmax"),
        # A gradient starts from the output as it was stored.
        Kernels(inside=("output",), source="cpu/SoftMaxKernel.cpp, cuda/PersistentSoftmax.cuh"),
    ),
    **{
        name: Kernels(
            inside=("output", "grad_input"), source=f"cpu/Activation.cpp, cuda/Activation{name.title()}Kernel.cu"
        )
        for name in ("GELU", "SiLU", "Mish")
    },
    # It is composed of calls, of which average pooling is one.
    "LocalResponseNorm": _gradient_in_16_bits("cpu/AvgPoolKernel.cpp, cuda/AveragePool3d.cu"),
    # On the CPU where oneDNN has no 16-bit instructions; with a dilation the bias is added up in the same way. With CUDA where
    # cuDNN is not used; cuDNN is told to compute in float32, but its sources are closed.
    **_of_ranks(
        "Conv",
        Kernels(
            by_sample=("grad.weight", "grad.bias"),
            by_place=("grad_input",),
            source="ConvolutionMM2d.cpp, NaiveDilatedConvolution.cpp, cuda/ConvolutionMM2d.cu, cudnn/ConvShared.cpp",
        ),
    ),
    **_of_ranks(
        "ConvTranspose",
        Kernels(
            by_sample=("grad.weight",),
            by_place=("output",),
            source="NaiveConvolutionTranspose2d.cpp, cuda/NaiveConvolutionTranspose2d.cu, cudnn/ConvShared.cpp",
        ),
    ),
    **_of_ranks("MaxPool", _gradient_in_16_bits("cpu/MaxPoolKernel.cpp, cuda/DilatedMaxPool3d.cu"), ("3d",)),
    **_of_ranks("AvgPool", _gradient_in_16_bits("cpu/AvgPoolKernel.cpp, cuda/AveragePool3d.cu"), ("3d",)),
    **_of_ranks("LPPool", _gradient_in_16_bits("cpu/AvgPoolKernel.cpp, cuda/AveragePool3d.cu"), ("3d",)),
    **_of_ranks("AdaptiveMaxPool", _gradient_in_16_bits("cpu/AdaptiveMaxPoolKernel.cpp, cuda/AdaptiveMaxPooling2d.cu")),
    **_of_ranks(
        "AdaptiveAvgPool",
        _gradient_in_16_bits("cpu/AdaptiveAvgPoolKernel.cpp, cuda/AdaptiveAveragePooling.cu"),
        ("1d", "2d"),
    ),
    "AdaptiveAvgPool3d": Kernels(
        in_16_bits=("output", "grad_input"), source="AdaptiveAveragePooling3d.cpp, cuda/AdaptiveAveragePooling3d.cu"
    ),
    **_of_ranks("ReflectionPad", _gradient_in_16_bits("cpu/PaddingKernel.cpp, cuda/ReflectionPad.cu")),
    **_of_ranks("ReplicationPad", _gradient_in_16_bits("cpu/PaddingKernel.cpp, cuda/ReplicationPadding.cu")),
    **_of_ranks("CircularPad", _gradient_in_16_bits("PadNd.cpp")),  # by autograd, from stored gradients
}
ON_CPU: dict[str, Kernels] = {
    # If the rows are not contiguous, the product is stored before the bias is added.
    "Linear": Kernels(by_place=("output",), source="Linear.cpp"),
    "LayerNorm": Kernels(in_16_bits=("grad.*",), inside=("output",), source="cpu/layer_norm_kernel.cpp"),
    "GroupNorm": Kernels(inside=("output",), source="cpu/group_norm_kernel.cpp"),
    # The two products of a running mean are stored before they are added; those of a variance do not cancel.
    **_of_ranks(
        "BatchNorm",
        Kernels(
            inside=("output", "buffer.running_var", "grad.weight"),
            source="cpu/batch_norm_kernel.cpp, Normalization.cpp",
        ),
    ),
    **_of_ranks(
        "InstanceNorm",
        Kernels(
            inside=("output", "buffer.running_var", "grad.*"),
            by_sample=("grad.*",),  # torch repeats the parameters for each sample
            source="cpu/batch_norm_kernel.cpp, Normalization.cpp",
        ),
    ),
    **_of_ranks("MaxPool", _gradient_in_16_bits("cpu/MaxPoolKernel.cpp"), ("1d", "2d")),
    **_of_ranks("AvgPool", _gradient_in_16_bits("cpu/AvgPoolKernel.cpp"), ("1d", "2d")),
    **_of_ranks("LPPool", _gradient_in_16_bits("cpu/AvgPoolKernel.cpp"), ("1d", "2d")),
}
ON_CUDA: dict[str, Kernels] = {
    # By default cuBLAS may add up slices of a product in 16 bits; the bias may be added to a product that was stored.
    "Linear": Kernels(
        by_place=("output",),
        by_slices=("output", "grad_input", "grad.weight"),
        source="aten/src/ATen/Context.h, cuda/Blas.cpp, aten/src/ATen/cuda/CUDABlas.cpp",
    ),
    # Of many rows the shares of blocks are stored before they are added up.
    **{
        name: Kernels(inside=("output", "grad_input"), by_slices=("grad.*",), source="cuda/layer_norm_kernel.cu")
        for name in ("LayerNorm", "RMSNorm")
    },
    # GroupNorm keeps its mean and 1/σ in 16 bits, as the usual way of an operation does: cuda/group_norm_kernel.cu.
    **_of_ranks(
        "BatchNorm",
        Kernels(
            inside=("output", "grad_input", "grad.*", "buffer.running_*"),
            source="cuda/Normalization.cuh, cuda/Normalization.cu",
        ),
    ),
    **_of_ranks(
        "InstanceNorm",
        Kernels(
            inside=("output", "grad_input"),
            by_sample=("grad.*",),  # torch repeats the parameters for each sample
            source="cuda/Normalization.cuh, Normalization.cpp",
        ),
    ),
    # By atomic additions in 16 bits.
    "Upsample": _gradient_in_16_bits("cuda/UpSampleLinear1d.cu, cuda/UpSampleBilinear2d.cu"),
    "MultiLabelMarginLoss": _gradient_in_16_bits("cuda/MultiLabelMarginCriterion.cu"),
    # Each block stores its share.
    **{
        OF_IMAGES.format(name): Kernels(by_slices=("output",), source="cuda/NLLLoss2d.cu")
        for name in ("NLLLoss", "CrossEntropyLoss")
    },
}
BY_CLASS: dict[str, dict[str, Kernels]] = {"cpu": {**ON_BOTH, **ON_CPU}, "cuda": {**ON_BOTH, **ON_CUDA}}
