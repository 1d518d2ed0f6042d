"""Picks of an exact number of rows from a whole epoch's scores: pure functions on NumPy arrays."""

from __future__ import annotations

import numpy as np

from ast_experiments.selection.control.threshold import log_scores


def top_k(keys: np.ndarray, count: int) -> np.ndarray:
    """The `count` rows with the highest keys, of equal ones the first; bool, of the shape of the keys, (n,)."""
    if count <= 0:
        return np.zeros(len(keys), dtype=bool)
    lowest = np.partition(keys, len(keys) - count)[len(keys) - count]
    mask = keys > lowest
    mask[np.flatnonzero(keys == lowest)[: count - np.count_nonzero(mask)]] = True
    return mask


def add_uniform(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The mask (n,) with `count` more rows, drawn uniformly from the others."""
    mask = mask.copy()
    rest = np.flatnonzero(~mask)
    mask[rest[rng.choice(len(rest), count, replace=False, shuffle=False)]] = True
    return mask


def proportional_sample(scores: np.ndarray, temperature: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn one after the other without replacement, each in proportion to score ** temperature.

    By the Gumbel top-k trick (arXiv 1903.06059): the highest log weights plus Gumbel noise are such a draw. The scores
    are bounded as those of a controller are.

    Args:
        scores: Shape (n,).
        temperature: 0 draws uniformly; the larger, the surer the highest scores are drawn.
        count: How many.
        rng: For the draw.

    Returns:
        Bool, shape (n,).
    """
    # Minus the logarithm of an exponential variable is a Gumbel variable.
    return top_k(temperature * log_scores(scores) - np.log(rng.standard_exponential(len(scores))), count)


def inclusion_probabilities(scores: np.ndarray, temperature: float, count: int, uniform: float) -> np.ndarray:
    """The chance of each row to be picked: a uniform part and one in proportion to score ** temperature.

    p = min(1, uniform x count / n + c x score ** temperature), with c such that the sum is `count`.

    Args:
        scores: Shape (n,), bounded as those of a controller are.
        temperature: Exponent.
        count: Expected number of picks, in [0, n].
        uniform: Share of the picks that does not depend on the scores, in [0, 1]; no row is less likely than
            uniform x count / n.

    Returns:
        float64, shape (n,).
    """
    n = len(scores)
    base = uniform * count / n
    parts = np.exp(temperature * log_scores(scores).astype(np.float64))
    ordered = np.sort(parts)
    # With the `sure` highest rows at 1, what the others share gives c; the first that keeps them all under 1 holds.
    sure = np.arange(n)
    factors = (count - sure - base * (n - sure)) / np.cumsum(ordered)[::-1]
    fits = base + factors * ordered[::-1] <= 1
    factor = factors[np.argmax(fits)] if fits.any() else np.inf
    return np.minimum(1.0, base + np.maximum(factor, 0.0) * parts)


def systematic_sample(chances: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows, row i with a chance of exactly `chances[i]`, by one uniform draw.

    The rows are laid end to end, each as long as its chance, and picked at equal distances. Their order must be random,
    or neighbours are never picked together.

    Args:
        chances: Adding up to `count`, shape (n,).
        count: Whole number.
        rng: For the draw.

    Returns:
        Bool, shape (n,). Rounding may, once in a billion, give one row less.
    """
    reach = np.cumsum(chances)
    reach[-1] = count  # not a rounding error less
    return np.diff(np.minimum(np.floor(reach + rng.random()), count), prepend=0.0) > 0
