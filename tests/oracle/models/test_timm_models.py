"""timm's architectures come with every branch alive."""

from __future__ import annotations

import pytest
import torch

from oracle.selftest.models.architectures import architecture


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_no_weight_is_constant(name: str) -> None:
    """A fault behind a weight of zeros would not show; and the same seed gives the same model."""
    model, again = (architecture(name, num_classes=10).double() for _ in range(2))
    assert not [key for key, p in model.named_parameters() if p.numel() > 1 and bool((p == p.flatten()[0]).all())]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))
    side = 160 if name == "test_vit" else 48
    model(torch.randn(2, 3, side, side).double()).sum().backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
