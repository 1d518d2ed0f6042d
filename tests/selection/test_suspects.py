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
    assert count_places(np.array([-1, 0, 0, 4, 5, 6, 7, 8, 9], np.int16), 10) == (8, 2, 5, 4, 2)


def places(random: np.random.Generator, share: float, right: np.ndarray, rows: int, classes: int = 10) -> np.ndarray:
    """Right labels are at the places of `right`, wrong ones at any but the first."""
    wrong = random.random(rows) < share
    return np.where(wrong, random.integers(1, classes, rows), random.choice(classes, rows, p=right)).astype(np.int16)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4])
def test_the_estimate_is_the_share_of_evenly_spread_labels(share: float) -> None:
    random = np.random.default_rng(1)
    right = np.array([0.8, 0.12, 0.05, 0.02, 0.01, *[0.0] * 5])
    counts = np.array([count_places(places(random, share, right, 20_000), 10)])
    found = estimate_noise(counts, 20_000, 10)
    assert found is not None
    assert found.share == pytest.approx(share, abs=0.01)
    assert found.low <= share <= found.high
    assert found.high - found.low < 0.05


def test_the_epoch_is_the_first_that_predicts_nearly_as_many_labels_as_ever() -> None:
    random = np.random.default_rng(2)
    untrained = np.full(10, 0.1)
    learned = np.array([0.9, 0.1, *[0.0] * 8])
    counts = [
        count_places(places(random, 0.2, untrained, 5000), 10),
        count_places(places(random, 0.2, learned, 5000), 10),
        count_places(places(random, 0.1, learned, 5000), 10),  # half of the wrong labels are known by heart
    ]
    found = estimate_noise(np.array(counts), 5000, 10)
    assert found is not None
    assert found.share == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("counts", "samples", "classes"),
    [
        pytest.param([[100, 90, 5, 4, 2]], 100, 4, id="few classes"),
        pytest.param([[40, 30, 5, 4, 2]], 100, 10, id="few visited"),
        pytest.param([[100, 30, 5, 4, 2]], 100, 10, id="little learned"),
        pytest.param([], 100, 10, id="no epoch"),
        pytest.param([[0, 0, 0, 0, 0]], 0, 10, id="no samples"),
    ],
)
def test_no_estimate(counts: list[list[int]], samples: int, classes: int) -> None:
    assert estimate_noise(np.array(counts), samples, classes) is None
