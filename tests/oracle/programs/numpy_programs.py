"""Calls of NumPy's functions and methods with their arguments, by the name of the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

MASK = np.random.default_rng(8).random(240) < 0.6


def mask(x: Any) -> Any:
    return MASK[: x.size].reshape(x.shape)


def buffer(x: Any, axis: Any = None) -> Any:
    return np.zeros(np.zeros(x.shape).sum(axis).shape)


def into(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The array that a function wrote into, a new one."""

    def program(x: Any) -> Any:
        out = x.copy()
        function(out, *args, **kwargs)
        return out * x

    return program


def by_out(x: Any) -> Any:
    out = np.zeros(x.shape[1:])
    np.sum(x, axis=0, out=out)
    return out * 2.0


def at(ufunc: Any, *others: Any) -> Callable[[Any], Any]:
    def program(x: Any) -> Any:
        out = x * 1.0
        ufunc.at(out, [0, 2, 2, -1], *others)
        return out * x

    return program


def scalars_stay(x: Any) -> Any:
    """A number of NumPy is not changed in place."""
    first = x.sum()
    total = first
    total += x.max()
    for other in (first.copy(), first.T, np.squeeze(first), first.astype(float), np.copy(first)[()]):
        changed = other
        changed *= 2.0
        total += changed - other
    return total * first


def changed_later(x: Any) -> Any:
    """A plain array that the program changes after its use."""
    weights = np.arange(float(x.size)).reshape(x.shape)
    before = x * weights
    weights += 1.0
    return before + x * weights


def written_in_order(x: Any) -> Any:
    """Of several writes into one element the last counts."""
    out = x * 1.0
    out[[0, 0, 1]] = x[[1, 2, 0]] * 3.0
    return out


def z(x: Any) -> Any:
    """Complex numbers."""
    return x + 1j * np.cos(x)


def parts(y: Any) -> Any:
    """Real and imaginary parts, which are real numbers."""
    return np.stack([y.real, y.imag])


def transforms(of: Callable[..., Any], several: bool, to_real: bool = False) -> list[Callable[[Any], Any]]:
    """Calls of a Fourier transform along one axis, or along several."""
    shown: Callable[[Any], Any] = (lambda y: y) if to_real else parts
    size, axis = ("s", "axes") if several else ("n", "axis")
    sizes: list[Any] = [(3, 3), (2, 7)] if several else [3, 7]
    calls: list[dict[str, Any]] = [
        *({}, {"norm": "ortho"}, {"norm": "forward"}, {axis: (0, 1) if several else 0}),
        *({size: own, axis: (-1, -2) if several else -1} for own in sizes),
    ]
    given: list[Callable[[Any], Any]] = [z] if to_real or "r" not in of.__name__ else [lambda x: x]
    if "r" not in of.__name__:
        given.append(lambda x: x)
    return [lambda x, f=f, k=k: shown(of(f(x), **k)) for f in given for k in calls]


CALLS: dict[str, list[Callable[[Any], Any]]] = {
    **{
        f"fft.{name}": transforms(getattr(np.fft, name), name[-1] in "2n", name.startswith("irfft"))
        for name in (
            f"{kind}{rank}" for kind in ("fft", "ifft", "rfft", "irfft") for rank in ("", "2", "n")
        )
    },
    "fft.fftshift": [np.fft.fftshift, lambda x: np.fft.fftshift(x, -1), lambda x: parts(np.fft.fftshift(z(x)))],
    "fft.ifftshift": [np.fft.ifftshift, lambda x: np.fft.ifftshift(x, -1), lambda x: parts(np.fft.ifftshift(z(x)))],
    "real": [np.real, lambda x: np.real(z(x) * z(x)), lambda x: z(x).T.real],
    "imag": [np.imag, lambda x: x + np.imag(x), lambda x: np.imag(z(x) * z(x)), lambda x: z(x)[::-1].imag],
    "angle": [lambda x: np.angle(z(x)), lambda x: np.angle(z(x), deg=True), lambda x: x * np.angle(x - 1.2)],
    "sum": [
        np.sum, lambda x: x.sum(-1), lambda x: np.sum(x, axis=(0, -1)), lambda x: np.sum(x, keepdims=True), lambda x: x.sum(()),
        lambda x: np.sum(x, -1, dtype=np.float64), lambda x: np.sum(x, 0, None, None, True), by_out,
        lambda x: np.sum(x, initial=2.0), lambda x: np.sum(x, 0, where=mask(x), initial=1.0), np.add.reduce,
        lambda x: np.add.reduce(x, 1), lambda x: np.add.reduce(x, axis=None), lambda x: sum(row * 2.0 for row in x) + 0.0 * x,
    ],
    "prod": [
        np.prod, lambda x: x.prod(-1), lambda x: np.prod(x, (0, 1), keepdims=True), lambda x: np.prod(x, where=mask(x)),
        lambda x: np.prod(x, 0, initial=0.5), np.multiply.reduce,
    ],
    "max": [
        np.max, lambda x: x.max(-2), lambda x: np.amax(x, axis=0, keepdims=True), lambda x: np.max(x, 0, initial=1.1),
        lambda x: np.max(x, axis=-1, where=mask(x), initial=0.7), np.maximum.reduce, lambda x: x.max(axis=(0, 1)),
    ],
    "min": [
        np.min, lambda x: x.min(-2), lambda x: np.amin(x, axis=0, keepdims=True), lambda x: np.min(x, 0, initial=1.1),
        lambda x: np.min(x, axis=-1, where=mask(x), initial=9.0), np.minimum.reduce,
    ],
    "mean": [
        np.mean, lambda x: x.mean(-1), lambda x: np.mean(x, (0, -1), keepdims=True), lambda x: np.mean(x, dtype=np.float64),
        lambda x: np.mean(x, 0, where=mask(x) | (np.arange(x.shape[-1]) == 0)), lambda x: np.mean(x, where=mask(x)),
    ],
    "var": [
        lambda x: np.var(x) * 2.0, lambda x: x.var(-1), lambda x: np.var(x, axis=(0, 1), ddof=1, keepdims=True),
        lambda x: np.var(x, -1, correction=1), lambda x: x.var(1, np.float64),
    ],
    "std": [lambda x: x.std(-1), lambda x: np.std(x, axis=0, ddof=1), lambda x: np.std(x, (0, 1), keepdims=True)],
    "nansum": [np.nansum, lambda x: np.nansum(x, -1), lambda x: np.nansum(x, axis=0, keepdims=True)],
    "cumsum": [
        np.cumsum, lambda x: x.cumsum(), lambda x: np.cumsum(x, axis=-1), lambda x: np.cumsum(x, 0, np.float64),
        np.add.accumulate, lambda x: np.add.accumulate(x, axis=1),
    ],
    "cumprod": [np.cumprod, lambda x: x.cumprod(-1), np.multiply.accumulate],
    "concatenate": [
        lambda x: np.concatenate([x, x * 2]), lambda x: np.concatenate((x, x[:1]), axis=None),
        lambda x: np.concatenate([x, np.ones(x.shape)], axis=-1), np.concatenate, lambda x: np.append(x, 2.0),
        lambda x: np.append(x, x[:1] * 2, axis=0), lambda x: np.concatenate([x, x], dtype=np.float32),
    ],
    "stack": [
        lambda x: np.stack([x, 2 * x]), lambda x: np.stack([x, np.zeros(x.shape)], axis=-1), lambda x: np.stack((x, x), -2),
        lambda x: np.array([x, x * 2]), lambda x: np.array([[x[0], 2.0 * x[0]], [x[1], x[-1]]]), lambda x: np.asarray(x) * x,
        lambda x: np.array(x, ndmin=3), lambda x: np.asarray([x.sum(), 2.0, x.max()]), lambda x: np.full((2, 3), x.sum()),
    ],
    "hstack": [lambda x: np.hstack([x, x * 2]), lambda x: np.hstack((x, np.ones(x.shape)))],
    "vstack": [lambda x: np.vstack([x, x * 2])],
    "dstack": [lambda x: np.dstack([x, x * 2])],
    "column_stack": [lambda x: np.column_stack([x, x * 2])],
    "block": [
        lambda x: np.block([[x, 2 * x], [x, x]]), lambda x: np.block([x, x]), np.block,
        lambda x: np.block([[x[0], 1.0]]),
    ],
    "append": [lambda x: np.append(x, [1.0, 2.0])],
    "where": [
        lambda x: np.where(x > 1.2, x, -x), lambda x: np.where(mask(x), x, 0.0), lambda x: x[np.where(x > 1.2)],
        lambda x: np.where(x, x, 1.0), lambda x: np.where(x > 1, 2.0, x[..., :1]), lambda x: np.where(True, x, 0),
    ],
    "clip": [
        lambda x: np.clip(x, 0.8, 1.5), lambda x: x.clip(0.8), lambda x: np.clip(x, None, 1.5), lambda x: x.clip(max=1.5),
        lambda x: np.clip(x, x[..., ::-1], 1.7), lambda x: x.clip(min=0.7, max=x * 0.9), lambda x: np.clip(x, min=0.9),
    ],
    "sort": [
        np.sort, lambda x: np.sort(x, axis=None), lambda x: np.sort(x, 0, kind="stable"), into(lambda x: x.sort()),
        into(lambda x: x.sort(0)), into(lambda x: x[..., ::2].sort()), lambda x: np.sort(x, stable=True),
    ],
    "median": [
        np.median, lambda x: np.median(x, axis=-1), lambda x: np.median(x, (0, 1), keepdims=True),
        lambda x: np.median(np.where(mask(x), x, np.nan), 0),
    ],
    "dot": [
        lambda x: np.dot(x, x.T), lambda x: x.dot(2.0), lambda x: np.dot(3.0, x), lambda x: np.dot(x[0], x[..., -1].T),
        lambda x: np.dot(x, np.arange(float(x.shape[-1]))), lambda x: np.dot(np.stack([x, x]), np.stack([x.T, x.T])),
        lambda x: np.dot(x, np.stack([x.T, x.T])), lambda x: np.dot(x[0], np.stack([x.T, x.T])),
    ],
    "vdot": [lambda x: np.vdot(x, x * 2)],
    "inner": [lambda x: np.inner(x, x), lambda x: np.inner(x, 2.0), lambda x: np.inner(x, np.arange(float(x.shape[-1])))],
    "outer": [
        lambda x: np.outer(x, x), lambda x: np.outer([1.0, 2.0], x), lambda x: np.multiply.outer(x, x[:2]),
        lambda x: np.subtract.outer(x, [1.0, 2.0]),
    ],
    "tensordot": [
        lambda x: np.tensordot(x, x, ([-1], [-1])), lambda x: np.tensordot(x, x, 0), lambda x: np.tensordot(x, x.T, 1),
        lambda x: np.tensordot(x, x.T), lambda x: np.tensordot(x, x, axes=((0, 1), (0, 1))), lambda x: np.tensordot(x, x, (0, 0)),
    ],
    "kron": [lambda x: np.kron(x, x), lambda x: np.kron(x, [1.0, 2.0]), lambda x: np.kron(2.0, x)],
    "matmul": [
        lambda x: x @ x.T, lambda x: np.matmul(x, np.swapaxes(x, -1, -2)), lambda x: x @ np.arange(float(x.shape[-1])),
        lambda x: np.ones((2, 3)) @ x, lambda x: x @ x.mT,
    ],
    "einsum": [
        lambda x: np.einsum("ij->ji", x), lambda x: np.einsum("ij,kj", x, x), lambda x: np.einsum("...j,...j->...", x, x),
        lambda x: np.einsum("ii", x), lambda x: np.einsum("...i->...", x), lambda x: np.einsum("i..., i...", x, x),
        lambda x: np.einsum("ij,ij,kj->k", x, x, x, optimize=True),
        lambda x: np.einsum("...ij,j", x, np.arange(float(x.shape[-1]))),
        lambda x: np.einsum("ijk,ljk->il", x, x, optimize="greedy"),
    ],
    "cross": [
        lambda x: np.cross(x, x[..., ::-1] * 2), lambda x: np.cross(x, np.array([1.0, 2.0, 0.5])),
        lambda x: np.cross(x, x * x, axis=1), lambda x: np.cross(x, x * x, 1, 1, 0),
    ],
    "linalg.norm": [
        np.linalg.norm, lambda x: np.linalg.norm(x, axis=-1), lambda x: np.linalg.norm(x, 1, axis=0),
        lambda x: np.linalg.norm(x, 3, -1), lambda x: np.linalg.norm(x, np.inf, -1, True), lambda x: np.linalg.norm(x, "fro"),
        lambda x: np.linalg.norm(x, 1), lambda x: np.linalg.norm(x, -np.inf),
        lambda x: np.linalg.norm(x, axis=(0, -1), keepdims=True), lambda x: np.linalg.norm(x, -1, (0, -1)),
        lambda x: np.linalg.norm(x, None, None, True), lambda x: np.linalg.norm(x, 0, -1),
        lambda x: np.linalg.norm(x, 2), lambda x: np.linalg.norm(x, -2, (0, -1), True), lambda x: np.linalg.norm(x, "nuc"),
    ],
    "linalg.eigh": [
        lambda x: np.linalg.eigh(x + x.mT)[1] * 2.0, lambda x: np.linalg.eigh(x @ x.mT, "U").eigenvalues,
        lambda x: np.linalg.eigh(x @ x.mT).eigenvectors,
    ],
    "linalg.eigvalsh": [lambda x: np.linalg.eigvalsh(x @ x.mT), lambda x: np.linalg.eigvalsh(x + x.mT, UPLO="U")],
    "linalg.svd": [
        lambda x: np.linalg.svd(x)[1], lambda x: np.linalg.svd(x, full_matrices=False).U,
        lambda x: np.linalg.svd(x, False)[2], lambda x: np.linalg.svd(x, compute_uv=False),
    ],
    "linalg.svdvals": [np.linalg.svdvals],
    "linalg.qr": [
        lambda x: np.linalg.qr(x).Q, lambda x: np.linalg.qr(x)[1], lambda x: np.linalg.qr(x, "r"),
        lambda x: np.linalg.qr(x, "complete")[1],
    ],
    "linalg.pinv": [
        np.linalg.pinv, lambda x: np.linalg.pinv(x.mT, 1e-6), lambda x: np.linalg.pinv(x, rtol=None),
        lambda x: np.linalg.pinv(x, rtol=1e-3),
    ],
    "linalg.lstsq": [
        lambda x: np.linalg.lstsq(x, x[:, 0])[0], lambda x: np.linalg.lstsq(x.T, x.T[:, :2] * 2.0, rcond=1e-6)[0],
    ],
    "linalg.vector_norm": [np.linalg.vector_norm, lambda x: np.linalg.vector_norm(x, axis=-1, ord=1, keepdims=True)],
    "linalg.inv": [lambda x: np.linalg.inv(x + 3.0 * np.eye(3))],
    "linalg.det": [np.linalg.det],
    "linalg.solve": [lambda x: np.linalg.solve(x, x[0]), lambda x: np.linalg.solve(x, x * x)],
    "linalg.cholesky": [
        lambda x: np.linalg.cholesky(x @ x.mT + np.eye(x.shape[-2])),
        lambda x: np.linalg.cholesky(x @ x.mT + np.eye(x.shape[-2]), upper=True),
    ],
    "linalg.slogdet": [
        lambda x: np.linalg.slogdet(x)[1], lambda x: np.linalg.slogdet(x).logabsdet, lambda x: np.linalg.slogdet(-x)[0],
    ],
    "linalg.matrix_power": [
        lambda x: np.linalg.matrix_power(x, 3), lambda x: np.linalg.matrix_power(x, 0) @ x,
        lambda x: np.linalg.matrix_power(x + 3.0 * np.eye(3), -2), lambda x: np.linalg.matrix_power(x, 1),
    ],
    "linalg.multi_dot": [lambda x: np.linalg.multi_dot([x, x.T, x]), lambda x: np.linalg.multi_dot([x.T, x])],
    "quantile": [
        lambda x: np.quantile(x, 0.3), lambda x: np.quantile(x, [0.2, 0.7], axis=-1), lambda x: np.quantile(x, 0.5, axis=0),
        lambda x: np.quantile(x, [0.0, 1.0], axis=(0, -1), keepdims=True),
    ],
    "percentile": [lambda x: np.percentile(x, 30, axis=-1, keepdims=True), lambda x: np.percentile(x, [25.0, 75.0])],
    "cov": [np.cov, lambda x: np.cov(x, rowvar=False), lambda x: np.cov(x, bias=True), lambda x: np.cov(x, ddof=2)],
    "nanmean": [
        np.nanmean, lambda x: np.nanmean(np.where(x > 1, x, np.nan)), lambda x: np.nanmean(x, axis=-1, keepdims=True),
    ],
    "trapezoid": [
        np.trapezoid, lambda x: np.trapezoid(x, dx=0.5, axis=0), lambda x: np.trapezoid(x, np.arange(x.shape[-1]) ** 2.0),
        lambda x: np.trapezoid(x, x * x, axis=0),
    ],
    "polyval": [lambda x: np.polyval([1.0, 2.0, 3.0], x), lambda x: np.polyval(x, 2.0), lambda x: np.polyval(x[0], x)],
    "apply_along_axis": [
        lambda x: np.apply_along_axis(lambda own: own / own.sum(), -1, x), lambda x: np.apply_along_axis(np.sum, 0, x),
        lambda x: np.apply_along_axis(lambda own: own[1:] * own[:-1], 0, x),
    ],
    "trace": [
        np.trace, lambda x: x.trace(1), lambda x: np.trace(x, -1, 1, 0), lambda x: np.trace(x, 0, 0, -1),
        lambda x: x.trace(dtype=np.float64),
    ],
    "diag": [np.diag, lambda x: np.diag(x, 1), lambda x: np.diag(x, -1)],
    "diagflat": [np.diagflat, lambda x: np.diagflat(x, -1)],
    "diff": [
        np.diff, lambda x: np.diff(x, axis=0), lambda x: np.diff(x, 2), lambda x: np.diff(x, prepend=0.0),
        lambda x: np.diff(x, 0), lambda x: np.diff(x, append=x[..., :1], axis=-1),
        lambda x: np.diff(x, n=1, axis=0, prepend=1.0, append=2.0),
    ],
    "ptp": [np.ptp, lambda x: np.ptp(x, -1), lambda x: np.ptp(x, axis=0, keepdims=True)],
    "average": [
        np.average, lambda x: np.average(x, 0), lambda x: np.average(x, weights=x),
        lambda x: np.average(x, -1, np.arange(1.0, x.shape[-1] + 1)),
        lambda x: np.average(x, axis=0, weights=np.arange(1.0, len(x) + 1), keepdims=True), lambda x: np.average(x, (0, 1)),
    ],
    "pad": [
        lambda x: np.pad(x, 1), lambda x: np.pad(x, (1, 2)), lambda x: np.pad(x, 2, "edge"),
        lambda x: np.pad(x, ((1, 0), (0, 2))), lambda x: np.pad(x, 1, constant_values=2.0),
        lambda x: np.pad(x, 1, mode="reflect"), lambda x: np.pad(x, 1, "wrap"),
        lambda x: np.pad(x, ((0, 1),) * x.ndim, mode="symmetric"),
    ],
    "split": [
        lambda x: np.split(x, 2), lambda x: np.split(x, [1, 3], axis=-1), lambda x: np.vsplit(x, 2),
        lambda x: np.split(x, [2, 1]), lambda x: np.split(x, [-1, 9]),
    ],
    "array_split": [lambda x: np.array_split(x, 3), lambda x: np.array_split(x, 4, axis=-1)],
    "vsplit": [lambda x: np.vsplit(x, [1])],
    "hsplit": [lambda x: np.hsplit(x, 2), lambda x: np.hsplit(x, [1])],
    "unstack": [np.unstack, lambda x: np.unstack(x, axis=-1)],
    "broadcast_arrays": [lambda x: np.broadcast_arrays(x, x[:1], 2.0), np.broadcast_arrays],
    "meshgrid": [
        lambda x: np.meshgrid(x, [1.0, 2.0]), lambda x: np.meshgrid(x, x * 2, indexing="ij"),
        lambda x: np.meshgrid(x, x, sparse=True), np.meshgrid, lambda x: np.meshgrid(x, x, x, copy=False),
    ],
    "compress": [
        lambda x: np.compress([True, False, True], x, axis=0), lambda x: np.compress(x.ravel() > 1.0, x),
        lambda x: x.compress([0, 1], 0),
    ],
    "extract": [lambda x: np.extract(x > 1.0, x)],
    "select": [lambda x: np.select([x > 1.5, x > 1.0], [x, x * 2]), lambda x: np.select([x < 1.0], [x], default=3)],
    "convolve": [
        lambda x: np.convolve(x, [1.0, 2.0, 0.5]), lambda x: np.convolve(x, x[:2], "valid"),
        lambda x: np.convolve([1.0, 2.0], x, "same"), lambda x: np.convolve(x, x[:4], mode="same"),
    ],
    "atleast_1d": [np.atleast_1d],
    "atleast_2d": [np.atleast_2d, lambda x: np.atleast_2d(x, 2.0)],
    "atleast_3d": [np.atleast_3d],
    "tril": [np.tril, lambda x: np.tril(x, -1)],
    "triu": [np.triu, lambda x: np.triu(x, k=1)],
    "round": [lambda x: np.round(x * 1.01) + x, lambda x: x.round(1) * x, lambda x: np.around(x * 100, -1) * x],
    "around": [lambda x: np.around(x, 1) * x],
    "nan_to_num": [np.nan_to_num, lambda x: np.nan_to_num(np.where(x > 1, np.nan, x), nan=2.0) * x],
    "sinc": [np.sinc],
    "copy": [np.copy, lambda x: np.copy(x, "F"), lambda x: x.copy("F")],
    "zeros_like": [lambda x: np.zeros_like(x) + x, lambda x: np.zeros_like(x, shape=(2,)) + x.sum()],
    "ones_like": [lambda x: np.ones_like(x, dtype=np.float32) * x],
    "empty_like": [lambda x: np.empty_like(x, int) * 0 + x],
    "full_like": [lambda x: np.full_like(x, 2.0) * x, lambda x: np.full_like(x, x.sum())],
    "reshape": [
        lambda x: x.reshape(-1), lambda x: np.reshape(x, (-1, 2)), lambda x: x.reshape(2, -1, order="F"),
        lambda x: x.reshape((-1, 1)), lambda x: np.reshape(x, -1, "F"), lambda x: np.ravel(x, "F"), lambda x: x.ravel(),
        lambda x: x.flatten("F"),
    ],
    "transpose": [
        lambda x: x.T, lambda x: x.transpose(), lambda x: x.transpose(1, 0), lambda x: np.transpose(x, (2, 0, 1)),
        lambda x: x.transpose((-1, 0, 1)), lambda x: np.swapaxes(x, 0, -1), lambda x: x.swapaxes(-1, -2),
        lambda x: np.moveaxis(x, -1, 0), lambda x: np.rollaxis(x, 1), np.matrix_transpose, lambda x: np.permute_dims(x, (1, 0)),
        lambda x: np.moveaxis(x, (0, 1), (-1, -2)),
    ],
    "squeeze": [
        np.squeeze, lambda x: x.squeeze(0), lambda x: np.expand_dims(x, (0, -1)), lambda x: x[None, ..., None].squeeze((0, -1)),
    ],
    "broadcast_to": [lambda x: np.broadcast_to(x, (5, *x.shape)), lambda x: np.broadcast_to(x[:1], x.shape) * x],
    "flip": [
        np.flip, lambda x: np.flip(x, -1), np.flipud, np.fliplr, lambda x: np.flip(x, (0, 1)), lambda x: np.rot90(x, 1),
        lambda x: np.rot90(x, -1, (0, -1)),
    ],
    "roll": [lambda x: np.roll(x, 2), lambda x: np.roll(x, -1, axis=-1), lambda x: np.roll(x, (1, 2), (0, 1))],
    "repeat": [lambda x: np.repeat(x, 2), lambda x: x.repeat(2, axis=-1), lambda x: np.repeat(x, np.arange(x.shape[0]), 0)],
    "tile": [lambda x: np.tile(x, 2), lambda x: np.tile(x, (2, 1, 1)), lambda x: np.tile(x, ()), lambda x: np.resize(x, (3, 3))],
    "take": [
        lambda x: np.take(x, [0, 2, 2]), lambda x: x.take([[1], [-1]], axis=0), lambda x: np.take(x, 1, -1),
        lambda x: np.take(x, [7, -9], 0, mode="clip"), lambda x: x.take([100], mode="wrap"),
        lambda x: np.take([1.0, 2.0], x.astype(int)) * x, lambda x: np.delete(x, 1, 0), lambda x: np.delete(x, [0, 1]),
    ],
    "take_along_axis": [
        lambda x: np.take_along_axis(x, np.argsort(x, axis=-1), -1),
        lambda x: np.take_along_axis(x, np.argsort(x, axis=0)[::-1], axis=0),
        lambda x: np.take_along_axis(x, x.argmax(-1, keepdims=True), -1), lambda x: np.take_along_axis(x, x.argsort(None), None),
    ],
    "diagonal": [
        np.diagonal, lambda x: x.diagonal(1), lambda x: np.diagonal(x, 0, 1, 2), lambda x: x.diagonal(axis1=-1, axis2=0),
    ],
    "lib.stride_tricks.sliding_window_view": [
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 0) * 2.0,
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)).sum((-1, -2)),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, axis=-1)[..., ::2].max(-1),
    ],
    "copyto": [into(lambda x: np.copyto(x, 2.0)), into(lambda x: np.copyto(x, x[::-1] * 2, where=mask(x)))],
    "put": [
        into(lambda x: np.put(x, [0, -1], x[:2].sum())), into(lambda x: np.put(x, [0, 2], [3.0, 4.0]) if x.ndim else x[:1]),
        into(lambda x: x.put([1, 1], [3.0, 4.0]) if x.ndim else x[:1]),
    ],
    "putmask": [into(lambda x: np.putmask(x, x > 1.0, x * 2)), into(lambda x: np.putmask(x, mask(x), 2.0))],
    "place": [into(lambda x: np.place(x, mask(x), x.ravel()[::-1])), into(lambda x: np.place(x, x > 1, [0.0]))],
    "put_along_axis": [
        into(lambda x: np.put_along_axis(x, x.argmax(-1)[..., None], 0.0, -1)),
        into(lambda x: np.put_along_axis(x, x.argsort(0), x[::-1] * 2, axis=0)),
        into(lambda x: np.put_along_axis(x.reshape(-1), np.array([0, 1]), 3.0, None)),
    ],
    "fill_diagonal": [into(lambda x: np.fill_diagonal(x, 2.0)), into(lambda x: np.fill_diagonal(x, x[0].sum(), wrap=True))],
    "writing": [
        into(lambda x: x.fill(3.0)), into(lambda x: x[:1].fill(x[1:].sum())), written_in_order, changed_later, scalars_stay,
        into(lambda x: x.__setitem__(Ellipsis, x[None] * 2)), into(lambda x: x[..., ::2].__imul__(3.0)), at(np.add, 2.0),
        at(np.subtract, 3.0), at(np.multiply, 3.0), at(np.maximum, 1.3), at(np.negative), at(np.divide, 2.0),
        into(lambda x: np.multiply(x, 2.0, out=x)), into(lambda x: x.__iadd__(x[..., ::-1])),
        into(lambda x: np.add.at(x, (Ellipsis, 0), x[..., 1])), into(lambda x: x[x > 1].__imul__(2)),
        into(lambda x: x.__setitem__(mask(x), x[mask(x)] * 2)),
    ],
    "numbers": [
        lambda x: x * 2 if isinstance(x, np.ndarray) else x * 3, lambda x: x * (2 if isinstance(x.sum(), float) else 3),
        lambda x: round(x.sum(), 1) * x, lambda x: x * round(x.sum()), lambda x: x * len(f"{x.sum():.3f}{x.shape}"),
        lambda x: np.sum([x[0], x[1] * 2], axis=0), lambda x: np.mean([row.sum() for row in x]),
        lambda x: x * np.max([x.sum(), 1.0]),
        lambda x: np.bincount(np.zeros(4, int)) * x, lambda x: x * np.isscalar(x.sum()) + x * np.isscalar(x),
        lambda x: x * np.float64(2.0), lambda x: np.float32(2.0) * x, lambda x: x * np.arange(x.shape[-1]), lambda x: 2 / x,
        lambda x: x**2 + 2**x, lambda x: -x + +x - abs(x - 1), lambda x: x * (x > 1), lambda x: x // 1 if x.dtype == int else x,
        np.logaddexp.reduce, lambda x: np.logaddexp.reduce(x, axis=-1, keepdims=True),
        lambda x: np.logaddexp.reduce(x, axis=None), lambda x: x.conj() * x.real,
        lambda x: x[np.isfinite(x) & (x > 1) | ~(x < 1.2)], lambda x: x[int(x[0] > 9)], lambda x: x[..., -1] * len(x),
        lambda x: {"a": x * 2, "b": (x, [x.T])}, lambda x: x[x.argmax()], lambda x: x[np.nonzero(x > 1)], lambda x: x.any() * x,
        lambda x: x[np.zeros(2, int)], lambda x: x.astype(x.dtype, copy=False) * 2,
    ],
}  # fmt: skip
