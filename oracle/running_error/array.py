"""An array that carries a value and its possible rounding error. NumPy code runs on it unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from oracle.running_error.closing import closed, settled
from oracle.running_error.dispatch import ArrayLike
from oracle.running_error.exact import held_in, merged, quantum_of
from oracle.running_error.model import ErrorModel, Floats, Twofold, added, either
from oracle.running_error.orders import Orders
from oracle.running_error.squares import of_terms


class ErrorArray(ArrayLike, NDArrayOperatorsMixin):
    """An array with its value and the error of that value.

    The result of `sum`, `matmul` or `+=` is an *open sum*. It keeps the count of its terms and the sum of |term|^p. The rounding
    error of the whole sum is added once, when an operation other than a further addition reads it: that closes the sum.

    Attributes (arrays of the value's shape, or broadcast to it):
        value: the reference value, float64.
        own_error: the stored error, without the rounding of an open sum and of its terms; None if exact.
        scale: the sum of term² of everything added up so far, by which a tolerance is called wide or narrow; None stands
            for value² (closed) or the sum in `terms` (open).
        terms, count, rounded: for an open sum; rounded is the roundoff of each term, which is a product. terms is None if
            the sum is closed.
        orders: for an open sum, the partial sums in the orders that implementations add in; None if they are not larger than a
            random order's, or are in `own_error` already.
        quantum: a number of which all elements are exact multiples; None if unknown or not exact.
        guide: the subject's own value of this quantity, by which comparisons are decided; None if unknown.
        own_hidden: the mask where a typical term of a closed sum fits into its tolerance; None where that is nowhere.
        written_to: whether its components were made by writing to it, each in the value's shape, and are shared with no array
            except those read at an index of it.
        origin: for an array that was read at an index, the array and the index.
        inner: the sizes of the dimensions that a reshape has made into the last one, if there are several.
        of_samples: whether elements may belong to single samples; those of a layer's parameters never do.
        dtype: the dtype in which the subject computes (value is float64).
    """

    __slots__ = (
        "count",
        "guide",
        "inner",
        "model",
        "of_samples",
        "orders",
        "origin",
        "own_error",
        "own_hidden",
        "quantum",
        "rounded",
        "scale",
        "terms",
        "value",
        "written_to",
    )

    def __init__(
        self,
        value: Floats,
        model: ErrorModel,
        error: Twofold | None = None,
        *,
        scale: Floats | None = None,
        terms: Twofold | None = None,
        count: Floats | int = 1,
        rounded: float = 0.0,
        quantum: float | None = None,
        guide: Floats | None = None,
        hidden: Any = None,
        orders: Orders | None = None,
    ) -> None:
        self.value, self.model, self.own_error = value, model, error
        self.terms, self.count, self.rounded, self.orders = terms, count, rounded, orders
        self.scale, self.quantum, self.guide = scale, quantum, guide
        self.written_to, self.of_samples = False, True
        self.inner: tuple[int, ...] = ()
        self.origin: tuple[ErrorArray, Any] | None = None
        self.own_hidden = hidden
        if model.moves is not None:
            self.error  # noqa: B018 - closes a sum before its value is used

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Applies the operation's rule. Element-wise results of a sum inherit `own_hidden`."""
        result = super().__array_ufunc__(ufunc, method, *inputs, **kwargs)
        if isinstance(result, ErrorArray) and result.terms is None:
            for one in inputs:  # but not where it is spread over many elements
                if isinstance(one, ErrorArray) and one.size == result.size and one.hidden is not None:
                    result.own_hidden = either(result.own_hidden, np.broadcast_to(one.hidden, result.shape))
        return result

    @classmethod
    def exact(cls, value: Any, model: ErrorModel) -> ErrorArray:
        """Recorded data, which is exact by definition."""
        wide = np.asarray(value, dtype=np.float64)
        return cls(wide, model, quantum=quantum_of(wide))

    @property
    def error(self) -> Twofold | None:
        """The error of the value, None if exact. Reading it closes an open sum."""
        self.settle()
        if self.terms is not None:
            if self.scale is None:
                self.scale = self.terms.statistical
            if self.quantum is None or not self.model.sum_is_exact(self.quantum, self.terms, self.count):
                self.quantum = None
                with np.errstate(all="ignore"):
                    known = self.own_error, self.terms, self.count, self.rounded
                    self.value, self.own_error, hidden = closed(self.model, self.value, *known)
                    self.own_hidden = either(self.own_hidden, hidden)
            self.terms, self.rounded = None, 0.0
        self.release()
        return self.own_error

    def settle(self) -> None:
        """Add to an open sum's error what its orders say; a further addition is then no part of these."""
        if self.orders is not None and self.terms is not None:
            with np.errstate(all="ignore"):
                beyond = settled(self.orders, self.value, self.terms, self.count, self.model)
                self.own_error = added(self.own_error, beyond)
        self.orders = None

    @property
    def hidden(self) -> Any:
        """The mask where a typical term fits into the tolerance of this sum; None where nowhere. Reading it closes the sum."""
        self.error  # noqa: B018
        return self.own_hidden

    @property
    def error_or_zero(self) -> Twofold:
        error = self.error
        if error is None:
            return Twofold(np.zeros(self.shape), np.zeros(self.shape) if self.model.bounds else None)
        return error.mapped(self.broadcast)

    @property
    def sigma(self) -> Floats:
        """The standard deviation of the value's error."""
        return np.sqrt(self.error_or_zero.statistical)

    @property
    def bound(self) -> Floats | None:
        """The worst-case bound of the value's error; None if the model keeps no bounds."""
        return self.error_or_zero.worst

    @property
    def scale_or_own(self) -> Floats:
        """`scale`, with the value that None stands for."""
        if self.scale is not None:
            return self.scale
        with np.errstate(over="ignore"):
            return self.terms.statistical if self.terms is not None else self.counted(np.square(self.value))

    @property
    def open_terms(self) -> Twofold:
        """The sum of |term|^p; a closed value is its own single term."""
        return self.terms if self.terms is not None else of_terms(self.value, self.model).mapped(self.counted)

    def counted(self, terms: Floats) -> Floats:
        """The terms, 0 for infinite and NaN values: these are judged by themselves, and must not make a scale infinite."""
        return terms if np.isfinite(terms).all() else np.where(np.isfinite(self.value), terms, 0.0)

    @property
    def open_count(self) -> Floats | int:
        """The number of terms; a zero to which nothing has been added yet has none."""
        return self.count if self.terms is not None else (self.value != 0).astype(np.float64)

    @property
    def branching_value(self) -> Floats:
        """The value that comparisons use: the subject's own if it is known."""
        return self.value if self.guide is None else self.guide

    def broadcast(self, component: Any) -> Any:
        """A component in the value's shape."""
        return component if component.shape == self.value.shape else np.broadcast_to(component, self.value.shape)

    @property
    def root(self) -> ErrorArray:
        """The array that owns these components, or of which they are a part."""
        return self if self.origin is None else self.origin[0].root

    def release(self) -> None:
        """Record that another array may share the components, so that the next write copies them."""
        self.root.written_to = False

    def reshape(self, *shape: Any) -> ErrorArray:
        made: ErrorArray = super().reshape(*shape)
        first = next(
            (axis for axis in range(self.ndim) if (math.prod(self.shape[axis:]),) == made.shape[-1:]), self.ndim
        )
        made.inner = tuple(size for size in self.shape[first:] if size > 1)
        return made

    def mapped(self, function: Callable[[Any], Any]) -> ErrorArray:
        """Applies a rearrangement to every component: for views, gathers and copies, which do not round."""
        self.release()
        return self._mapped(function)

    def _mapped(self, function: Callable[[Any], Any]) -> ErrorArray:
        """The same as `mapped`, for a part of this array to which may still be added in place."""
        self.settle()

        def component(array: Any) -> Any:
            return function(self.broadcast(array))

        made = ErrorArray(
            function(self.value),
            self.model,
            None if self.own_error is None else self.own_error.mapped(component),
            scale=None if self.scale is None else component(self.scale),
            terms=None if self.terms is None else self.terms.mapped(component),
            count=component(self.count) if isinstance(self.count, np.ndarray) else self.count,
            rounded=self.rounded,
            quantum=self.quantum,
            guide=None if self.guide is None else component(self.guide),
            hidden=None if self.own_hidden is None else component(self.own_hidden),
        )
        made.of_samples = self.of_samples
        return made

    def __iadd__(self, other: Any) -> ErrorArray:
        """Adds the addend to this array's open sum, in place if no other array shares the components."""
        addend = other if isinstance(other, ErrorArray) else constant(other, self.model)
        with np.errstate(all="ignore"):
            if self._begins_with(addend):
                return self
            self._join_orders(addend)
            if self._takes(addend):
                self.count += addend.open_count
                self.terms = self.open_terms.increased(addend.open_terms)
                if self.own_error is not None and addend.own_error is not None:
                    self.own_error.increased(addend.own_error)
                if self.scale is not None:
                    self.scale += addend.scale_or_own
                self.value += addend.value
                self.quantum = merged(self.quantum, addend.quantum)
                return self
            if self.scale is not None or addend.scale is not None:
                self.scale = self.scale_or_own + addend.scale_or_own
            self.count = self.open_count + addend.open_count
            self._agree(addend)
            self.terms = self.open_terms + addend.open_terms
            self.own_error = added(self.own_error, addend.own_error)
            self.quantum = merged(self.quantum, addend.quantum)
            self.value = self.value + addend.value
            self._renewed(addend)
        return self

    def _begins_with(self, addend: ErrorArray) -> bool:
        """Whether nothing has been added up here yet, so that this array becomes the same open sum as the addend."""
        is_empty = self.terms is None and self.own_error is None and self.scale is None and not self.value.any()
        if not is_empty or addend.terms is None or addend.shape != self.shape:
            return False
        self.value, self.terms, self.count, self.rounded = addend.value, addend.terms, addend.count, addend.rounded
        self.own_error, self.scale, self.orders = addend.own_error, addend.scale, addend.orders
        self.quantum = merged(self.quantum, addend.quantum)
        self._renewed(addend)
        return True

    def _renewed(self, addend: ErrorArray) -> None:
        self.guide, self.origin, self.written_to, self.own_hidden = None, None, False, None
        addend.release()

    def _join_orders(self, addend: ErrorArray) -> None:
        """A sum of products, added to a running total, goes on from it; with another addend both are settled."""
        if self.orders is not None and addend.orders is not None:
            self.orders = self.orders.followed_by(self.value, addend.orders, addend.value, addend.count)
        else:
            for own in (self, addend):
                own.settle()

    def _agree(self, other: ErrorArray) -> None:
        """Prepares to merge two sums: if their terms are rounded differently, that rounding becomes stored error."""
        if self.rounded != other.rounded:
            if self.terms is None and not self.value.any():  # nothing has been added up yet
                self.rounded = other.rounded
                return
            for one in (self, other):
                if one.terms is not None and one.rounded:
                    one.own_error = added(one.own_error, one.terms * one.model.constant(one.rounded**2, one.rounded))
                    one.rounded = 0.0

    def _takes(self, addend: ErrorArray) -> bool:
        """Whether this array owns a component for each of the addend's, so that it can be added to in place."""
        return (
            self.root.written_to
            and self.rounded == addend.rounded
            and self.terms is not None
            and self.guide is None
            and (self.own_error is not None or addend.own_error is None)
            and (self.scale is not None or addend.scale is None)
        )

    def __isub__(self, other: Any) -> ErrorArray:
        return self.__iadd__(-other)

    def __getitem__(self, index: Any) -> ErrorArray:
        part = self._mapped(lambda component: component[index])
        part.origin = (self, index)
        return part

    def __setitem__(self, index: Any, other: Any) -> None:
        if self.origin is not None:  # whose errors would not learn of it
            raise TypeError("what was read at an index of an error array cannot be written into at an index")
        source = other if isinstance(other, ErrorArray) else constant(other, self.model)
        self.settle()
        source.settle()
        self.quantum = merged(self.quantum, source.quantum)
        read_at = source.origin is not None and source.origin[0] is self and source.origin[1] is index
        if read_at and np.may_share_memory(source.value, self.value):
            return  # `self[index] += addend` was done in place

        def written(component: Any, new: Any, stored: bool) -> Floats:
            """The component with `new` at `index`; written in place if an earlier write stored it and no array shares it."""
            if not (stored and self.written_to):
                component = np.array(np.broadcast_to(component, self.shape), float)
            component[index] = new
            return component  # type: ignore[no-any-return]

        def both_written(component: Twofold, new: Twofold, stored: bool) -> Twofold:
            return component.mapped(lambda own, new: written(own, new, stored), new)

        self._agree(source)
        is_open, zero = self.terms is not None, self.model.constant(0.0, 0.0)
        if is_open or source.terms is not None:
            self.count = written(self.open_count, source.open_count, is_open)
            self.terms = both_written(self.open_terms, source.open_terms, is_open)
        if self.scale is not None or source.scale is not None:
            self.scale = written(self.scale_or_own, source.scale_or_own, self.scale is not None)
        if self.guide is not None or source.guide is not None:
            self.guide = written(self.branching_value, source.branching_value, self.guide is not None)
        if self.own_error is not None or source.own_error is not None:
            stored = self.own_error is not None
            self.own_error = both_written(self.own_error or zero, source.own_error or zero, stored)
        if self.own_hidden is not None or source.own_hidden is not None:
            hidden = np.array(np.broadcast_to(False if self.own_hidden is None else self.own_hidden, self.shape))
            hidden[index] = False if source.own_hidden is None else source.own_hidden
            self.own_hidden = hidden
        self.value[index] = source.value
        self.written_to = True

    def __repr__(self) -> str:
        return f"ErrorArray({self.value}, ± {self.sigma})"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.model.dtype

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """In another precision, rounded once if that is narrower; a plain array for a dtype that is not floating-point."""
        kind = np.dtype(dtype)
        if kind.kind in "biu":
            return self.value.astype(kind)
        if kind == self.dtype:
            return self.copy() if copy else self
        return converted(self, self.model.of(kind.name))


def converted(x: ErrorArray, model: ErrorModel) -> ErrorArray:
    """An array in the model's dtype. Exact numbers stay exact, since every implementation rounds them to the same value."""
    error, narrower = x.error, model.unit_roundoff > x.model.unit_roundoff or model.largest < x.model.largest
    value, quantum = x.value, x.quantum
    if narrower and error is None:
        value = held_in(model.dtype, value)
        quantum = quantum_of(value)
    elif narrower:
        error, quantum = added(error, model.rounding(value)), None
    return ErrorArray(value, model, error, scale=x.scale, quantum=quantum, guide=x.guide, hidden=x.own_hidden)


def constant(value: Any, model: ErrorModel) -> ErrorArray:
    """A number or plain array of a formula as an error array: exact if the dtype can hold it, else rounded once."""
    wide = np.asarray(value, dtype=np.float64)
    if model.dtype == np.float64:
        return ErrorArray(wide, model, quantum=quantum_of(wide))
    with np.errstate(all="ignore"):
        held = wide.astype(model.dtype).astype(np.float64)
        inexact = (held != wide) & np.isfinite(wide)
        if not inexact.any():
            return ErrorArray(wide, model, quantum=quantum_of(wide))
        error = model.rounding(wide).mapped(lambda own: np.where(inexact, own, 0.0))
    return ErrorArray(wide, model, error)


def operands(*inputs: Any) -> list[ErrorArray]:
    """All inputs as error arrays under one model: the model of the widest dtype among them."""
    models = [x.model for x in inputs if isinstance(x, ErrorArray)]
    model = models[0]
    if any(other.dtype != model.dtype for other in models):
        model = min(models, key=lambda other: other.unit_roundoff)
        inputs = tuple(
            converted(x, model) if isinstance(x, ErrorArray) and x.dtype != model.dtype else x for x in inputs
        )
    return [x if isinstance(x, ErrorArray) else constant(x, model) for x in inputs]
