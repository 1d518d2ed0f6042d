"""Samples of an exact number of rows from the scores of a whole epoch: pure functions on NumPy arrays."""

from __future__ import annotations

import numpy as np

from ast_experiments.selection.control.threshold import log_scores


def top_k(keys: np.ndarray, count: int) -> np.ndarray:
    """Returns the `count` rows with the highest keys (n,), of equal keys the first rows; bool, shape (n,)."""
    if count <= 0:
        return np.zeros(len(keys), dtype=bool)
    lowest = np.partition(keys, len(keys) - count)[len(keys) - count]
    mask = keys > lowest
    mask[np.flatnonzero(keys == lowest)[: count - np.count_nonzero(mask)]] = True
    return mask


def add_uniform(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the mask (n,) with `count` more rows, drawn uniformly from the others."""
    mask = mask.copy()
    rest = np.flatnonzero(~mask)
    mask[rest[rng.choice(len(rest), count, replace=False, shuffle=False)]] = True
    return mask


def choose_by_loss(
    losses: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    temperature: float | None = None,
    uniform: int = 0,
    uniform_rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Chooses `count` rows: by their losses, and some of them uniformly. Rows without a loss come before all others.

    Args:
        losses: Or other scores, shape (n,); NaN for rows that have none.
        count: Number of rows, in [0, n].
        rng: For all draws.
        temperature: Draws rows in proportion to loss ** temperature; None takes the highest losses.
        uniform: How many of the rows are drawn uniformly from those that the losses did not choose, in [0, count].
        uniform_rng: For the uniform draw, if it has a stream of its own.

    Returns:
        Mask, bool, shape (n,).
    """
    unseen = np.isnan(losses)
    if unseen.any():
        return top_k(unseen + (uniform_rng or rng).random(len(losses)), count)
    if temperature is None:
        mask = top_k(losses, count - uniform)
    else:
        mask = proportional_sample(losses, temperature, count - uniform, rng)
    return add_uniform(mask, uniform, uniform_rng or rng)


def choose_with_weights(
    losses: np.ndarray, count: int, rng: np.random.Generator, *, temperature: float = 1.0, uniform: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses `count` rows with known chances, and weighs them such that the expected gradient is that of all rows.

    Args:
        losses: Or other scores, all known, shape (n,), in random order.
        count: Number of rows, in [1, n].
        rng: For the draw.
        temperature: Exponent of the losses in the chances.
        uniform: Share of the rows that does not depend on the losses, in (0, 1]; no weight is above 1 / uniform.

    Returns:
        Mask, bool, and weights of the losses, float64, of all rows; each of shape (n,). A weight is count / n / chance
        (Horvitz-Thompson), for the mean over the chosen rows.
    """
    chances = inclusion_probabilities(losses, temperature, count, uniform)
    return systematic_sample(chances, count, rng), count / len(losses) / chances


def proportional_sample(scores: np.ndarray, temperature: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws rows one after the other without replacement, each in proportion to score ** temperature.

    This is the Gumbel top-k trick (arXiv 1903.06059): the rows with the highest log weights plus Gumbel noise. The
    scores are bounded like those of a controller.

    Args:
        scores: Shape (n,).
        temperature: 0 draws uniformly; larger values favour high scores more.
        count: Number of rows.
        rng: For the draw.

    Returns:
        Mask, bool, shape (n,).
    """
    # Minus the logarithm of an exponential variable is a Gumbel variable.
    return top_k(temperature * log_scores(scores) - np.log(rng.standard_exponential(len(scores))), count)


def inclusion_probabilities(scores: np.ndarray, temperature: float, count: int, uniform: float) -> np.ndarray:
    """Returns the probability of each row to be picked: a uniform part, and a part that follows the scores.

    p = min(1, uniform x count / n + c x score ** temperature), with c such that the sum is `count`.

    Args:
        scores: Shape (n,); bounded like those of a controller.
        temperature: Exponent.
        count: Expected number of picked rows, in [0, n].
        uniform: Share of the picked rows that does not depend on the scores, in [0, 1]; the smallest probability is
            uniform x count / n.

    Returns:
        float64, shape (n,).
    """
    n = len(scores)
    base = uniform * count / n
    parts = np.exp(temperature * log_scores(scores).astype(np.float64))
    ordered = np.sort(parts)
    # For each number of highest rows with probability 1, the other rows determine c. The solution is the first c that
    # keeps all other rows at 1 or below.
    sure = np.arange(n)
    factors = (count - sure - base * (n - sure)) / np.cumsum(ordered)[::-1]
    fits = base + factors * ordered[::-1] <= 1
    factor = factors[np.argmax(fits)] if fits.any() else np.inf
    return np.minimum(1.0, base + np.maximum(factor, 0.0) * parts)


def systematic_sample(probabilities: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Picks `count` rows, row i with a probability of exactly `probabilities[i]`, by one uniform draw.

    The rows are laid end to end, each as long as its probability, and picked at equal distances. Their order must be
    random, otherwise neighbours are never picked together.

    Args:
        probabilities: Shape (n,); their sum is `count`.
        count: Whole number.
        rng: For the draw.

    Returns:
        Mask, bool, shape (n,). Rounding may give one row less, about once in a billion draws.
    """
    reach = np.cumsum(probabilities)
    reach[-1] = count  # without the rounding error of the sum
    return np.diff(np.minimum(np.floor(reach + rng.random()), count), prepend=0.0) > 0
