"""What `check_module` can be given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from oracle.subjects.torch import tensor


class ModuleError(ValueError):
    """Something that `check_module` cannot work with, in one sentence."""


def checked(module: Any, x: Any, loss: Any, target: Any, optimizer: Any, steps: Any) -> tuple[torch.Tensor, ...]:
    """The loss's arguments as tensors. Raises: ModuleError."""
    if not isinstance(module, torch.nn.Module):
        raise ModuleError(f"check_module expects a torch.nn.Module, got {type(module).__name__}")
    tensors = [own for own in (x if isinstance(x, tuple) else (x,)) if isinstance(own, torch.Tensor)]
    if not tensors:
        inside = f" of {', '.join(type(own).__name__ for own in x)}" if isinstance(x, tuple) and x else ""
        raise ModuleError(f"x is a torch.Tensor or a tuple with one, got {type(x).__name__}{inside}")
    if any(own.device.type == "meta" for own in [*tensors, *module.parameters()]):
        raise ModuleError("tensors on the device meta hold no numbers that could be judged")
    for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(parameter):
            raise ModuleError(f"{name} is not initialised yet: call the module once, then check it")
    if loss is not None and not callable(loss):
        raise ModuleError(f"loss is called as loss(output, target), got {type(loss).__name__}")
    if (loss is None) != (target is None):
        raise ModuleError(
            "loss and target belong together: " + ("target" if loss is not None else "loss") + " is missing"
        )
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ModuleError(f"steps is a whole number from 1 on, got {steps!r}")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise ModuleError(f"optimizer is a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if optimizer is not None:
        own = {id(parameter) for parameter in module.parameters()}
        if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
            raise ModuleError("optimizer holds none of the module's parameters")
    if target is None:
        return ()
    targets = target if isinstance(target, tuple) else (target,)
    for given in targets:
        if not isinstance(given, (torch.Tensor, np.ndarray)):
            raise ModuleError(f"target is a tensor, or a tuple of them, got {type(given).__name__}")
    return tuple(given if isinstance(given, torch.Tensor) else tensor(given) for given in targets)
