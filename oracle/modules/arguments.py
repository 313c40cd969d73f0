"""Checks of the arguments of `check_module`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from oracle.judging.profile import Profile
from oracle.modules import nested
from oracle.modules.specs import is_of_torch, loss_type
from oracle.modules.used_references import References, is_apply
from oracle.subjects.torch import tensor


class ModuleError(ValueError):
    """An argument that `check_module` cannot use. The message is one sentence."""


def checked(module: Any, x: Any, loss: Any, target: Any, optimizer: Any, steps: Any) -> tuple[Any, ...]:
    """The loss's arguments, with arrays converted to tensors. Raises: ModuleError."""
    _check_module(module, x)
    if loss is not None and not callable(loss):
        raise ModuleError(f"loss is called as loss(output, target), got {type(loss).__name__}")
    if loss is None and target is not None:
        raise ModuleError("loss and target belong together: loss is missing")
    if loss is not None and target is None and not _takes_output_alone(loss):
        raise ModuleError("loss and target belong together: target is missing, and loss(output) lacks an argument")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ModuleError(f"steps is a whole number from 1 on, got {steps!r}")
    if optimizer is not None:
        _check_optimizer(module, optimizer)
    targets = target if isinstance(target, tuple) else () if target is None else (target,)
    made = tuple(tensor(given) if isinstance(given, np.ndarray) else given for given in targets)
    for given in made if loss_type(loss) is not None else ():
        if next(nested.tensors_in(given), None) is None:
            raise ModuleError(f"target is a tensor, or holds some, got {type(given).__name__}")
    return made


def check_words(unjudged: Any, effort: Any, seed: Any) -> None:
    """Raises: ModuleError."""
    if unjudged not in ("fail", "allow"):
        raise ModuleError(f"unjudged is 'fail' or 'allow', got {unjudged!r}")
    if effort not in ("full", "sample"):
        raise ModuleError(f"effort is 'full' or 'sample', got {effort!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ModuleError(f"seed is a whole number from 0 on, got {seed!r}")


def check_references(module: torch.nn.Module, references: Any) -> References:
    """The references. Raises: ModuleError, also for a key that no call can have."""
    if not isinstance(references, Mapping):
        raise ModuleError(f"references is a mapping, got {type(references).__name__}")
    parts = dict(module.named_modules())
    classes = {type(own) for own in parts.values()}
    for key, own in references.items():
        name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
        if isinstance(key, str) and key not in parts:
            raise ModuleError(f"references names {name!r}, and the module has no such part")
        if isinstance(key, type) and not issubclass(key, torch.autograd.Function) and key not in classes:
            raise ModuleError(f"references are of custom autograd.Functions, modules and hooks: no part is a {name}")
        if is_apply(key):
            raise ModuleError(
                f"references takes the class {key.__self__.__name__} itself, got its method {key.__name__}"
            )
        path = next((path for path, part in parts.items() if part is key), None)
        if path is not None:
            kind = type(key).__name__
            said = f"its class {kind} or its name {path!r}" if path else f"its class {kind}"
            raise ModuleError(f"references takes {said} for a module, got the module itself")
        if not isinstance(key, str) and not callable(key):
            raise ModuleError(f"references are of custom autograd.Functions, modules and hooks, got {name}")
        if not callable(own):
            raise ModuleError(f"the reference of {name} is a function, got {type(own).__name__}")
        if hasattr(own, "one_by_one"):
            raise ModuleError(f"the reference of {name} is made by from_torch: give the function of tensors itself")
    return References(references)


def checked_profile(profile: Any) -> Profile:
    """The profile, or one that declares nothing. Raises: ModuleError."""
    if profile is not None and not isinstance(profile, Profile):
        raise ModuleError(f"profile is an oracle.Profile, got {type(profile).__name__}")
    return profile or Profile()


def _check_module(module: Any, x: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        raise ModuleError(f"check_module expects a torch.nn.Module, got {type(module).__name__}")
    tensors = list(nested.tensors_in(x))
    if not tensors and (is_of_torch(type(module)) or isinstance(x, np.ndarray)):
        inside = f" of {', '.join(type(own).__name__ for own in x)}" if isinstance(x, tuple) and x else ""
        raise ModuleError(
            f"x is a torch.Tensor, or a tuple, list, dict or dataclass with one, got {type(x).__name__}{inside}"
        )
    for name, own in module.named_modules():
        if isinstance(own, torch.jit.ScriptModule):
            raise ModuleError(f"{name or 'the module'} is a script, which shows no layers: check what it was made from")
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, own in held.items():
        if torch.nn.parameter.is_lazy(own):
            raise ModuleError(f"{name} is not initialised yet: call the module once, then check it")
    if any(own.device.type == "meta" for own in [*tensors, *held.values()]):
        raise ModuleError("tensors on the device meta hold no numbers that could be judged")


def _takes_output_alone(loss: Any) -> bool:
    """Whether a loss can be called without a target, as one of two views of the data in its output can."""
    try:
        inspect.signature(loss.forward if isinstance(loss, torch.nn.Module) else loss).bind(None)
    except TypeError:
        return False
    except ValueError:  # it does not say which arguments it takes
        pass
    return True


def _check_optimizer(module: torch.nn.Module, optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ModuleError(f"optimizer is a torch.optim.Optimizer, got {type(optimizer).__name__}")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ModuleError(
            f"{type(optimizer).__name__} evaluates the loss by itself, several times a step: leave it out"
        )
    own = {id(parameter) for parameter in module.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ModuleError("optimizer holds none of the module's parameters")
