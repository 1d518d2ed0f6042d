"""Set-points by hand, and budgets against a plain simulation of spending."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_experiments.selection.rate_schedule import (
    FALL,
    EpochCost,
    RateSchedule,
    budget_range,
    budgeted_rate,
    evenness,
)

HALF = 0.2 + 0.4 * (1 + math.cos(math.pi / 4)) / 2

SCHEDULES = {
    "constant": (RateSchedule(0.4), 5, [0.4] * 5),
    "linear": (RateSchedule(0.6, 0.2, "linear"), 5, [0.6, 0.5, 0.4, 0.3, 0.2]),
    "cosine": (RateSchedule(0.6, 0.2, "cosine"), 5, [0.6, HALF, 0.4, 0.8 - HALF, 0.2]),
    "warm-up and final": (RateSchedule(0.6, 0.2, "linear", 1, 2), 6, [1, 0.6, 0.4, 0.2, 1, 1]),
    "rising": (RateSchedule(0.2, 0.6, "linear"), 3, [0.2, 0.4, 0.6]),
    "falling": (RateSchedule(0.4, schedule="falling"), 5, [0.6, 0.5, 0.4, 0.3, 0.2]),
    "falling from 1": (RateSchedule(0.8, schedule="falling"), 3, [1.0, 0.8, 0.6]),
    "falling, warm-up": (RateSchedule(0.4, None, "falling", 1, 1), 5, [1, 0.6, 0.4, 0.2, 1]),
    "falling, one epoch": (RateSchedule(0.4, schedule="falling"), 1, [0.4]),
    "auto, classes unknown": (RateSchedule(0.4, schedule="auto"), 3, [0.4] * 3),
    "auto, even classes": (RateSchedule(0.4, schedule="auto").for_classes([30, 28, 31]), 3, [0.4] * 3),
    "auto, rare classes": (RateSchedule(0.4, schedule="auto").for_classes([90, 9, 1]), 3, [0.6, 0.4, 0.2]),
    "constant, rare classes": (RateSchedule(0.4).for_classes([90, 9, 1]), 3, [0.4] * 3),
    "listed": (RateSchedule(0.4, schedule=[1.0, 0.5, 0.3]), 3, [1.0, 0.5, 0.3]),
    "one epoch between": (RateSchedule(0.6, 0.2, "linear", 1, 1), 3, [1, 0.2, 1]),
}


@pytest.mark.parametrize(("setpoint", "epochs", "expected"), SCHEDULES.values(), ids=SCHEDULES.keys())
def test_schedules(setpoint: RateSchedule, epochs: int, expected: list[float]) -> None:
    assert [setpoint.target(epoch, epochs) for epoch in range(epochs)] == pytest.approx(expected)


def test_evenness_is_the_perplexity_of_the_classes_that_occur() -> None:
    assert evenness([7, 7, 7, 0]) == pytest.approx(1)
    assert evenness([3, 1]) == pytest.approx(4 / 3**0.75 / 2)
    assert evenness([]) == evenness([5]) == 1


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=30), st.floats(0.05, 0.6))
def test_whatever_the_classes_the_mean_is_the_rate(counts: list[int], rate: float) -> None:
    schedule = RateSchedule(rate, schedule="auto").for_classes(counts)
    assert 0 <= schedule.fall <= FALL
    assert schedule.dense_epochs(9) == pytest.approx(9 * rate)
    assert [schedule.last, schedule.least] == pytest.approx([(1 - schedule.fall) * rate] * 2)


def test_a_budget_scales_the_shape() -> None:
    # 100 rows an epoch cost 200; 4 epochs of shape .6 .5 .4 .3 and half of their cost.
    setpoint, cost = RateSchedule(0.6, 0.3, "linear"), EpochCost(200.0)
    assert budgeted_rate(setpoint, 0, 4, 0.9 * 200, cost, 0.01) == pytest.approx(0.3)
    assert budgeted_rate(setpoint, 3, 4, 0.15 * 200, cost, 0.01) == pytest.approx(0.15)


def test_choosing_and_dense_epochs_are_paid_first() -> None:
    # One dense epoch of 100 and two that choose for 10 each leave 80 of 200 for two rates that add up to 0.8.
    setpoint, cost = RateSchedule(0.5, warmup_epochs=1), EpochCost(100.0, choosing=10.0)
    assert budgeted_rate(setpoint, 0, 3, 200.0, cost, 0.01) == 1.0
    assert budgeted_rate(setpoint, 1, 3, 100.0, cost, 0.01) == pytest.approx(0.4)
    assert budget_range(setpoint, 3, cost, 0.01) == pytest.approx((122.0, 320.0))


@pytest.mark.parametrize(("left", "rate"), [(-5.0, 0.02), (0.0, 0.02), (1e9, 1.0)])
def test_rates_stay_where_training_is_possible(left: float, rate: float) -> None:
    assert budgeted_rate(RateSchedule(0.5), 0, 4, left, EpochCost(100.0), 0.02) == pytest.approx(rate)


@given(
    shape=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    where=st.floats(0.02, 0.98),
    epochs=st.integers(2, 40),
    dense=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    choosing=st.floats(0, 50),
    wrong_by=st.floats(0.5, 2),
)
def test_a_run_ends_on_its_budget(
    shape: tuple[float, float], where: float, epochs: int, dense: tuple[int, int], choosing: float, wrong_by: float
) -> None:
    """Also where the first expectation of the cost is wrong by a factor of up to two."""
    if sum(dense) + 2 > epochs:
        return
    setpoint = RateSchedule(shape[0], shape[1], "linear", *dense)
    true, lowest = EpochCost(100.0, choosing), 0.01
    low, high = budget_range(setpoint, epochs, true, lowest)
    amount = low + where * (high - low)
    spent, cost = 0.0, EpochCost(100.0 * wrong_by, choosing)
    for epoch in range(epochs):
        rate = budgeted_rate(setpoint, epoch, epochs, amount - spent, cost, lowest)
        assert lowest <= rate <= 1
        spent += rate * true.whole + (0 if setpoint.dense(epoch, epochs) else choosing)
        cost = true
    first = setpoint.dense(0, epochs) or abs(wrong_by - 1) < 1e-9
    # What the first epoch misjudged can be beyond what the others can mend.
    assert spent == pytest.approx(amount, rel=1e-6) or not first


def test_a_wrong_expectation_is_mended() -> None:
    setpoint, amount = RateSchedule(0.6, 0.2, "linear"), 400.0
    spent, cost = 0.0, EpochCost(50.0)
    for epoch in range(10):
        spent += 100.0 * budgeted_rate(setpoint, epoch, 10, amount - spent, cost, 0.01)
        cost = EpochCost(100.0)
    assert spent == pytest.approx(amount, rel=1e-6)
