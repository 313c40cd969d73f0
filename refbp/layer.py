"""The base of every layer: parameters, their gradients, buffers, mode and state. The mathematics stays in the ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from textwrap import indent
from typing import Any, ClassVar, NamedTuple, Self, TypedDict

import numpy as np
import numpy.typing as npt

from refbp.arrays import OTHER_KINDS, Array, Backward, as_array
from refbp.checks import require_floating, silence, upstream


class LayerOptions(TypedDict, total=False):
    """The keyword arguments that every layer takes in addition to torch's; `Layer` explains them."""

    dtype: npt.DTypeLike
    rng: np.random.Generator | None


class Parameter(NamedTuple):
    """A reference to `layer.params[name]` and `layer.grads[name]`, through which an optimizer reads and replaces them.

    >>> layer = refbp.Linear(2, 1)
    >>> [parameter.name for parameter in layer.parameters()]
    ['weight', 'bias']
    >>> layer.parameters()[1].update(np.array([3.0]))
    >>> layer.params["bias"]
    array([3.])
    """

    layer: Layer
    name: str

    @property
    def data(self) -> Array:
        """The parameter's current array."""
        return self.layer.params[self.name]

    @property
    def grad(self) -> Array:
        """The sum of its gradients since the last `zero_grad`, of the same shape."""
        return self.layer.grads[self.name]

    def zero_grad(self) -> None:
        self.layer.zero_grad_of(self.name)

    def update(self, value: Array) -> None:
        """Replace the parameter's array by a new one; the old array is not written to."""
        self.layer.params[self.name] = value


class Layer:
    """A differentiable map with state, the base of all layers. Their other arguments are those of torch.nn.

    `y = layer(x)` is the forward pass, and `layer.backward(grad_output)` gives the gradient with respect to x.

    Args:
        dtype: the dtype of parameters, gradients and buffers; float64 by default.
        rng: a numpy.random.Generator. It draws the initial values, from torch's distributions, and in training the dropout
            masks. By default it is a new one with a random seed.
    Attributes:
        params, grads, buffers: arrays by name, under torch's names and in torch's shapes.
        training: True until `eval()`; only dropout and layers with running statistics depend on it.
        children: the layers of a container by name; empty for other layers.
    Shape: grad_output as the output, grad_input as the input. N is the batch size, * any number of dimensions.
    Gradients: grad_input is returned. The parameters' gradients are *added* to `grads`, until `zero_grad`.
    Raises: ValueError for an input that is not a floating-point array, or a grad_output whose shape is not the output's;
        RuntimeError for a backward without a forward.
    Conventions: output and grad_input have the input's dtype, to which parameters are cast. Arguments are never changed.
        NaN and infinities propagate as in torch, without a warning.

    Your own layer fills `params` in its constructor and defines `op(input, *params)`. It returns the output and its
    backward, which returns `grad_input`, or `(grad_input, *param_grads)` in the order of `params`:

    >>> class Scale(refbp.Layer):
    ...     def __init__(self, **options):
    ...         super().__init__(**options)
    ...         self.add_param("weight", np.full((), 3.0))
    ...
    ...     def op(self, input, weight):
    ...         return input * weight, lambda grad_output: (grad_output * weight, np.sum(grad_output * input))
    >>> layer = Scale()
    >>> layer(np.array([1.0, 2.0]))
    array([3., 6.])
    >>> layer.backward(np.array([1.0, 10.0]))
    array([ 3., 30.])
    >>> float(layer.grads["weight"])
    21.0
    """

    # The names of the buffers that a layer of this class may have.
    buffer_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, dtype: npt.DTypeLike = np.float64, rng: np.random.Generator | None = None) -> None:
        """Every layer takes dtype and rng in addition to torch's arguments.

        dtype: of its parameters and buffers. rng: draws its initial values and dropout masks; a new generator if None.
        """
        try:
            self.dtype = np.dtype(dtype)
        except TypeError as error:
            raise ValueError(f"{type(self).__name__} expects a floating-point dtype, got {dtype!r}") from error
        if self.dtype.kind in OTHER_KINDS:
            raise ValueError(f"{type(self).__name__} expects a floating-point dtype, got {self.dtype}")
        if not isinstance(rng, np.random.Generator | None):
            raise ValueError(f"{type(self).__name__} expects rng as a numpy.random.Generator, got {type(rng).__name__}")
        self.rng = np.random.default_rng() if rng is None else rng
        self.training = True
        self.children: dict[str, Layer] = {}
        self._params: dict[str, Array] = {}
        self._grads: dict[str, Array] = {}
        self._zeros: dict[str, Array] = {}
        self._buffers: dict[str, Array] = {}
        self._backward: Backward | None = None

    def __repr__(self) -> str:
        """The class and its parameters' shapes; for a container one line per layer."""
        if self.children:
            lines = "".join(f"{name}: {child!r}\n" for name, child in self.children.items())
            return f"{type(self).__name__}(\n{indent(lines, '  ')})"
        return f"{type(self).__name__}({', '.join(f'{name} {array.shape}' for name, array in self._params.items())})"

    def __getstate__(self) -> dict[str, Any]:
        """The state that is copied or pickled: all but the last forward, whose backward adds to this layer's gradients."""
        return {**self.__dict__, "_backward": None}

    @property
    def params(self) -> dict[str, Array]:
        """Name -> array. A leaf returns its own dict, a container a merged copy with nested names such as `0.weight`."""
        return self._merged("params", self._params)

    @property
    def grads(self) -> dict[str, Array]:
        """The same keys as `params`: the sum of the gradients since the last `zero_grad`, zero before any backward."""
        for name, grad in self._grads.items():
            if grad is self._zeros[name]:
                self._grads[name] = np.zeros_like(self._params[name])
        return self._merged("grads", self._grads)

    @property
    def buffers(self) -> dict[str, Array]:
        """State other than parameters, such as running statistics; nested names as in `params`."""
        return self._merged("buffers", self._buffers)

    def _merged(self, kind: str, own: dict[str, Array]) -> dict[str, Array]:
        if not self.children:
            return own
        nested = {
            f"{child_name}.{name}": array
            for child_name, child in self.children.items()
            for name, array in getattr(child, kind).items()
        }
        return own | nested

    def add_param(self, name: str, value: Array) -> None:
        """Register a parameter; constructors call it in torch's order."""
        self._params[name] = value.astype(self.dtype, copy=False)
        self.zero_grad_of(name)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        """The mathematics: the output for this input, and the backward of this call, which returns gradients only."""
        raise TypeError(f"{type(self).__name__} defines no op")

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        """The output of one call and the backward of that call, which adds to `grads` and returns grad_input.

        Containers compose these, so that the two calls of a layer that stands twice in a network stay separate.
        """
        self.check_input(input)
        # The output keeps the input's dtype, so the parameters are cast to it.
        params = [p if p.dtype == input.dtype else p.astype(input.dtype) for p in self._params.values()]
        with silence():
            result, op_backward = self.op(input, *params)
        output: Array = as_array(result)

        def backward(grad_output: Array) -> Array:
            delta = upstream(grad_output, output, type(self).__name__)
            with silence():
                grads = op_backward(delta)
            grad_input, *param_grads = grads if isinstance(grads, tuple) else (grads,)
            present = (grad for grad in param_grads if grad is not None)
            for name, grad in zip(self._params, present, strict=True):
                added, so_far = grad.astype(self._params[name].dtype, copy=False), self._grads[name]
                self._grads[name] = added if so_far is self._zeros[name] else so_far + added
            return as_array(grad_input)  # type: ignore[no-any-return]

        return output, backward

    def check_input(self, input: Array) -> None:
        """Raises: ValueError for anything but a floating-point array."""
        require_floating(input, type(self).__name__)

    def forward(self, input: Array) -> Array:
        """The output for this input; `backward` then belongs to this call. The same as calling the layer."""
        output, self._backward = self.apply(input)
        return output

    def __call__(self, input: Array) -> Array:
        """The same as `forward`."""
        return self.forward(input)

    def backward(self, grad_output: Array) -> Array:
        """Gradient with respect to the last forward's input; adds the parameters' gradients to `grads`. It may be called again.

        Raises: RuntimeError without a forward before it, ValueError for a grad_output of another shape than the output's.
        """
        if self._backward is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        return self._backward(grad_output)  # type: ignore[no-any-return]

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """Every layer without children, with its dotted name, in the order of definition; a shared layer comes once per place."""
        for name, child in self.children.items():
            if not child.children:
                yield name, child
            for nested, leaf in child.layers():
                yield f"{name}.{nested}", leaf

    def parameters(self) -> list[Parameter]:
        """Every parameter once, in torch's order."""
        leaves = [self] if not self.children else [leaf for _, leaf in self.layers()]
        unique = {id(leaf): leaf for leaf in leaves}.values()
        return [Parameter(leaf, name) for leaf in unique for name in leaf._params]

    def zero_grad(self) -> None:
        """Set every gradient to zero, in all children too."""
        for name in self._params:
            self.zero_grad_of(name)
        for child in self.children.values():
            child.zero_grad()

    def zero_grad_of(self, name: str) -> None:
        """Set one gradient to zero. Until it is read it is a single zero, broadcast to the parameter's shape, to save memory."""
        param = self._params[name]
        self._zeros[name] = self._grads[name] = np.broadcast_to(np.zeros_like(param, shape=()), param.shape)

    def train(self, mode: bool = True) -> Self:
        """Switch this layer and its children to training mode, or with False to evaluation mode; returns the layer."""
        self.training = mode
        for child in self.children.values():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode: `train(False)`."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers under torch's keys, nested as `0.weight`."""
        return {name: array.copy() for name, array in (self.params | self.buffers).items()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Take parameters and buffers from a mapping with exactly the keys and shapes of `state_dict`; values are copied.

        Raises: ValueError, which names the keys or the shape that do not fit; nothing is loaded then.
        """
        expected = self.params | self.buffers
        if expected.keys() != state.keys():
            missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: missing keys {missing}, unexpected keys {unexpected}"
            )
        for key, array in expected.items():
            shape = np.shape(state[key])
            if shape != array.shape:
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: {key} expects shape {array.shape}, got {shape}"
                )
        self._load(state, "")

    def _load(self, state: Mapping[str, npt.ArrayLike], prefix: str) -> None:
        for arrays in (self._params, self._buffers):
            for name, array in arrays.items():
                arrays[name] = np.array(state[prefix + name], dtype=array.dtype)
        for name, child in self.children.items():
            child._load(state, f"{prefix}{name}.")
