"""How operations are computed."""

from __future__ import annotations

from oracle.running_error.kernels.table import Operations, Sliced

# Families whose gradients torch composes of several calls (tools/autograd/derivatives.yaml), each of which stores its result.
FAMILIES_BY_CALLS = ("arithmetic", "functions", "reductions", "special", "cumulative", "order", "derivatives")
PADS = tuple(f"{kind}_pad{rank}" for kind in ("reflection", "replication") for rank in ("1d", "2d", "3d"))
OF_PADS = "cpu/PaddingKernel.cpp, cuda/ReflectionPad.cu, cuda/ReplicationPadding.cu"
BAGS = ("_embedding_bag", "_embedding_bag_forward_only")

# An embedding and an index add up the gradients of elements that were read several times, a loss over images its terms. Backward
# passes have rules of their own, for those that are differentiated again.
IN_16_BITS = {
    "nll_loss2d_forward": "LossNLL2d.cpp, cuda/NLLLoss2d.cu",
    "_adaptive_avg_pool3d": "AdaptiveAveragePooling3d.cpp, cuda/AdaptiveAveragePooling3d.cu",
    "embedding": "Embedding.cpp, cuda/Embedding.cu",
    **dict.fromkeys(
        (
            *("index", "_unsafe_index", "index_select", "index_add", "index_put", "_unsafe_index_put", "put", "take"),
            *("_unsafe_masked_index", "_unsafe_masked_index_put_accumulate", "index_reduce"),
        ),
        "cpu/IndexKernel.cpp, TensorAdvancedIndexing.cpp, cuda/Indexing.cu, cuda/IndexKernel.cu",
    ),
    "gather": "cpu/ScatterGatherKernel.cpp, cuda/ScatterGatherKernel.cu",
    "embedding_dense_backward": "Embedding.cpp, cuda/Embedding.cu",
    # Views that overlap themselves, and copies of these.
    **dict.fromkeys(("view_overlapping", "as_strided_copy"), "torch/csrc/autograd/FunctionsManual.cpp"),
    "unfold_copy": "cpu/UnfoldBackwardKernel.cpp, cuda/UnfoldBackwardKernel.cu",
    "unfold_backward": "cpu/UnfoldBackwardKernel.cpp, cuda/UnfoldBackwardKernel.cu",
    "avg_pool3d_backward": "cpu/AvgPoolKernel.cpp, cuda/AveragePool3d.cu",
    "max_pool3d_with_indices_backward": "cpu/MaxPoolKernel.cpp, cuda/DilatedMaxPool3d.cu",
    "adaptive_max_pool2d_backward": "cpu/AdaptiveMaxPoolKernel.cpp, cuda/AdaptiveMaxPooling2d.cu",
    **dict.fromkeys((f"{pad}_backward" for pad in PADS), OF_PADS),
}
# Where windows overlap or an edge is repeated.
GRADIENTS_IN_16_BITS = {
    "max_pool3d_with_indices": "cpu/MaxPoolKernel.cpp, cuda/DilatedMaxPool3d.cu",
    "avg_pool3d": "cpu/AvgPoolKernel.cpp, cuda/AveragePool3d.cu",
    "_adaptive_avg_pool2d": "cpu/AdaptiveAvgPoolKernel.cpp, cuda/AdaptiveAveragePooling.cu",
    "adaptive_max_pool2d": "cpu/AdaptiveMaxPoolKernel.cpp, cuda/AdaptiveMaxPooling2d.cu",
    "adaptive_max_pool3d": "cpu/AdaptiveMaxPoolKernel.cpp, cuda/AdaptiveMaxPooling3d.cu",
    **dict.fromkeys(PADS, OF_PADS),
}
STEP_BY_STEP = {
    "_prelu_kernel": "cpu/Activation.cpp, cuda/ActivationPreluKernel.cu",
    "mse_loss": "cpu/BinaryOpsKernel.cpp, cuda/BinaryMiscOpsKernels.cu",
    **dict.fromkeys(("soft_margin_loss", "binary_cross_entropy_with_logits"), "Loss.cpp"),
    "binary_cross_entropy": "Loss.cpp, cuda/Loss.cu",
    # The second derivative compares a distance that was stored.
    **dict.fromkeys(("smooth_l1_loss_backward", "huber_loss_backward"), "torch/csrc/autograd/FunctionsManual.cpp"),
    "_trilinear": "Linear.cpp",
    "where": "tools/autograd/derivatives.yaml",
}
ON_CPU = Operations(
    in_16_bits={
        **IN_16_BITS,
        "nll_loss_forward": "LossNLL.cpp",
        **dict.fromkeys(BAGS, "EmbeddingBag.cpp"),
        "max_pool2d_with_indices_backward": "cpu/MaxPoolKernel.cpp",
        "col2im": "im2col.h",
        "segment_reduce": "SegmentReduce.cpp",
        **dict.fromkeys(
            ("grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback"),
            "cpu/GridSamplerKernel.cpp, GridSampler.cpp",
        ),
    },
    gradients_in_16_bits={
        **GRADIENTS_IN_16_BITS,
        "native_layer_norm": "cpu/layer_norm_kernel.cpp",
        "max_pool2d_with_indices": "cpu/MaxPoolKernel.cpp",
        **dict.fromkeys(("avg_pool1d", "avg_pool2d"), "cpu/AvgPoolKernel.cpp"),
        "im2col": "im2col.h",
    },
    step_by_step={
        **STEP_BY_STEP,
        **dict.fromkeys(
            (
                *("upsample_linear1d", "upsample_trilinear3d", "upsample_bicubic2d"),
                *("upsample_linear1d_backward", "upsample_trilinear3d_backward"),
            ),
            "cpu/UpSampleKernel.cpp, cpu/UpSampleMoreKernel.cpp",
        ),
        "mkldnn_rnn_layer": "mkldnn/RNN.cpp",
        "linalg_cross": "cpu/CrossKernel.cpp",
        "addmv": "BlasKernel.cpp",
        "addr": "cpu/LinearAlgebraKernel.cpp",
    },
    outputs_step_by_step={"upsample_bilinear2d": "cpu/UpSampleKernel.cpp"},  # of few channels
)
INTERPOLATIONS = {
    "upsample_linear1d": "cuda/UpSampleLinear1d.cu",
    "upsample_bilinear2d": "cuda/UpSampleBilinear2d.cu",
    "upsample_trilinear3d": "cuda/UpSampleTrilinear3d.cu",
}
ON_CUDA = Operations(
    in_16_bits={
        **IN_16_BITS,
        "cumsum": "cuda/CumsumKernel.cu",
        **dict.fromkeys(("scatter_add", "scatter_reduce"), "cuda/ScatterGatherKernel.cu"),
        "_adaptive_avg_pool2d_backward": "cuda/AdaptiveAveragePooling.cu",
        **{f"{name}_backward": source for name, source in INTERPOLATIONS.items()},
    },
    gradients_in_16_bits={
        **GRADIENTS_IN_16_BITS,
        **dict.fromkeys(BAGS, "cuda/EmbeddingBag.cu"),  # of the largest elements of each bag
        **INTERPOLATIONS,
        "upsample_bicubic2d": "cuda/UpSampleBicubic2d.cu",
        **dict.fromkeys(("grid_sampler_2d", "grid_sampler_3d"), "cuda/GridSampler.cu"),
        "multilabel_margin_loss_forward": "cuda/MultiLabelMarginCriterion.cu",
    },
    step_by_step={
        **STEP_BY_STEP,
        "nll_loss_forward": "cuda/Loss.cu",
        **dict.fromkeys(("smooth_l1_loss", "huber_loss"), "cuda/BinaryMiscOpsKernels.cu, cuda/PointwiseOpsKernel.cu"),
        "multi_margin_loss": "cuda/MultiMarginLoss.cu",
        "multilabel_margin_loss_forward": "cuda/MultiLabelMarginCriterion.cu",  # its terms
        # They add up in float32, but shares of a gradient, or a factor, are in 16 bits.
        **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool2d_backward"), "cuda/AveragePool2d.cu"),
        "_adaptive_avg_pool2d": "cuda/AdaptiveAveragePooling.cu",
        "native_group_norm": "cuda/group_norm_kernel.cu",  # its mean and 1/σ
    },
    # By default cuBLAS may add up slices of a product in 16 bits. A norm of many rows stores the shares of blocks.
    by_slices={
        **dict.fromkeys(("mm", "bmm", "mv"), Sliced("aten/src/ATen/Context.h, aten/src/ATen/cuda/CUDABlas.cpp")),
        **dict.fromkeys(("addmm", "baddbmm"), Sliced("aten/src/ATen/Context.h, cuda/Blas.cpp", first=1)),
        **dict.fromkeys(
            ("native_layer_norm", "_fused_rms_norm"), Sliced("cuda/layer_norm_kernel.cu", output=False, first=2)
        ),
    },
)
BY_DEVICE = {"cpu": ON_CPU, "cuda": ON_CUDA}


def operations_on(device: str) -> Operations:
    """The table of a kind of device; the CPU's if nothing is known of it."""
    return BY_DEVICE.get(device, ON_CPU)
