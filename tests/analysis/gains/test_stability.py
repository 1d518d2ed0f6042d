"""Theory of the loops: by hand, and against the laws that the product runs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ast_experiments.analysis.gains.stability import (
    Law,
    bounds,
    dominant,
    margin,
    polynomial,
    score_density,
    steepest,
)
from ast_experiments.selection.control.controller import Controller
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.sundew_comparison import SundewComparison


def test_polynomials_by_hand() -> None:
    # alpha 1/2, f 2: alpha f kp = 0.2, alpha f ki = 0.1, a = 1/2
    assert polynomial("pi", 0.2, 0.1, 0.5, 2.0) == pytest.approx([1, 0.3 - 1.5, 0.5 - 0.2])
    assert polynomial("published", 0.2, 0.1, 0.5, 2.0) == pytest.approx([1, 0.3 - 2.5, 2.0 - 0.2, -0.5])


@pytest.mark.parametrize(("windows", "pole"), [(2.0, 0.7), (4.0, 0.75), (8.0, 0.875)])
def test_derived_gains_cancel_the_pole_of_the_average(windows: float, pole: float) -> None:
    alpha, density = 0.3, 0.17
    kp = (1 - alpha) / (alpha * density * windows)
    assert dominant("pi", kp, kp * alpha / (1 - alpha), alpha, density) == pytest.approx(pole, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("law", ["pi", "published"])
def test_bounds_are_where_poles_cross_the_unit_circle(law: Law, alpha: float) -> None:
    density, ki = 0.4, np.geomspace(1e-4, 0.1, 7)
    low, high = bounds(law, ki, alpha, density)
    assert np.abs(dominant(law, high, ki, alpha, density)) == pytest.approx(1, abs=1e-9)
    assert np.all(np.abs(dominant(law, 1.01 * high, ki, alpha, density)) > 1)
    assert np.all(np.abs(dominant(law, 0.99 * high, ki, alpha, density)) < 1)
    if law == "published":
        assert low == pytest.approx(ki * (1 - alpha) / alpha)
        assert np.abs(dominant(law, low, ki, alpha, density)) == pytest.approx(1, abs=1e-9)
        assert np.all(np.abs(dominant(law, 0.9 * low, ki, alpha, density)) > 1)


def test_margin() -> None:
    # published, alpha 0.3: low 0.7/0.3 ki; f 0.2: high 3.4/0.06 - ki/2
    assert margin("published", 0.14, 0.03, 0.3, None) == pytest.approx(np.log(2))
    assert margin("published", 0.035, 0.03, 0.3, 0.2) == pytest.approx(-np.log(2))
    assert margin("published", (3.4 / 0.06 - 0.015) / 3, 0.03, 0.3, 0.2) == pytest.approx(np.log(3))
    assert margin("pi", 1.0, 0.5, 0.3, None) == np.inf
    assert margin("pi", 1.0, 100.0, 0.3, 1.0) == -np.inf


def response(controller: Controller, density: float, steps: int) -> np.ndarray:
    """Distance of the level from where it belongs, on a rate that falls with it in a straight line."""
    target, right = 0.4, 2.0
    state = controller.begin_epoch(None, np.ones(1), target)._replace(level=right + 1e-8)
    found = []
    for _ in range(steps):
        found.append(float(state.level) - right)
        state = controller.observe(state, target - density * found[-1], 1.0, target)
    return np.array(found)


@pytest.mark.parametrize(
    ("law", "kp", "ki", "density", "steps"),
    [
        ("pi", 3.0, 0.8, 0.3, 30),
        ("pi", 3.0, 0.8, 2.5, 10),  # unstable
        ("published", 0.02, 0.005, 0.5, 1_500),
        ("published", 0.005, 0.005, 0.5, 1_500),  # unstable: kp below 2.33 ki
        ("published", 40.0, 0.5, 0.5, 10),  # unstable: above the upper bound
    ],
)
def test_the_laws_respond_as_their_poles_say(law: Law, kp: float, ki: float, density: float, steps: int) -> None:
    pole = dominant(law, kp, ki, 0.3, density)
    found = response(
        PI(kp=kp, ki=ki) if law == "pi" else SundewComparison(kp=kp, ki=ki, low=-1e9, high=1e9), density, steps
    )
    # The coefficients that a linear recurrence of the order of the loop fits to the response.
    order = 2 if law == "pi" else 3
    lagged = np.stack([found[i : len(found) - order + i] for i in range(order)], axis=1)
    scale = np.abs(lagged).max(axis=1)
    fitted, *_ = np.linalg.lstsq(lagged / scale[:, None], found[order:] / scale, rcond=None)
    poles = np.roots([1, *(-fitted[::-1])])
    assert np.abs(poles).max() == pytest.approx(abs(pole), rel=1e-3)


def test_density_of_uniform_scores() -> None:
    scores = np.linspace(0, 2, 2_001)
    for target in (0.05, 0.4, 0.9):
        assert score_density(scores, target) == pytest.approx(0.5, rel=1e-2)
        assert steepest(scores, target) == pytest.approx(0.5, rel=1e-2)


def test_the_steepest_line_of_a_bent_curve() -> None:
    # Half of the scores on [0, 0.1], half on [1, 2]; at a target of 0.2 the level is 1.6 and the density 0.5.
    scores = np.concatenate([np.linspace(0, 0.1, 1_001), np.linspace(1, 2, 1_001)])
    assert score_density(scores, 0.2) == pytest.approx(0.5, rel=1e-2)
    slopes = [(rate - 0.2) / (1.6 - (0.1 - 0.2 * (rate - 0.5))) for rate in np.linspace(0.51, 0.98, 48)]
    assert all(a < b for a, b in pairwise(slopes))
    assert steepest(scores, 0.2) == pytest.approx(max(0.5, slopes[-1]), rel=1e-2)
