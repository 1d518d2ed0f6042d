r"""Control quality: how closely a controller kept the activation rate at its target.

Pure functions on the rows of a run. Only controlled rows count: step rows with `control/threshold`, and epochs that
contain such rows.

* *Smoothed rate* at a row: rows trained over rows offered, in the shortest span of rows that ends there and covers at
  least W offered rows. W = min(5,000, the fewest rows offered in a controlled epoch). It is undefined before W rows
  were offered. The offered rows of a row are the increase of `samples_offered`. The target is averaged over the same
  span, so that a moving set-point is compared fairly.
* *Band*: within ±20 % of the target.
* *Settling window*: index of the first controlled row, counted from 0, after which the smoothed rate stays in the band
  to the end; None if there is none.
* *Overshoot*: the largest (smoothed rate - target) / target, at least 0, from the first row that reaches the band (or
  jumps over it). A rate that starts above the band does not overshoot until it first reaches the target; if it settles
  above the target, the overshoot is 0. None if the band is never reached.
* *RMS error*: root mean square of epoch rate minus epoch target over controlled epochs, in units of rate.
* *Saturated share*, *fallback share*: mean over controlled epochs, weighted by offered rows; taken from the step rows
  if the epochs lack it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BAND = 0.2
SMOOTHING_ROWS = 5_000

Rows = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ControlQuality:
    """Control quality of one run, as defined in the module docstring.

    Attributes:
        settling_window: Index of the controlled step row from which the rate stays in the band; None if never.
        settling_rows: Rows offered under control up to and including that row; None if never.
        overshoot: As a share of the target; None if the band is never reached.
        rms_error: In units of rate; None without a controlled epoch.
        saturated_share: Share of control steps with the threshold at a limit; None if not logged.
        fallback_share: Share of batches that used the fallback; None if not logged.
        smoothing_rows: W, the offered rows that the smoothed rate covers.
    """

    settling_window: int | None
    settling_rows: int | None
    overshoot: float | None
    rms_error: float | None
    saturated_share: float | None
    fallback_share: float | None
    smoothing_rows: int


def control_quality(steps: Rows, epochs: Rows) -> ControlQuality | None:
    """Computes the control quality of a run; None if no row was controlled.

    Args:
        steps: Rows of kind "step" in order, including uncontrolled ones.
        epochs: Rows of kind "epoch" in order.
    """
    rate, target, offered = _signals(steps)
    if not len(rate):
        return None
    controlled = controlled_epochs(steps, epochs)
    sizes = [row["epoch/rows_offered"] for row in controlled if row.get("epoch/rows_offered")]
    window = min([SMOOTHING_ROWS, *sizes])
    smoothed, reference = moving_mean(rate, offered, window), moving_mean(target, offered, window)
    settled = settling_index(smoothed, reference)
    held = [row for row in steps if "control/threshold" in row]
    return ControlQuality(
        settling_window=settled,
        settling_rows=None if settled is None else round(float(offered[: settled + 1].sum())),
        overshoot=overshoot(smoothed, reference),
        rms_error=rms_error(
            [row["epoch/activation_rate"] for row in controlled], [row["epoch/target"] for row in controlled]
        ),
        saturated_share=_share(controlled, "epoch/saturated_share", held, "control/saturated"),
        fallback_share=_share(controlled, "epoch/fallback_share", held, "control/fallback"),
        smoothing_rows=int(window),
    )


def moving_mean(values: ArrayLike, weights: ArrayLike, window: float) -> Floats:
    """Computes weighted means over the shortest trailing spans whose weights reach `window`.

    Args:
        values: Shape (n,).
        weights: Non-negative, shape (n,); here the rows offered.
        window: Minimum weight of a span, positive.

    Returns:
        Shape (n,); NaN as long as the weights so far are below `window`.
    """
    values, weights = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    reach = np.concatenate([[0.0], np.cumsum(weights)])
    total = np.concatenate([[0.0], np.cumsum(values * weights)])
    ends = np.arange(1, len(reach))
    slack = 1e-9 * window  # offered rows come from a division
    starts = np.searchsorted(reach, reach[ends] - window + slack, side="right") - 1
    covered = starts >= 0
    starts = np.maximum(starts, 0)
    span = reach[ends] - reach[starts]
    means = (total[ends] - total[starts]) / np.where(span > 0, span, 1.0)
    return np.where(covered & (span > 0), means, np.nan)


def settling_index(smoothed: ArrayLike, target: ArrayLike, band: float = BAND) -> int | None:
    """Returns the first index from which the rate stays within `band`, a share of the target, to the end."""
    inside = _inside(smoothed, target, band)
    if not len(inside) or not inside[-1]:
        return None
    outside = np.flatnonzero(~inside)
    return int(outside[-1]) + 1 if len(outside) else 0


def overshoot(smoothed: ArrayLike, target: ArrayLike, band: float = BAND) -> float | None:
    """Returns the largest excess, as a share of the target, once the rate has reached the band."""
    smoothed, target = np.asarray(smoothed, dtype=np.float64), np.asarray(target, dtype=np.float64)
    exists = np.isfinite(smoothed)
    excess = ((smoothed - target) / target)[exists]
    if not len(excess):
        return None
    from_above = excess[0] > band
    arrived = np.flatnonzero(excess <= 0 if from_above else excess >= -band)
    if len(arrived):
        return max(0.0, float(excess[arrived[0] :].max()))
    return 0.0 if from_above and excess.min() <= band else None


def rms_error(rate: ArrayLike, target: ArrayLike) -> float | None:
    """Returns the RMS of rate minus target, shapes (n,); None for n = 0."""
    error = np.asarray(rate, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    return float(np.sqrt(np.mean(error**2))) if len(error) else None


def controlled_epochs(steps: Rows, epochs: Rows) -> list[Mapping[str, Any]]:
    """Returns the epoch rows that have a rate and a target, and whose step rows have `control/threshold`.

    For an epoch too short to have a step row, the next step row counts, since it covers the epoch.
    """
    at = np.array([row["step"] for row in steps])
    held = np.array(["control/threshold" in row for row in steps], dtype=bool)
    found, begin = [], -1
    for row in epochs:
        own = held[(at > begin) & (at <= row["step"])] if len(at) else held
        if not len(own) and len(at):
            own = held[[min(int(np.searchsorted(at, row["step"])), len(at) - 1)]]
        begin = row["step"]
        if own.any() and "epoch/activation_rate" in row and "epoch/target" in row:
            found.append(row)
    return found


def settling_epoch(steps: Rows, window: float | None) -> float | None:
    """Returns the epochs completed at the settling window; None if it is None or the rows do not tell."""
    held = [row for row in steps if _controlled(row)]
    return held[int(window)].get("epoch") if window is not None and 0 <= window < len(held) else None


def _signals(steps: Rows) -> tuple[Floats, Floats, Floats]:
    """Returns rate, target and offered rows of the controlled step rows."""
    offered = np.diff(np.array([0, *(row["samples_offered"] for row in steps)], dtype=np.float64))
    held = np.array([_controlled(row) for row in steps], dtype=bool)
    rows = [row for row, ours in zip(steps, held, strict=True) if ours]
    rate = np.array([row["control/activation_rate"] for row in rows], dtype=np.float64)
    target = np.array([row["control/target"] for row in rows], dtype=np.float64)
    return rate, target, offered[held]


def _controlled(row: Mapping[str, Any]) -> bool:
    return all(key in row for key in ("control/threshold", "control/activation_rate", "control/target"))


def _inside(smoothed: ArrayLike, target: ArrayLike, band: float) -> NDArray[np.bool_]:
    smoothed, target = np.asarray(smoothed, dtype=np.float64), np.asarray(target, dtype=np.float64)
    return np.abs(smoothed - target) <= band * target


def _share(epochs: Rows, epoch_key: str, steps: Rows, step_key: str) -> float | None:
    rows = [(row[epoch_key], row.get("epoch/rows_offered", 1.0)) for row in epochs if epoch_key in row]
    if rows:
        return float(np.average([value for value, _ in rows], weights=[weight for _, weight in rows]))
    return _mean(row[step_key] for row in steps if step_key in row)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None
