"""Control quality on step responses whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ast_experiments.runs.control_quality import (
    control_quality,
    controlled_epochs,
    moving_mean,
    overshoot,
    rms_error,
    settling_index,
)

OFFERED = 2_500  # rows offered by a step row: two of them fill the smoothing window


def step_rows(rates: Any, target: Any = 0.3, warmup: int = 0, **extra: float) -> list[dict[str, Any]]:
    """Step rows whose smoothed rate has the closed form (rate[i-1] + rate[i]) / 2."""
    rates = np.concatenate([np.ones(warmup), np.asarray(rates, dtype=float)])
    targets = np.broadcast_to(np.asarray(target, dtype=float), (len(rates),))
    rows, seen = [], 0.0
    for i, (rate, aim) in enumerate(zip(rates, targets, strict=True)):
        seen += rate * OFFERED
        row = {
            "kind": "step",
            "step": i + 1,
            "epoch": (i + 1) / 10,
            "samples_seen": seen,
            "samples_offered": OFFERED * (i + 1),
            "control/target": aim,
        }
        row["control/activation_rate"] = rate
        rows.append(row | ({"control/threshold": 1.0, **extra} if i >= warmup else {}))
    return rows


def epoch_rows(steps: list[dict[str, Any]], size: int = 10) -> list[dict[str, Any]]:
    rows = []
    for i in range(0, len(steps), size):
        part = steps[i : i + size]
        rows.append(
            {
                "kind": "epoch",
                "step": part[-1]["step"],
                "epoch": i / size + 1,
                "epoch/activation_rate": float(np.mean([row["control/activation_rate"] for row in part])),
                "epoch/target": part[-1]["control/target"],
                "epoch/rows_offered": OFFERED * len(part),
            }
        )
    return rows


TIME = np.arange(100)
CASES = {
    # the smoothed rate lags by half a row: |d| exp(-(i - 0.5)/8) <= 0.06 (to first order)
    "exponential from above": (0.3 + 0.5 * np.exp(-TIME / 8), 18, 0.0),
    "exponential from below": (0.3 - 0.25 * np.exp(-TIME / 8), 12, 0.0),
    "constant": (np.full(100, 0.3), 1, 0.0),
    "constant, 10 % high": (np.full(100, 0.33), 1, 0.1),
    "saturated high": (np.full(100, 0.6), None, None),
    "saturated low": (np.full(100, 0.05), None, None),
    "leaps over the band": (np.r_[np.full(10, 0.1), np.full(10, 0.6), np.full(80, 0.3)], 21, 1.0),
    "lost at the end": (np.r_[np.full(90, 0.3), np.full(10, 0.5)], None, 2 / 3),
    "too short to smooth": (np.array([0.3]), None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_step_responses(name: str) -> None:
    rates, settled, excess = CASES[name]
    steps = step_rows(rates)
    quality = control_quality(steps, [])
    assert quality is not None
    assert quality.settling_window == settled
    assert quality.settling_rows == (None if settled is None else OFFERED * (settled + 1))
    assert quality.overshoot == (None if excess is None else pytest.approx(excess, abs=1e-9))
    assert quality.smoothing_rows == 5_000


def test_ringing() -> None:
    """d exp(-t/tau) cos(w t): the peaks decide both figures."""
    rates = 0.3 * (1 + 0.8 * np.exp(-TIME / 20) * np.cos(TIME / 5))
    smooth = (rates[1:] + rates[:-1]) / 2
    quality = control_quality(step_rows(rates), [])
    assert quality is not None
    outside = np.flatnonzero(np.abs(smooth - 0.3) > 0.06)
    assert quality.settling_window == outside[-1] + 2
    below = np.flatnonzero(smooth <= 0.3)[0]
    assert quality.overshoot == pytest.approx((smooth[below:].max() - 0.3) / 0.3)
    assert 0.1 < (quality.overshoot or 0) < 0.25


@pytest.mark.parametrize("warmup", [0, 7, 20])
def test_warm_up_does_not_count(warmup: int) -> None:
    rates = 0.3 + 0.5 * np.exp(-TIME / 8)
    steps = step_rows(rates, warmup=warmup)
    quality = control_quality(steps, epoch_rows(steps))
    assert quality is not None
    assert quality.settling_window == 18


def test_moving_target_compares_like_with_like() -> None:
    target = np.linspace(0.9, 0.3, 100)
    quality = control_quality(step_rows(target, target), [])
    assert quality is not None
    assert (quality.settling_window, quality.overshoot) == (1, pytest.approx(0.0, abs=1e-9))


def test_epochs_and_shares() -> None:
    steps = step_rows(np.full(40, 0.33), warmup=10, **{"control/saturated": 1.0, "control/fallback": 0.0})
    quality = control_quality(steps, epoch_rows(steps))
    assert quality is not None
    assert quality.rms_error == pytest.approx(0.03)
    assert (quality.saturated_share, quality.fallback_share) == (1.0, 0.0)
    told = [row | {"epoch/saturated_share": 0.25} for row in epoch_rows(steps)]
    told[0]["epoch/saturated_share"] = 1.0  # warm-up: not counted
    quality = control_quality(steps, told)
    assert quality is not None
    assert quality.saturated_share == pytest.approx(0.25)


def test_window_is_an_epoch_where_that_is_smaller() -> None:
    steps = step_rows(np.full(40, 0.3))
    quality = control_quality(steps, epoch_rows(steps, size=1))
    assert quality is not None
    assert (quality.smoothing_rows, quality.settling_window) == (OFFERED, 0)


def test_no_control_no_quality() -> None:
    steps = step_rows([], warmup=20)
    assert control_quality(steps, epoch_rows(steps)) is None
    assert control_quality([], []) is None


def test_rows_that_trained_nothing() -> None:
    quality = control_quality(step_rows(np.zeros(20)), [])
    assert quality is not None
    assert (quality.settling_window, quality.overshoot) == (None, None)


def test_an_epoch_without_step_rows_takes_after_the_next() -> None:
    steps = [row for row in step_rows(np.full(30, 0.3), warmup=10) if row["step"] in {5, 25, 35}]
    epochs = [row | {"step": 10 * (i + 1)} for i, row in enumerate(epoch_rows(step_rows(np.full(40, 0.3))))]
    assert [row["step"] for row in controlled_epochs(steps, epochs)] == [20, 30, 40]
    assert controlled_epochs([], epochs) == []


@pytest.mark.parametrize(
    ("values", "weights", "window", "expected"),
    [
        ([1, 2, 3, 4], [1, 1, 1, 1], 2, [np.nan, 1.5, 2.5, 3.5]),
        ([1, 2, 3, 4], [1, 1, 1, 1], 1, [1, 2, 3, 4]),
        ([1, 2, 3, 4], [1, 3, 1, 3], 4, [np.nan, 1.75, 2.25, 3.75]),
        ([1, 2], [1, 1], 5, [np.nan, np.nan]),
        ([], [], 5, []),
    ],
)
def test_moving_mean(values: list[float], weights: list[float], window: float, expected: list[float]) -> None:
    np.testing.assert_allclose(moving_mean(values, weights, window), expected)


def test_parts() -> None:
    assert settling_index([], []) is None
    assert overshoot([np.nan], [0.3]) is None
    assert rms_error([], []) is None
    assert rms_error([0.3, 0.5], [0.3, 0.4]) == pytest.approx(0.1 / np.sqrt(2))


def test_a_row_counts_by_what_it_was_offered() -> None:
    """A rate of 1 over 10 offered rows hardly moves the smoothed rate."""
    steps = step_rows(np.full(40, 0.3))
    short = {**steps[19], "control/activation_rate": 1.0, "samples_offered": steps[18]["samples_offered"] + 10}
    later = [{**row, "samples_offered": row["samples_offered"] - OFFERED + 10} for row in steps[20:]]
    quality = control_quality([*steps[:19], short, *later], [])
    assert quality is not None
    assert quality.overshoot == pytest.approx(0.7 / 0.3 * 10 / (2 * OFFERED), rel=0.01)
