"""Suspected wrong labels and their estimated share."""

from __future__ import annotations

import numpy as np
import pytest

from ast_experiments.selection.suspects import count_places, estimate_noise, suspects


def test_suspects_by_hand() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5])
    predicted = np.array([1, 1, 0, 0, -1, 0], np.int16)
    margin = np.array([-1.0, -9.0, -2.0, 0.5, np.nan, -2.0], np.float32)
    # Row 1 is predicted, row 3 was right on average, row 4 was never trained; rows 2 and 5 tie.
    assert suspects(labels, predicted, margin).tolist() == [2, 5, 0]


def test_places_by_hand() -> None:
    place = np.array([-1, 0, 0, 4, 5, 6, 7, 8, 9], np.int16)
    confidence = np.array([np.nan, 0.9, 0.8, 0.7, 0.1, 0.6, 0.2, 0.3, 0.4], np.float16)
    # The surest half: 0, 0, 4, 6.
    assert count_places(place, confidence, 10) == (8, 2, 5, 4, 2, 4, 1, 1, 0)
    assert count_places(place[:1], confidence[:1], 10) == (0,) * 9
    # Ties with the least sure of them belong to the half.
    assert count_places(place[1:], np.ones(8, np.float16), 10) == (8, 2, 5, 4, 2, 8, 5, 4, 2)


def counts(random: np.random.Generator, share: float, right: np.ndarray, rows: int, hard: float = 0) -> tuple[int, ...]:
    """Counts right labels at the places of `right`, wrong ones at any but the first; of 10 classes.

    A part `hard` of the right labels is at any place, and the network is less sure there.
    """
    wrong, untaught = random.random((2, rows)) < np.array([[share], [hard]])
    place = np.where(wrong | untaught, random.integers(1, 10, rows), random.choice(10, rows, p=right)).astype(np.int16)
    return count_places(place, (random.random(rows) - untaught).astype(np.float16), 10)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4])
def test_the_estimate_is_the_share_of_evenly_spread_labels(share: float) -> None:
    random = np.random.default_rng(1)
    right = np.array([0.8, 0.12, 0.05, 0.02, 0.01, *[0.0] * 5])
    found = estimate_noise(np.array([counts(random, share, right, 20_000)]), 20_000, 10)
    assert found is not None
    assert found.share == pytest.approx(share, abs=0.015)
    assert found.low <= share <= found.high
    assert found.high - found.low < 0.07 + 0.2 * share


def test_right_labels_that_are_hard_to_learn_do_not_count() -> None:
    random = np.random.default_rng(3)
    right = np.array([0.9, 0.1, *[0.0] * 8])
    found = estimate_noise(np.array([counts(random, 0.1, right, 20_000, hard=0.3)]), 20_000, 10)
    assert found is not None
    assert found.share == pytest.approx(0.1, abs=0.02)
    assert found.low <= 0.1
    assert found.high > 0.35  # the interval covers what all samples tell


def test_the_epoch_is_the_first_that_predicts_nearly_as_many_labels_as_ever() -> None:
    random = np.random.default_rng(2)
    untrained = np.full(10, 0.1)
    learned = np.array([0.9, 0.1, *[0.0] * 8])
    epochs = [
        counts(random, 0.2, untrained, 5000),
        counts(random, 0.2, learned, 5000),
        counts(random, 0.1, learned, 5000),  # half of the wrong labels are known by heart
    ]
    found = estimate_noise(np.array(epochs), 5000, 10)
    assert found is not None
    assert found.share == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("epochs", "samples", "classes"),
    [
        pytest.param([[100, 90, 5, 4, 2, 50, 2, 1, 1]], 100, 4, id="few classes"),
        pytest.param([[40, 30, 5, 4, 2, 20, 2, 1, 1]], 100, 10, id="few visited"),
        pytest.param([[100, 30, 5, 4, 2, 50, 2, 1, 1]], 100, 10, id="little learned"),
        pytest.param([], 100, 10, id="no epoch"),
        pytest.param([[0] * 9], 0, 10, id="no samples"),
    ],
)
def test_no_estimate(epochs: list[list[int]], samples: int, classes: int) -> None:
    assert estimate_noise(np.array(epochs), samples, classes) is None
