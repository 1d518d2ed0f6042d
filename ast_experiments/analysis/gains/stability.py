r"""Stability theory of the gains: the poles of the control loops.

The plant. A window of rows is compared with a level x, the threshold or its logarithm; the share y = 1 - F(x) passes.
Near the level x* at which the share is the target r, y = r - f (x - x*), where f is the density of the scores there, in
units of 1/x. Each window moves the level of the next one. With m <- alpha y + (1 - alpha) m, e = m - r and
a = 1 - alpha, the error in the z-domain is

    E = -alpha f z / (z - a)  X

`pi` moves x by kp (e - e_previous) + ki e, so (z - 1) X = (kp (z - 1) + ki z) / z  E, and the loop's poles solve

    z^2 + (alpha f (kp + ki) - 1 - a) z + a - alpha f kp = 0

By Jury's conditions they lie inside the unit circle if ki > 0 and kp + ki / 2 < (2 - alpha) / (alpha f).

The published laws `sundew_comparison` and `sundew_two_stage` move x by kp e + ki S with S the sum of all e, so
(z - 1) X = (kp + ki z / (z - 1)) E: the level integrates the error and S does so once more. With the clamps open

    z^3 + (alpha f (kp + ki) - 2 - a) z^2 + (1 + 2 a - alpha f kp) z - a = 0

which is stable if ki > 0 and

    ki a / alpha  <  kp  <  2 (2 - alpha) / (alpha f) - ki / 2

The lower bound does not depend on the scores. For small gains the loop is an oscillator: with any kp > ki a / alpha
it rings at sqrt(f ki) radians per window and decays at a rate of f (kp - ki a / alpha) / 2.

`sundew_report` observes the rate since the start, whose sensitivity decays like 1 / t; it has no fixed poles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Law = Literal["pi", "published"]
Floats = NDArray[np.float64]

LAWS: Mapping[str, Law] = {"pi": "pi", "sundew_comparison": "published", "sundew_two_stage": "published"}
"""The law of each controller. `pi` moves the logarithm of the threshold, so its f is the density of log-scores."""


def polynomial(law: Law, kp: ArrayLike, ki: ArrayLike, alpha: float, density: ArrayLike) -> Floats:
    """Returns the closed loop's characteristic polynomial, highest power first.

    Args:
        law: The law.
        kp: Proportional gain, shape (...).
        ki: Integral gain, shape (...).
        alpha: Weight of the newest window in the EMA, in (0, 1].
        density: f, of the scores at the threshold in units of 1/level, shape (...).

    Returns:
        Shape (..., 3) for `pi`, (..., 4) for `published`.
    """
    kp, ki, density = (np.asarray(x, dtype=np.float64) for x in (kp, ki, density))
    a, p, i = 1 - alpha, alpha * density * kp, alpha * density * ki
    terms = [1.0, p + i - 1 - a, a - p] if law == "pi" else [1.0, p + i - 2 - a, 1 + 2 * a - p, -a]
    return np.stack(np.broadcast_arrays(*terms), axis=-1)


def dominant(law: Law, kp: ArrayLike, ki: ArrayLike, alpha: float, density: ArrayLike) -> NDArray[np.complex128]:
    """Returns the closed loop's pole of largest modulus, with a non-negative imaginary part; shape (...)."""
    coefficients = polynomial(law, kp, ki, alpha, density)
    flat = coefficients.reshape(-1, coefficients.shape[-1])
    found = np.array([max(np.roots(row), key=lambda z: (abs(z), z.imag)) for row in flat], dtype=np.complex128)
    return (found.real + 1j * np.abs(found.imag)).reshape(coefficients.shape[:-1])


def bounds(law: Law, ki: ArrayLike, alpha: float, density: float | None) -> tuple[Floats, Floats]:
    """Computes the lowest and highest stable kp.

    Args:
        law: The law.
        ki: Integral gain, at least 0, shape (...).
        alpha: Weight of the newest window in the EMA.
        density: f; None if unknown.

    Returns:
        Two arrays of shape (...); the second is infinite without a density. If it is below the first, nothing is
            stable.
    """
    ki = np.asarray(ki, dtype=np.float64)
    if law == "pi":
        low, high = np.zeros_like(ki), (2 - alpha) / alpha
    else:
        low, high = ki * (1 - alpha) / alpha, 2 * (2 - alpha) / alpha
    return low, np.full_like(ki, np.inf) if density is None else np.maximum(high / density - ki / 2, 0.0)


def margin(law: Law, kp: ArrayLike, ki: ArrayLike, alpha: float, density: float | None) -> Floats:
    """Computes the distance of kp from the stability boundary.

    Returns:
        Log of the factor, shape (...): positive if the loop is stable, negative if not.
    """
    kp = np.asarray(kp, dtype=np.float64)
    low, high = bounds(law, ki, alpha, density)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(np.log(kp / low), np.log(high / kp))


def score_density(scores: ArrayLike, target: float) -> float:
    """Estimates the density of scores at the threshold that a share `target` exceeds, from two quantiles.

    Args:
        scores: Shape (n,), without NaN; log-scores for `pi`.
        target: In (0, 1).
    """
    half = min(0.05, target / 2, (1 - target) / 2)
    low, high = np.quantile(np.asarray(scores, dtype=np.float64), [1 - target - half, 1 - target + half])
    return float(2 * half / max(high - low, 1e-12))


def steepest(scores: ArrayLike, target: float, levels: int = 97) -> float:
    """Computes the steepest slope from the operating point to another point of the curve of rate over level.

    Where the curve bends, large swings see another slope than small ones, but never more than this one. So gains that
    are stable for all densities up to it are stable for swings of any size (the sector of absolute stability; that
    linear loops decide it is Aizerman's conjecture, not a theorem).

    Args:
        scores: Shape (n,), without NaN.
        target: In (0, 1).
        levels: Points of the curve to examine, between rates of 0.02 and 0.98, except those within 0.04 of the
            target.
    """
    rates = np.linspace(0.02, 0.98, levels)
    rates = rates[np.abs(rates - target) > 0.04]
    here, there = np.split(np.quantile(np.asarray(scores, dtype=np.float64), [1 - target, *(1 - rates)]), [1])
    return float(np.max((rates - target) / np.maximum(np.abs(here - there), 1e-12) * np.sign(here - there)))
