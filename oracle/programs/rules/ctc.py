"""The rule of connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.adjoint import plain
from oracle.programs.geometry import mapped
from oracle.programs.table import rule


def _log_sum(*parts: Any) -> Any:
    """ln Σ e^x over several arrays."""
    largest = np.max(np.stack([plain(own) for own in parts]), axis=0)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    total: Any = 0.0
    for own in parts:
        total = np.exp(own - largest) + total
    none = plain(total) == 0
    return np.where(none, -np.inf, np.log(np.where(none, 1.0, total)) + largest)


def _labels(targets: Array, lengths: Array, blank: int) -> Array:
    """(N, 2 S + 1): the labels of each sample with a blank before, between and behind them."""
    several = targets.ndim == 2 and len(lengths) == len(targets)
    ends = np.cumsum(lengths)
    made = np.full((len(lengths), 2 * int(lengths.max(initial=0)) + 1), blank)
    for n, length in enumerate(lengths):
        own = targets[n, :length] if several else targets.reshape(-1)[ends[n] - length : ends[n]]
        made[n, 1 : 2 * length : 2] = own
    return made


def _moved(x: Any, by: int, allowed: Any = True) -> Any:
    """(N, labels) moved by some places, with minus infinity where nothing comes from."""

    def turned(own: Array) -> Array:
        return np.roll(own, by, axis=1)

    places = np.arange(x.shape[1]) - by
    return np.where((places >= 0) & (places < x.shape[1]) & allowed, mapped(x, turned), -np.inf)


@rule("_ctc_loss")
def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, zero_infinity: bool = False
) -> Any:
    """-ln of the probability of all alignments; g times the probability of a class less the share of the alignments that have it
    there, which is right before a log-softmax; 0 (zero_infinity) or NaN where there is no alignment; NaN beside NaN or infinity.

    Source: A. Graves et al., "Connectionist temporal classification" (2006), eqs. (6) to (16).
    """
    x = log_probs if log_probs.ndim == 3 else np.expand_dims(log_probs, 1)  # (T, N, C)
    times, lengths = (np.asarray(own).reshape(-1).astype(int) for own in (input_lengths, target_lengths))
    labels = _labels(targets if log_probs.ndim == 3 else targets.reshape(1, -1), lengths, blank)
    steps, samples, ends = x.shape[0], np.arange(x.shape[1]), 2 * lengths
    of_labels = mapped(x, lambda own: own[:, samples[:, None], labels])  # (T, N, labels)
    places = np.arange(labels.shape[1])
    skips = (places % 2 == 1) & (places >= 2) & (labels != np.roll(labels, 2, axis=1))
    last = (places == ends[:, None]) | ((places == ends[:, None] - 1) & (lengths > 0)[:, None])

    alphas = [np.where((places < 2) & (places <= ends[:, None]), of_labels[0], -np.inf)] if steps else []
    for step in range(1, steps):
        before = alphas[-1]
        alphas.append(_log_sum(before, _moved(before, 1), _moved(before, 2, skips)) + of_labels[step])
    alpha = np.stack([np.where(places == 0, np.zeros_like(of_labels, shape=labels.shape), -np.inf), *alphas])
    reached = mapped(alpha, lambda own: own[times, samples])  # the first is of no steps
    reached = np.where(last, reached, -np.inf)
    loss = -_log_sum(*(reached[:, place] for place in range(labels.shape[1])))
    loss = np.where(np.isneginf(plain(loss)), np.nan, loss)  # of an infinite probability
    absent, unknown = np.isposinf(plain(loss)), np.isnan(plain(loss))

    def backward(g: Any, _: Any = None) -> Any:
        betas: list[Any] = []
        start = np.where(last, np.zeros_like(of_labels, shape=labels.shape), -np.inf)
        for step in reversed(range(steps)):
            after = betas[-1] if betas else start
            along = _log_sum(after, _moved(after, -1), _moved(after, -2, np.roll(skips, -2, axis=1)))
            begins, within = (times == step + 1)[:, None], (times > step)[:, None]
            betas.append(np.where(within, np.where(begins, start, along) + of_labels[step], -np.inf))
        # alpha and beta both hold the label's own probability
        both = np.stack(alphas) + np.stack(betas[::-1]) - of_labels
        share = np.zeros_like(x)
        np.add.at(
            share, (np.arange(steps)[:, None, None], samples[:, None], labels), np.exp(both + loss.reshape(-1, 1))
        )
        grad = (np.exp(x) - share) * g.reshape(1, -1, 1)
        grad = np.where(absent[:, None], 0.0 if zero_infinity else np.nan, grad)
        grad = np.where(unknown[:, None], np.nan, grad)
        kept = (np.arange(steps)[:, None] < times)[..., None]
        return (np.where(kept, grad, 0.0).reshape(log_probs.shape),)

    return (loss if log_probs.ndim == 3 else loss.reshape(()), None), backward
