"""Statistics of comparisons, by hand. Student's t with 2 degrees has the tail (1 - t / sqrt(t² + 2)) / 2."""

from __future__ import annotations

from math import inf, log, nan, sqrt

import numpy as np
import pytest

from ast_experiments.comparison.stats import (
    Interval,
    Line,
    differences,
    equivalence,
    half_width,
    interval,
    pareto,
    saving_at_equal_accuracy,
)
from ast_experiments.comparison.wording import meanings, saved

T2 = 0.95 / sqrt((1 - 0.95**2) / 2)  # 97.5 % point of t with 2 degrees: 4.3027
NOISE = np.array([0.1, 0.0, -0.1])
HALF = T2 * 0.1 / sqrt(3)


def line(*arms: tuple[float, float], noise: np.ndarray | float = 0.0, seeds: int = 3) -> Line:
    ones = np.ones(seeds)
    return Line("dense", np.stack([c * ones for c, _ in arms]), np.stack([a * ones + noise for _, a in arms]))


def test_interval() -> None:
    assert pytest.approx(4.3027, abs=1e-4) == T2
    found = interval([1, nan, 2, 3])
    assert (found.mean, found.low, found.high, found.n) == (
        2,
        pytest.approx(2 - T2 / sqrt(3)),
        pytest.approx(2 + T2 / sqrt(3)),
        3,
    )
    assert not interval([-1, 0, 2]).significant
    assert interval([1, 1.1, 1.2]).significant
    one = interval([5])
    assert (one.mean, one.n) == (5, 1)
    assert np.isnan(one.low)
    assert not one.significant
    assert interval([]).n == 0
    shown = {n: interval(np.arange(float(n))).shown for n in range(5)}
    assert shown == {0: False, 1: False, 2: False, 3: True, 4: True}
    np.testing.assert_allclose(half_width(np.array([[1, 2, 3], [4, nan, nan]])), [T2 / sqrt(3), nan])


@pytest.mark.parametrize(
    ("values", "margin", "p"),
    [
        (NOISE, 0.5, (1 - sqrt(75 / 77)) / 2),  # t = 0.5 / (0.1 / sqrt 3) = sqrt 75
        (NOISE, 0.2, (1 - sqrt(12 / 14)) / 2),
        (NOISE, 0.1, (1 - sqrt(3 / 5)) / 2),
        (NOISE + 0.3, 0.5, (1 - sqrt(12 / 14)) / 2),  # the nearer margin counts: 0.5 - 0.3
        (NOISE - 0.3, 0.5, (1 - sqrt(12 / 14)) / 2),
        (NOISE + 0.6, 0.5, (1 + sqrt(3 / 5)) / 2),  # outside
        ([0.1, 0.1, 0.1], 0.2, 0.0),
        ([0.3, 0.3], 0.2, 1.0),
        ([0.1], 0.2, nan),
    ],
)
def test_equivalence(values: list[float], margin: float, p: float) -> None:
    assert equivalence(values, margin) == pytest.approx(p, abs=1e-12, nan_ok=True)


def test_pareto() -> None:
    costs = [1, 2, 3, 4, 2, nan, 4]
    accuracies = [80, 90, 85, 95, 90, 99, 95]
    # The third costs more than the second and is worse; equals do not beat one another; the sixth has no cost.
    assert pareto(costs, accuracies).tolist() == [True, True, False, True, True, False, True]


def test_line() -> None:
    own = line((4, 90), (1, 80))
    np.testing.assert_allclose(own.at([1, 2, 4]), [80, 85, 90])  # 2 is half-way in the logarithm
    np.testing.assert_allclose(own.at([[8, 8, 8], [0.99, 1, 1.1]])[0], 90)
    assert np.isnan(own.at([0.99, 1, 1])).tolist() == [True, False, False]
    near, far = own.extended_to([0.9] * 3, 0.15), own.extended_to([0.5] * 3, 0.15)
    np.testing.assert_allclose(near.at([0.9] * 3), 80)
    assert np.isnan(far.at([0.5] * 3)).all()


def test_a_missing_seed_is_not_bridged() -> None:
    costs, accuracies = np.array([[1, 1], [2, nan], [4, 4.0]]), np.array([[80, 80], [86, nan], [90, 90.0]])
    found = Line("dense", costs, accuracies).at([[2, 2], [3, 3], [5, 5]])
    assert found[0, 0] == 86
    assert np.isnan(found[:, 1]).tolist() == [True, True, False]


def test_the_better_line_counts() -> None:
    dense, rs2 = line((1, 80), (4, 90), noise=NOISE), line((2, 87), noise=NOISE)
    found, used = differences(88 + NOISE, np.array([[1] * 3, [2] * 3, [4] * 3, [0.5] * 3]), [dense, rs2], least=3)
    assert used.tolist() == [0, 1, 0, -1]
    np.testing.assert_allclose(found[:3], [[8] * 3, [1] * 3, [-2] * 3])
    _, used = differences(np.array([88, 88, nan]), np.array([[2] * 3]), [dense, rs2], least=3)
    assert used.tolist() == [-1]


def factor(points: float) -> float:
    """How many times the cost of the first arm makes a line from (1, 80) to (4, 90) gain so many points."""
    return 4 ** (points / 10)


@pytest.mark.parametrize(
    ("accuracy", "mean", "low", "high"),
    [
        (85, 1 - 1 / factor(5), 1 - 1 / factor(5 - HALF), 1 - 1 / factor(5 + HALF)),
        (80.1, 1 - 1 / factor(0.1), -inf, 1 - 1 / factor(0.1 + HALF)),  # not told from the cheapest baseline
        (89.9, 1 - 1 / factor(9.9), 1 - 1 / factor(9.9 - HALF), 1.0),
        (95, nan, 1 - 1 / 4, 1.0),  # better than all baselines, of which the costliest costs 4 times as much
        (70, nan, -inf, 0.0),  # worse than all, of which the cheapest costs the same
    ],
)
def test_saving_at_equal_accuracy(accuracy: float, mean: float, low: float, high: float) -> None:
    found = saving_at_equal_accuracy(accuracy + NOISE, np.ones(3), [line((1, 80), (4, 90))], least=3)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((mean, low, high), abs=1e-6, nan_ok=True)
    assert found.n == 3
    assert saved(found)


def test_saving_is_significant_when_the_difference_is() -> None:
    for accuracy, expected in ((85 + 0.9 * HALF, False), (85 + 1.1 * HALF, True), (85 - 1.1 * HALF, True)):
        found = saving_at_equal_accuracy(accuracy + NOISE, np.full(3, 2.0), [line((1, 80), (4, 90))], least=3)
        assert found is not None
        assert found.significant is expected
        assert interval(accuracy + NOISE - 85).significant is expected
    assert saving_at_equal_accuracy(NOISE, np.ones(3), [], least=3) is None
    assert log(factor(5)) == pytest.approx(log(2))


def test_a_saving_outside_the_baselines_says_so() -> None:
    assert saved(Interval(nan, nan, 0.53, 5)) == "none shown (upper end 53.0 %)"
    assert meanings([saved(Interval(nan, nan, 0.53, 5))]) == "none shown: less accurate than all baselines"
    assert saved(Interval(nan, 0.27, inf, 5)) == "at least 27.0 %, above all baselines"
    assert saved(Interval(nan, nan, nan, 5)) == "outside the range of the baselines"


@pytest.mark.parametrize(
    ("low", "high", "text", "explained"),
    [
        (0.27, 0.31, "29.0 % [27.0, 31.0]", []),
        (0.27, 1.0, "29.0 % [27.0, open]", ["open"]),
        (-0.1, 0.5, "29.0 % [-10.0, 50.0] n.s.", ["n.s."]),
        (-inf, 0.5, "29.0 % [open, 50.0] n.s.", ["open", "n.s."]),
        (-inf, 1.0, "not determined", ["not determined"]),
    ],
)
def test_marks_of_a_saving_are_explained(low: float, high: float, text: str, explained: list[str]) -> None:
    assert saved(Interval(0.29, low, high, 5)) == text
    lines = meanings(["ast scores=[open]", text]).split("; ")
    assert [line.partition(":")[0] for line in lines if line] == explained
