"""Published bugs that cannot be written as a case, function, module or subject, grouped by the missing capability."""

from __future__ import annotations

INEXPRESSIBLE: dict[str, tuple[str, ...]] = {
    "gradients accumulated over micro-batches or calls": (
        "karpathy/nanoGPT#206",
        "openai/guided-diffusion#111",
        "deepinsight/insightface#2258",
        "huggingface/transformers#37197",
        "verl-project/verl#436",
        "NVIDIA-NeMo/RL#84",
        "NVIDIA-NeMo/Automodel#3829",
        "mlfoundations/open_clip#1211",
        "apache/mxnet#18499",
    ),
    "operations that are not layers of torch.nn, with a backward of their own": (
        "pytorch/pytorch#23925",
        "apache/mxnet#19817",
        "tenstorrent/tt-metal#6533",
        "tenstorrent/tt-metal#6536",
        "tinygrad/tinygrad#12296",
        "open-mmlab/mmcv#737",
        "Theano/Theano#4568",
    ),
    "derivatives of second order": ("ml-explore/mlx#3220", "pytorch/pytorch#79609", "f-dangel/backpack#168"),
    "attention": ("Dao-AILab/flash-attention#355", "paiml/aprender#2207"),
    "optimizers beyond torch.optim's": ("FluxML/Flux.jl#1962", "kozistr/pytorch_optimizer#159"),
    "options that torch does not have": (
        "tensorflow/tensorflow#11092",
        "pytorch/pytorch#100793",
        "ROCm/AMDMIGraphX#5007",
    ),
    "races, and memory shared between a layer's own buffers": (
        "tillahoffmann/jax-mps#168",
        "tenstorrent/tt-metal#45578",
    ),
    "quantities that torch itself computes in the same way": ("tenstorrent/tt-metal#35885", "pytorch/pytorch#195677"),
}
