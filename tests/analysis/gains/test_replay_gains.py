"""The replay of recorded scores through the published law."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ast_experiments.selection.control.controller import NO_SCORES
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.numeric import generator


@pytest.fixture(scope="module")
def script() -> ModuleType:
    folder = str(Path(__file__).parents[3] / "scripts")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("replay_gains")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    """Forty epochs of exponential scores: density and rate are equal at every level."""
    return np.random.default_rng(0).exponential(size=(40, 3_200)).astype(np.float32)


def plain(scores: np.ndarray, law: SundewComparison, start: float, target: float, window: int) -> list[float]:
    """Levels of one replay, row by row."""
    state, found = law.begin_epoch(None, NO_SCORES, target)._replace(level=start), []
    for epoch, row in enumerate(scores):
        streamed = row[generator(0, 1, epoch).permutation(len(row))]
        for i in range(0, len(row) - window + 1, window):
            found.append(float(state.level))
            active = sum(float(score) > found[-1] for score in streamed[i : i + window])
            state = law.observe(state, active, window, target)
    return found


def test_swings_are_those_of_two_plain_replays(script: ModuleType, scores: np.ndarray) -> None:
    gains = [(0.3, 0.004), (5.0, 0.01)]
    kp, ki = np.transpose(gains)
    found = script.swings(scores[:2, :330], kp, ki, 0.3, window=64)
    starts = np.quantile(scores[0, :330].astype(np.float64), [0.7, 0.4])
    for i, (p, q) in enumerate(gains):
        law = SundewComparison(kp=p, ki=q, low=-np.inf, high=np.inf)
        near, far = (plain(scores[:2, :330], law, float(start), 0.3, 64) for start in starts)
        assert found[:, i] == pytest.approx(np.subtract(far, near), abs=1e-9)
    assert len(found) == 10


@pytest.mark.parametrize(
    ("factor", "period", "expected"),
    [
        (1.002, 100, True),
        (0.998, 100, False),
        (1.0001, 100, True),
        (0.9999, 100, False),
        (-1.5, 2, True),
        (-0.5, 2, False),
    ],
)
def test_envelopes(script: ModuleType, factor: float, period: float, expected: bool) -> None:
    steps = np.arange(1_000)
    swing = np.abs(factor) ** steps.astype(np.longdouble)
    swing = swing * (np.cos(2 * np.pi * steps / period) if factor > 0 else (-1.0) ** steps)
    assert script.grows(swing.astype(np.float64), period, np.ones(1_000)) is expected


def test_an_envelope_that_only_drifts_with_the_density_is_told_from_one_that_grows(script: ModuleType) -> None:
    steps = np.arange(1_000)
    density = np.linspace(1, 0.01, 1_000)
    swing = density**-0.25 * np.cos(2 * np.pi * steps / 100)
    assert script.grows(swing, 100, np.ones(1_000)) is True
    assert script.grows(swing * 0.9995**steps, 100, density) is False


def test_replays_agree_with_theory_far_from_the_boundary(script: ModuleType, scores: np.ndarray) -> None:
    kp, ki = np.array([0.002, 0.3, 60.0]), np.array([0.004, 0.01])
    grid, (density, steepest) = script.measure(scores, kp, ki, 0.3, window=64)
    assert density == pytest.approx(0.3, rel=0.05)
    assert steepest == pytest.approx(0.7 / np.log(1 / 0.3), rel=0.1)  # the line to the rate of 1 at level 0
    assert grid.growing.tolist() == [[True, True], [False, False], [True, True]]
    assert grid.agreement(1) == (6, 6)
    assert script.show(grid, 1).count("+") == 4
