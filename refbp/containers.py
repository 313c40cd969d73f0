"""Composition: layers out of layers. Each call's backward is composed of its children's backwards of that very call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from refbp.layer import Array, Layer


def _named(layers: tuple[Layer | Mapping[str, Layer], ...], container: str) -> dict[str, Layer]:
    """Children by name: of a single mapping its keys, else "0", "1", …"""
    if len(layers) == 1 and isinstance(layers[0], Mapping):
        named = dict(layers[0])
    else:
        named = {str(index): layer for index, layer in enumerate(layers)}  # type: ignore[misc]
    for name, layer in named.items():
        if not isinstance(layer, Layer):
            raise ValueError(f"{container} expects layers, got {type(layer).__name__} as {name!r}")
    return named


class Sequential(Layer):
    """One layer after the other; eq. (4) as a loop from the last to the first.

    Takes layers, or one mapping of names to layers. The same instance may stand in it twice: its gradients add up.
    """

    def __init__(self, *layers: Layer | Mapping[str, Layer]) -> None:
        super().__init__()
        self.children = _named(layers, "Sequential")

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        backwards = []
        x = input
        for layer in self.children.values():
            x, backward = layer.apply(x)
            backwards.append(backward)

        def backward_all(grad_output: Array) -> Array:
            grad = grad_output
            for backward in reversed(backwards):
                grad = backward(grad)
            return grad

        return x, backward_all

    def __len__(self) -> int:
        return len(self.children)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.children.values())

    def __getitem__(self, index: int) -> Layer:
        return list(self.children.values())[index]


class Residual(Layer):
    """y = body(x) + shortcut(x), the identity for a shortcut of None; grad_input is the sum of both paths' gradients.

    Raises: ValueError when the two outputs differ in shape.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        super().__init__()
        self.children = _named(({"body": body} | ({"shortcut": shortcut} if shortcut is not None else {}),), "Residual")

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        body, body_backward = self.children["body"].apply(input)
        if "shortcut" in self.children:
            shortcut, shortcut_backward = self.children["shortcut"].apply(input)
        else:
            shortcut, shortcut_backward = input, lambda grad_output: grad_output
        if body.shape != shortcut.shape:
            raise ValueError(f"Residual expects body and shortcut of one shape, got {body.shape} and {shortcut.shape}")

        def backward(grad_output: Array) -> Array:
            return body_backward(grad_output) + shortcut_backward(grad_output)

        return body + shortcut, backward


class Concat(Layer):
    """Every branch sees the same input; their outputs are joined along `dim`. grad_input is the sum over the branches.

    Raises: ValueError without branches, or when the outputs differ in another dimension.
    """

    def __init__(self, *branches: Layer | Mapping[str, Layer], dim: int = 1) -> None:
        super().__init__()
        self.children = _named(branches, "Concat")
        if not self.children:
            raise ValueError("Concat expects at least one branch, got none")
        self.dim = dim

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        outputs, backwards = zip(*(branch.apply(input) for branch in self.children.values()), strict=True)
        others = [np.delete(output.shape, self.dim).tolist() for output in outputs]
        if any(other != others[0] for other in others):
            shapes = ", ".join(str(output.shape) for output in outputs)
            raise ValueError(f"Concat expects outputs that differ in dimension {self.dim} only, got {shapes}")
        ends = np.cumsum([output.shape[self.dim] for output in outputs]).tolist()

        def backward(grad_output: Array) -> Array:
            grad_input = np.zeros_like(input)
            for backward, output, end in zip(backwards, outputs, ends, strict=True):
                part = [slice(None)] * grad_output.ndim
                part[self.dim] = slice(end - output.shape[self.dim], end)
                grad_input += backward(grad_output[tuple(part)])
            return grad_input

        return np.concatenate(outputs, axis=self.dim), backward
