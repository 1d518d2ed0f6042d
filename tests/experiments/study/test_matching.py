"""Equal-cost baselines, checked against hand calculations."""

from __future__ import annotations

import pytest

from ast_experiments.experiments.study.matching import (
    CostModel,
    close,
    constant,
    matching_epochs,
    matching_rate,
    scaled_rates,
)
from ast_experiments.experiments.study.queue import lr_grid, rotate

PLAIN = CostModel(training=1000.0, overhead=0.0, fixed=0.0, epochs=10)
WHOLE = CostModel(training=1000.0, overhead=100.0, fixed=50.0, epochs=10)


@pytest.mark.parametrize(
    ("dense", "cost", "epochs"),
    [
        (PLAIN, 400.0, 4),
        (PLAIN, 449.0, 4),
        (PLAIN, 451.0, 5),
        (PLAIN, 1.0, 1),
        (PLAIN, 1320.0, 13),  # a method that costs more than dense
        (WHOLE, 50.0 + 4 * 110.0, 4),
        (WHOLE, 50.0 + 10 * (10.0 + 0.4 * 100.0), 5),  # rate 0.4: 550 of 110 an epoch, and what is fixed
    ],
)
def test_epochs(dense: CostModel, cost: float, epochs: int) -> None:
    assert matching_epochs(cost, dense) == epochs


@pytest.mark.parametrize("rate", [0.05, 0.4, 0.73, 1.0])
@pytest.mark.parametrize("epochs", [5, 10, 25])
@pytest.mark.parametrize("dense", [PLAIN, WHOLE])
def test_the_rate_costs_what_it_should(dense: CostModel, epochs: int, rate: float) -> None:
    cost = dense.fixed + epochs * (dense.overhead + rate * dense.training) / 10
    assert dense.cost(epochs, rate) == pytest.approx(cost)
    assert matching_rate(cost, epochs, dense) == pytest.approx(rate)


def test_no_rate_costs_more_than_dense() -> None:
    assert matching_rate(1200.0, 10, PLAIN) == pytest.approx(1.2)
    assert matching_rate(100.0, 10, WHOLE) < 0


@pytest.mark.parametrize(
    ("lr", "trials", "grid"),
    [
        (0.1, 0, []),
        (0.1, 2, [0.1, 0.2]),
        (0.1, 3, [0.05, 0.1, 0.2]),
        (0.003, 5, [0.00075, 0.0015, 0.003, 0.006, 0.012]),
    ],
)
def test_lr_grid(lr: float, trials: int, grid: list[float]) -> None:
    assert lr_grid(lr, trials) == grid


def test_every_arm_comes_early_and_late() -> None:
    turns = [rotate("abcdef", turn, 3) for turn in range(3)]
    assert ["".join(turn) for turn in turns] == ["abcdef", "cdefab", "efabcd"]
    means = [sum(turn.index(arm) for turn in turns) / 3 for arm in "abcdef"]
    assert max(means) - min(means) <= 1


def test_close() -> None:
    assert close(0.4, 0.405)
    assert not close(0.4, 0.41)


def test_constant() -> None:
    assert constant([0.4, 0.41, 0.39])
    assert not constant([0.6, 0.4, 0.2])


def test_scaled_rates() -> None:
    assert scaled_rates([0.6, 0.4, 0.2], 0.4, 0.01) == pytest.approx([0.6, 0.4, 0.2], abs=1e-4)
    assert scaled_rates([0.6, 0.4, 0.2], 0.5, 0.01) == pytest.approx([0.75, 0.5, 0.25], abs=1e-4)
    assert scaled_rates([1.0, 0.4, 0.4], 0.7, 0.01) == pytest.approx([1.0, 0.55, 0.55], abs=1e-4)  # at most 1
    assert scaled_rates([1.0, 0.0, 0.5], 0.5, 0.1)[1] == 0.1  # at least a batch
