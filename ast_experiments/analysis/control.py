r"""How well a controller held its target: pure functions on the rows of a run.

Definitions. Only rows under control count: step rows that carry `control/threshold`, and epochs that hold
such rows.

* *Smoothed rate* at a row: rows trained over rows offered in the shortest stretch of rows that ends there and
  covers at least W offered rows, W = min(5,000, the fewest rows offered in a controlled epoch). Before W rows
  were offered it does not exist. A row's offered rows are the step of
  `samples_offered`. The target is averaged over the same stretch, so a moving set-point compares like with
  like.
* *Band*: within ±20 % of the target.
* *Settling window*: index, counted from 0 at the first row under control, of the first row from which the
  smoothed rate stays in the band to the end; None if it never does.
* *Overshoot*: the largest (smoothed rate - target) / target, at least 0, from the first row that reaches the
  band (or leaps over it). A rate that comes from above the band is on its way, not overshooting, until it
  first touches the target; one that settles above it has overshoot 0. None if the band is never reached.
* *RMS error*: root mean square, over controlled epochs, of epoch rate minus epoch target; in units of rate.
* *Saturated share*, *fallback share*: mean over controlled epochs, weighted by offered rows; from the step
  rows where epochs do not carry it.
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
    """Control quality of one run; definitions in the module's docstring.

    Attributes:
        settling_window: Index of the step row under control from which the rate holds; None if never.
        settling_rows: Rows offered under control up to and including that row; None if never.
        overshoot: Share of the target; None if the band is never reached.
        rms_error: In units of rate; None without a controlled epoch.
        saturated_share: Share of control steps at a limit of the threshold; None if not logged.
        fallback_share: Share of batches that fell back; None if not logged.
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
    """Returns the control quality of a run, or None if nothing in it was under control.

    Args:
        steps: Rows of kind "step" in order, uncontrolled ones included.
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
    """Returns weighted means over the shortest trailing stretches whose weights reach `window`.

    Args:
        values: Shape (n,).
        weights: At least 0, shape (n,); here the rows offered.
        window: Weight that a stretch covers at least, above 0.

    Returns:
        Shape (n,); NaN where the weights up to there do not reach `window`.
    """
    values, weights = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    reach = np.concatenate([[0.0], np.cumsum(weights)])
    total = np.concatenate([[0.0], np.cumsum(values * weights)])
    ends = np.arange(1, len(reach))
    slack = 1e-9 * window  # the offered rows come from a division
    starts = np.searchsorted(reach, reach[ends] - window + slack, side="right") - 1
    covered = starts >= 0
    starts = np.maximum(starts, 0)
    span = reach[ends] - reach[starts]
    means = (total[ends] - total[starts]) / np.where(span > 0, span, 1.0)
    return np.where(covered & (span > 0), means, np.nan)


def settling_index(smoothed: ArrayLike, target: ArrayLike, band: float = BAND) -> int | None:
    """Returns the first index from which the rate stays within `band` (share of the target) to the end."""
    inside = _inside(smoothed, target, band)
    if not len(inside) or not inside[-1]:
        return None
    outside = np.flatnonzero(~inside)
    return int(outside[-1]) + 1 if len(outside) else 0


def overshoot(smoothed: ArrayLike, target: ArrayLike, band: float = BAND) -> float | None:
    """Returns the largest excess over the target, as a share of it, once the rate has reached the band."""
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
    """Returns the root mean square of rate minus target, shapes (n,); None for n = 0."""
    error = np.asarray(rate, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    return float(np.sqrt(np.mean(error**2))) if len(error) else None


def controlled_epochs(steps: Rows, epochs: Rows) -> list[Mapping[str, Any]]:
    """Returns the epoch rows with a rate and a target whose step rows carry `control/threshold`.

    An epoch too short to hold a step row of its own is judged by the next one, which covers it.
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


def _signals(steps: Rows) -> tuple[Floats, Floats, Floats]:
    """Rate, target and offered rows of the step rows under control."""
    offered = np.diff(np.array([0, *(row["samples_offered"] for row in steps)], dtype=np.float64))
    needed = ("control/threshold", "control/activation_rate", "control/target")
    held = np.array([all(key in row for key in needed) for row in steps], dtype=bool)
    rows = [row for row, ours in zip(steps, held, strict=True) if ours]
    rate = np.array([row["control/activation_rate"] for row in rows], dtype=np.float64)
    target = np.array([row["control/target"] for row in rows], dtype=np.float64)
    return rate, target, offered[held]


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
