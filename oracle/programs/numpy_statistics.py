"""NumPy's averages, quantiles and moments, written in functions that the recording follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.numpy_composed import as_array, as_plain
from oracle.programs.table import NoRule


def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def average(a: Any, axis: Any = None, weights: Any = None, keepdims: bool = False) -> Any:
    a = as_array(a)
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    weights = as_array(weights)
    if weights.shape != a.shape:
        if isinstance(axis, tuple):
            raise NoRule("there is no rule for np.average with weights of another shape over several axes")
        weights = np.moveaxis(weights.reshape((1,) * (a.ndim - 1) + weights.shape), -1, axis)
    total = np.sum(np.multiply(a, weights), axis=axis, keepdims=keepdims)
    return total / np.sum(np.broadcast_to(weights, a.shape) if axis is None else weights, axis=axis, keepdims=keepdims)


def median(a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    a = as_array(a)
    axes = [own % a.ndim for own in (range(a.ndim) if axis is None else np.atleast_1d(axis))]
    kept = [own for own in range(a.ndim) if own not in axes]
    count = int(np.prod([a.shape[own] for own in axes], dtype=np.int64))
    rows = a.transpose([*kept, *axes]).reshape((*(a.shape[own] for own in kept), count))
    order = np.argsort(rows, axis=-1, kind="stable")  # NaN last
    unknown = np.isnan(as_plain(rows)).any(-1, keepdims=True)
    ranks = sorted({(count - 1) // 2, count // 2}) if count else []
    places = [np.zeros((*unknown.shape[:-1], 0), int), *(np.where(unknown, count - 1, rank) for rank in ranks)]
    middle = np.take_along_axis(rows, np.take_along_axis(order, np.concatenate(places, axis=-1), -1), -1)
    made = np.mean(middle, axis=-1)
    return made.reshape(tuple(1 if own in axes else a.shape[own] for own in range(a.ndim))) if keepdims else made


def quantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Any:
    a, q = as_array(a), np.asarray(as_plain(q))
    axes = [own % a.ndim for own in (range(a.ndim) if axis is None else np.atleast_1d(axis))]
    kept = [own for own in range(a.ndim) if own not in axes]
    count = int(np.prod([a.shape[own] for own in axes], dtype=np.int64))
    rows = a.transpose([*axes, *kept]).reshape((count, *(a.shape[own] for own in kept)))
    rows, last = np.sort(rows, axis=0), rows.shape[0] - 1
    at = np.where(np.isnan(as_plain(rows)).any(), last, q * last)  # NaN stands last
    below, share = np.floor(at).astype(int), (at - np.floor(at)).astype(a.dtype)
    low, high = rows[below], rows[np.minimum(below + 1, last)]
    made = low + share.reshape(q.shape + (1,) * len(kept)) * (high - low)
    sizes = [1 if own in axes else a.shape[own] for own in range(a.ndim)]
    return made.reshape((*q.shape, *sizes)) if keepdims else made


def percentile(a: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return quantile(a, np.asarray(as_plain(q)) / 100, axis, keepdims)


def cov(m: Any, rowvar: bool = True, bias: bool = False, ddof: Any = None) -> Any:
    x = as_array(m)
    x = x.reshape(1, -1) if x.ndim < 2 else x if rowvar else x.T
    apart = x - np.mean(x, axis=1, keepdims=True)
    lost = ddof if ddof is not None else 0 if bias else 1
    return np.squeeze(np.matmul(apart, apart.T) / max(x.shape[1] - lost, 0))


def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    a = as_array(a)
    known = ~np.isnan(as_plain(a))
    count = np.asarray(np.sum(known, axis=axis, keepdims=keepdims)).astype(a.dtype)
    return np.sum(np.where(known, a, np.zeros((), a.dtype)), axis=axis, keepdims=keepdims) / count


FUNCTIONS: dict[str, Callable[..., Any]] = {
    own.__name__: own for own in (ptp, average, median, quantile, percentile, cov, nanmean)
}
