"""Composition: layers made of layers. The backward of a call is composed of the backwards of the calls inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from refbp.arrays import Array
from refbp.checks import upstream
from refbp.layer import Layer


def _named(layers: tuple[Layer | Mapping[str, Layer], ...], container: str) -> dict[str, Layer]:
    """Children by name: the keys of a single mapping, else "0", "1", …"""
    if len(layers) == 1 and isinstance(layers[0], Mapping):
        named = dict(layers[0])
    else:
        named = {str(index): layer for index, layer in enumerate(layers)}  # type: ignore[misc]
    for name, layer in named.items():
        if not isinstance(layer, Layer):
            raise ValueError(f"{container} expects layers, got {type(layer).__name__} as {name!r}")
        if not name or "." in name:
            raise ValueError(f"{container} expects names without a dot, got {name!r}")
    return named


class Sequential(Layer):
    """torch.nn.Sequential: one layer after the other; eq. (4) as a loop from the last to the first.

    It takes layers, or one mapping of names to layers. The same instance may stand in it twice: its gradients add up.
    It has a length and can be iterated over; an index gives a layer, a slice a Sequential of the same layers.

    Raises: ValueError for anything but layers, or a name that is empty or has a dot.

    >>> net = refbp.Sequential(refbp.Linear(2, 3), refbp.Tanh(), refbp.Linear(3, 1))
    >>> list(net.params)
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> y = net(np.ones((5, 2)))
    >>> net.backward(np.ones_like(y)).shape
    (5, 2)
    >>> net.grads["0.weight"].shape
    (3, 2)
    """

    def __init__(self, *layers: Layer | Mapping[str, Layer]) -> None:
        """Takes neither dtype nor rng: the layers in it have their own."""
        super().__init__()
        self.children = _named(layers, "Sequential")

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        backwards = []
        x = input
        for layer in self.children.values():
            x, backward = layer.apply(x)
            backwards.append(backward)

        def backward_all(grad_output: Array) -> Array:
            grad = upstream(grad_output, x, "Sequential")
            for backward in reversed(backwards):
                grad = backward(grad)
            return grad

        return x, backward_all

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.children)

    def __iter__(self) -> Iterator[Layer]:
        """The layers in order."""
        return iter(self.children.values())

    def __getitem__(self, index: int | slice) -> Layer:
        """The layer at an index, or the layers of a slice as a Sequential that keeps their names."""
        if isinstance(index, slice):
            return Sequential(dict(list(self.children.items())[index]))
        return list(self.children.values())[index]


class Residual(Layer):
    """y = body(x) + shortcut(x); a shortcut of None is the identity. grad_input is the sum of both paths' gradients.

    Parameters: those of both, as `body.…` and `shortcut.…`. Source: He et al., arXiv:1512.03385.

    Raises: ValueError for anything but layers, or when the two outputs differ in shape.

    >>> block = refbp.Residual(refbp.ReLU())
    >>> block(np.array([-1.0, 2.0]))
    array([-1.,  4.])
    >>> block.backward(np.array([1.0, 1.0]))
    array([1., 2.])
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        """Takes neither dtype nor rng: the layers in it have their own."""
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

        output = body + shortcut

        def backward(grad_output: Array) -> Array:
            delta = upstream(grad_output, output, "Residual")
            return body_backward(delta) + shortcut_backward(delta)

        return output, backward


class Concat(Layer):
    """All branches read the same input, and their outputs are concatenated along `dim`. grad_input is the sum over the branches.

    It takes layers, or one mapping of names to layers. Shape: the outputs may differ in dimension `dim` only.

    Raises: ValueError for anything but layers, without branches, or when the outputs differ in another dimension.

    >>> refbp.Concat(refbp.Identity(), refbp.ReLU())(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.,  0.,  2.]])
    """

    def __init__(self, *branches: Layer | Mapping[str, Layer], dim: int = 1) -> None:
        """Takes neither dtype nor rng: the layers in it have their own."""
        super().__init__()
        self.children = _named(branches, "Concat")
        if not self.children:
            raise ValueError("Concat expects at least one branch, got none")
        self.dim = dim

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        outputs, backwards = zip(*(branch.apply(input) for branch in self.children.values()), strict=True)
        self._check_shapes([output.shape for output in outputs])
        joined = np.concatenate(outputs, axis=self.dim)

        def backward(grad_output: Array) -> Array:
            delta = upstream(grad_output, joined, "Concat")
            grad_input = np.zeros_like(input)
            start = 0
            for output, backward_branch in zip(outputs, backwards, strict=True):
                part = [slice(None)] * delta.ndim
                part[self.dim] = slice(start, start + output.shape[self.dim])
                grad_input += backward_branch(delta[tuple(part)])
                start += output.shape[self.dim]
            return grad_input

        return joined, backward

    def _check_shapes(self, shapes: list[tuple[int, ...]]) -> None:
        rank = len(shapes[0])
        alike = -rank <= self.dim < rank and all(len(shape) == rank for shape in shapes)
        others = (
            {tuple(size for i, size in enumerate(shape) if i != self.dim % rank) for shape in shapes} if alike else ()
        )
        if len(others) != 1:
            raise ValueError(
                f"Concat expects outputs that differ in dimension {self.dim} only, got {', '.join(map(str, shapes))}"
            )
