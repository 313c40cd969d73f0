"""A model ready for its training step: with random weights, data as small as it takes, a loss and an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from oracle.selftest.models.architectures import architecture
from oracle.selftest.models.language import language_model, tokens

CLASSES = 10
# Of the image: the first that a model can be built for and takes.
SIDES = (48, 64, 96, 128, 160, 224, 240, 256)


@dataclass(frozen=True)
class Built:
    """
    Attributes:
        side: of the image, in pixels; 0 where the model reads words.
    """

    module: torch.nn.Module
    x: torch.Tensor
    target: torch.Tensor
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    side: int


class Autocast(torch.nn.Module):
    """A model in float32 whose forward pass runs under autocast to bfloat16."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return first(self.model(x)).float()


def built(name: str, dtype: str, mode: str, batch: int) -> Built:
    """Raises: whatever the model raised for the largest image."""
    library, _, own = name.partition("/")
    if library == "language":
        module, side, loss = language_model(own), 0, of_words
        x, target = tokens(batch, seed=2), tokens(batch, seed=3)
    else:
        module, side = _of_images(name, batch)
        loss = of_classes
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64)
        target = torch.randint(CLASSES, (batch,), generator=generator)
    held = torch.float32 if dtype == "autocast" else getattr(torch, dtype)
    module = (Autocast(module) if dtype == "autocast" else module).to(held).train(mode == "training")
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.01)
    return Built(module, x.to(held) if side else x, target, loss, optimizer, side)


def first(output: Any) -> torch.Tensor:
    """The first output, where a model has auxiliary ones beside it in training."""
    return output if isinstance(output, torch.Tensor) else next(iter(output))


def of_classes(output: Any, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(first(output), target)


def of_words(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def _of_images(name: str, batch: int) -> tuple[torch.nn.Module, int]:
    """The model and the smallest image that it takes."""
    options = {"num_classes": CLASSES}
    if name.startswith("torchvision/googlenet"):
        options |= {"aux_logits": False, "init_weights": False}
    failure: Exception | None = None
    for side in SIDES:
        for made in (_with_size(name, options, side), lambda: architecture(name, **options)):
            try:
                model = made()
                with torch.no_grad():
                    model.eval()(torch.zeros(batch, 3, side, side))
                    model.train()(torch.randn(batch, 3, side, side))
                return model, side
            except Exception as error:
                failure = error
    assert failure is not None
    raise failure


def _with_size(name: str, options: dict[str, int], side: int) -> Callable[[], torch.nn.Module]:
    return lambda: architecture(name, **options, img_size=side)
