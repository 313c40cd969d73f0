"""A model that is ready for its training step: random weights, a small input, a loss and an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from oracle.selftest.models.architectures import architecture
from oracle.selftest.models.language import language_model, tokens
from oracle.selftest.models.published import IMAGE, MODELS, published_model

CLASSES = 10
# Sides of the image in pixels, in the order in which they are tried.
SIDES = (48, 64, 96, 128, 160, 224, 240, 256)
PUBLISHED_SIDE = 48


@dataclass(frozen=True)
class Built:
    """A model with everything that its training step needs.

    Attributes:
        side: side of the image in pixels; 0 for a language model.
    """

    module: torch.nn.Module
    x: torch.Tensor
    target: torch.Tensor
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    side: int


class Autocast(torch.nn.Module):
    """A float32 model whose forward runs under autocast to bfloat16."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return first(self.model(x)).float()


def built(name: str, dtype: str, mode: str, batch: int) -> Built:
    """The model with this name, in this precision and mode, with a batch of data.

    Raises: the model's own exception for the largest image, if it runs on none.
    """
    library, _, own = name.partition("/")
    if library == "language" or (library == "transformers" and MODELS[own][0] != IMAGE):
        module = language_model(own) if library == "language" else published_model(own, CLASSES)
        side, loss = 0, of_words
        x, target = tokens(batch, seed=2), tokens(batch, seed=3)
    else:
        is_published = library == "transformers"
        module, side = (published_model(own, CLASSES), PUBLISHED_SIDE) if is_published else _of_images(name, batch)
        loss = of_classes
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64)
        target = torch.randint(CLASSES, (batch,), generator=generator)
    held = torch.float32 if dtype == "autocast" else getattr(torch, dtype)
    module = (Autocast(module) if dtype == "autocast" else module).to(held).train(mode == "training")
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.01)
    return Built(module, x.to(held) if side else x, target, loss, optimizer, side)


def first(output: Any) -> torch.Tensor:
    """The model's output; the first one if it has auxiliary outputs."""
    return output if isinstance(output, torch.Tensor) else next(iter(output))


def of_classes(output: Any, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(first(output), target)


def of_words(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def _of_images(name: str, batch: int) -> tuple[torch.nn.Module, int]:
    """The model, and the smallest side in SIDES on which it can be built and run."""
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
