"""The share of wrong labels and of learned rows, from the logits of rows that were not trained."""

from __future__ import annotations

import numpy as np
import pytest

from ast_experiments.selection.held_out import estimate_held_out_noise, learned_share


def scored(sizes, wrong=0.0, skill=3.0, seed=0):
    """Logits and labels of rows with classes of these sizes; rare classes are not learned at all."""
    random = np.random.default_rng(seed)
    classes = len(sizes)
    truth = np.repeat(np.arange(classes), sizes)
    prior = np.log(np.array(sizes) / sum(sizes))
    logits = random.normal(size=(len(truth), classes)) + 2 * prior
    known = np.array(sizes) >= np.mean(sizes) / 2
    logits[np.arange(len(truth)), truth] += skill * known[truth] * random.uniform(0.3, 2, len(truth))
    labels = truth.copy()
    rows = random.random(len(truth)) < wrong
    labels[rows] = (truth[rows] + random.integers(1, classes, rows.sum())) % classes
    return logits, labels, np.bincount(labels, minlength=classes)


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("classes", [10, 100])
def test_the_interval_holds_the_share_of_wrong_labels(wrong, classes):
    estimate = estimate_held_out_noise(*scored([4000 // classes] * classes, wrong))
    assert estimate is not None
    assert estimate.low <= wrong <= estimate.high
    assert abs(estimate.share - wrong) < 0.05
    assert estimate.high - estimate.low < 0.2


def test_a_long_tail_is_not_taken_for_wrong_labels():
    sizes = np.rint(1400 * 50 ** (-np.arange(10) / 9)).astype(int)
    estimate = estimate_held_out_noise(*scored(sizes))
    assert estimate is not None
    assert estimate.share < 0.02


def test_wrong_labels_within_a_long_tail_are_found():
    sizes = np.rint(1400 * 50 ** (-np.arange(10) / 9)).astype(int)
    estimate = estimate_held_out_noise(*scored(sizes, 0.2))
    assert estimate is not None
    assert estimate.share > 0.1


def test_no_estimate_from_few_classes_or_a_network_that_knows_nothing():
    assert estimate_held_out_noise(*scored([500] * 4)) is None
    assert estimate_held_out_noise(*scored([400] * 10, skill=0.0)) is None


def test_learned_rows_are_right_with_a_high_probability():
    logits = np.log([[0.85, 0.15], [0.75, 0.25], [0.1, 0.9], [0.1, 0.9]])
    assert learned_share(logits, np.array([0, 0, 1, 0])) == 0.5
