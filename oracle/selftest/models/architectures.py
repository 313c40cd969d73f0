"""Prepares the architectures of timm and torchvision: they load next to any build of torch, and no branch is dead.

timm imports torchvision, and PyPI's torchvision is linked against CUDA. Next to a CPU build of torch its operators do
not load. Its import then fails at two operators, because it registers fake kernels for them without checking that they
exist. These two are declared here; no architecture calls them.
"""

from __future__ import annotations

import functools
from typing import Any

import torch


@functools.cache
def torchvision_loads() -> torch.library.Library | None:
    """Makes `import torchvision` work. The cache keeps the returned library, because the declared operators need it."""
    try:
        import torchvision  # type: ignore[import-untyped]
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        import torchvision  # noqa: F401

        return library
    return None


def architecture(name: str, **options: Any) -> torch.nn.Module:
    """The model of timm or, as "torchvision/…", of torchvision, with random weights, none of them constant."""
    torchvision_loads()
    library, _, own = name.rpartition("/")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if library == "torchvision":
            from torchvision import models

            model: torch.nn.Module = models.get_model(own, weights=None, **options)
        else:
            import timm

            model = timm.create_model(own, **options)
    randomize_constants(model, torch.Generator().manual_seed(1))
    return model


def randomize_constants(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Replaces weights that are created constant, such as 0, 1 or 1e-6, by random ones.

    A zero at the end of a residual branch, or a tiny LayerScale, would hide every error in the branch.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            created = parameter.flatten()[0].item()
            if bool((parameter == created).all()):
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
                around = created if created >= 0.5 else 0.3
                parameter.copy_(0.2 * drawn if created <= 1e-9 else around * (1 + 0.2 * drawn))
