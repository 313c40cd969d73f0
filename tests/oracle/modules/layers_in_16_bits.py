"""Small layers in 16 bits, one for each way in which torch's kernels compute, and their judgement."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import oracle

DTYPES = [torch.bfloat16, torch.float16]
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(256, 16), (256,)),
    "Conv1d": (lambda: nn.Conv1d(4, 8, 5, padding=2), (4, 30)),
    "Conv1d, dilated": (lambda: nn.Conv1d(32, 64, 3, dilation=4), (32, 24)),
    "Conv2d": (lambda: nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2), (8, 9, 9)),
    "Conv2d, circular": (lambda: nn.Conv2d(8, 8, 3, padding=2, padding_mode="circular"), (8, 6, 6)),
    "Conv2d, reflected": (lambda: nn.Conv2d(8, 8, (3, 2), (2, 1), 1, (1, 2), padding_mode="reflect"), (8, 9, 9)),
    "Conv2d, replicated": (lambda: nn.Conv2d(8, 8, (3, 2), (2, 1), 2, (1, 2), padding_mode="replicate"), (8, 9, 9)),
    "Conv2d, reflected and dilated": (
        lambda: nn.Conv2d(4, 4, 3, dilation=2, padding="same", padding_mode="reflect"),
        (4, 9, 9),
    ),
    "Conv3d": (lambda: nn.Conv3d(4, 4, 3), (4, 5, 5, 5)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 8, 4, stride=2), (4, 30)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(8, 4, 3, stride=2), (8, 7, 7)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 2, 3), (4, 4, 4, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(16), (16,)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(8), (8, 6, 6)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True), (8, 8, 8)),
    "GroupNorm": (lambda: nn.GroupNorm(4, 16), (16, 6, 6)),
    "LayerNorm": (lambda: nn.LayerNorm(64), (8, 64)),
    "RMSNorm": (lambda: nn.RMSNorm(64), (8, 64)),
    "Softmax": (lambda: nn.Softmax(-1), (4, 50)),
    "LogSoftmax": (lambda: nn.LogSoftmax(1), (50, 4)),
    "GELU": (nn.GELU, (200,)),
    "SiLU": (nn.SiLU, (200,)),
    "Mish": (nn.Mish, (200,)),
    "Tanhshrink": (nn.Tanhshrink, (200,)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 1), (4, 9, 9)),
    "AvgPool1d": (lambda: nn.AvgPool1d(7, 1), (4, 40)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(5), (4, 9, 9)),
    "AdaptiveAvgPool3d": (lambda: nn.AdaptiveAvgPool3d(2), (4, 5, 6, 7)),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(7), (4, 5, 5)),
    "MaxPool3d": (lambda: nn.MaxPool3d(3, 1), (2, 6, 6, 6)),
    "Upsample": (lambda: nn.Upsample(scale_factor=5, mode="bilinear"), (4, 4, 4)),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(3), (4, 5, 5)),
    "ReplicationPad3d": (lambda: nn.ReplicationPad3d(2), (2, 3, 4, 4)),
    "CircularPad2d": (lambda: nn.CircularPad2d(3), (4, 5, 5)),
    "LPPool2d": (lambda: nn.LPPool2d(2, 3), (4, 9, 9)),
}


def checked(
    name: str, dtype: torch.dtype, batch: int, profile: oracle.Profile | None = None, device: str = "cpu"
) -> oracle.Report:
    torch.manual_seed(batch)
    make, shape = LAYERS[name]
    layer = make().to(dtype)
    with torch.no_grad():
        for own in layer.parameters():
            own.add_(0.1 * torch.randn(own.shape, dtype=dtype))
    x = (torch.randn(batch, *shape) + 0.3).to(device, dtype).requires_grad_()
    return oracle.check_module(layer.to(device), x, profile=profile)
