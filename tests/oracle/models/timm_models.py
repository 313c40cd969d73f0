"""timm's architectures, made ready to be judged: beside any build of torch, and without dead branches.

PyPI's torchvision, which timm imports, is linked against CUDA: beside a CPU build of torch its operators do not load, and its own
import fails on the two that it describes without looking. These two are declared here; no architecture calls them.
"""

from __future__ import annotations

import functools
from typing import Any

import torch


@functools.cache
def torchvision_loads() -> torch.library.Library | None:
    """Afterwards `import torchvision` works. The declared operators live as long as what this returns, hence the cache."""
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401

        return library
    return None


def architecture(name: str, seed: int = 1, **options: Any) -> torch.nn.Module:
    """timm's model of that name, with random weights: the same for the same seed, none of them constant."""
    torchvision_loads()
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = timm.create_model(name, **options)
    _randomize_constants(model, torch.Generator().manual_seed(seed))
    return model


def _randomize_constants(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights that are created as 0, 1 or 1e-6 everywhere become random: a zero at the end of a residual branch, or a tiny
    LayerScale, would hide all that happens in the branch."""
    with torch.no_grad():
        for parameter in model.parameters():
            created = parameter.flatten()[0].item()
            if bool((parameter == created).all()):
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
                around = created if created >= 0.5 else 0.3
                parameter.copy_(0.2 * drawn if created <= 1e-9 else around * (1 + 0.2 * drawn))
