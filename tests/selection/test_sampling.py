"""Exact picks from a whole epoch: highest, in proportion, by known chances."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_experiments.selection import sampling
from ast_experiments.selection.control.threshold import SCORE_CAP, SCORE_FLOOR


@pytest.mark.parametrize(
    ("keys", "count", "chosen"),
    [
        ([3, 1, 2], 0, []),
        ([3, 1, 2], 1, [0]),
        ([3, 1, 2], 3, [0, 1, 2]),
        ([1, 1, 1, 1], 2, [0, 1]),
        ([1, 2, 1, 2, 1], 3, [0, 1, 3]),
        ([], 0, []),
    ],
)
def test_highest(keys, count, chosen):
    assert np.flatnonzero(sampling.top_k(np.array(keys, dtype=np.float32), count)).tolist() == chosen


def test_add_uniform():
    rng, counts = np.random.default_rng(0), np.zeros(8)
    mask = np.array([1, 0, 0, 1, 0, 0, 0, 0], dtype=bool)
    for _ in range(3000):
        more = sampling.add_uniform(mask, 2, rng)
        assert more.sum() == 4
        counts += more & ~mask
    assert counts[mask].sum() == 0
    assert counts[~mask] == pytest.approx(1000, abs=5 * np.sqrt(3000 * 2 / 9))
    assert mask.sum() == 2


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_proportional_draws_one_after_the_other(temperature):
    """Against the chances of all orders of two draws without replacement."""
    scores = np.array([0.5, 1.0, 2.0, 4.0])
    weights = scores**temperature / (scores**temperature).sum()
    expected = np.zeros(4)
    for a, b in itertools.permutations(range(4), 2):
        chance = weights[a] * weights[b] / (1 - weights[a])
        expected[[a, b]] += chance
    rng, n = np.random.default_rng(1), 20_000
    counts = sum(sampling.proportional_sample(scores, temperature, 2, rng).astype(int) for _ in range(n))
    assert counts / n == pytest.approx(expected, abs=4 * np.sqrt(0.25 / n))


def naive_inclusion(scores, temperature, count, uniform):
    """c by bisection."""
    parts = np.clip(scores, SCORE_FLOOR, SCORE_CAP).astype(np.float64) ** temperature
    base = uniform * count / len(scores)
    low, high = 0.0, 1 / parts.min()
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if np.minimum(1, base + c * parts).sum() < count else (low, c)
    return np.minimum(1, base + low * parts)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 200),
    share=st.floats(0, 1),
    uniform=st.floats(0, 1),
    temperature=st.floats(0, 3),
    sigma=st.floats(0, 4),
    seed=st.integers(0, 1000),
)
def test_chances_add_up_and_are_those_of_the_definition(rows, share, uniform, temperature, sigma, seed):
    rng = np.random.default_rng(seed)
    scores, count = rng.lognormal(0, sigma, rows).astype(np.float32), round(share * rows)
    chances = sampling.inclusion_probabilities(scores, temperature, count, uniform)
    assert chances.sum() == pytest.approx(count, abs=1e-6)
    assert chances.max() <= 1
    assert chances.min() >= uniform * count / rows - 1e-12
    assert chances == pytest.approx(naive_inclusion(scores, temperature, count, uniform), abs=1e-6)
    mask = sampling.systematic_sample(chances, count, rng)
    assert mask.sum() == count
    assert mask[chances > 1 - 1e-12].all()


def test_systematic_picks_with_the_given_chances():
    rng, n = np.random.default_rng(0), 20_000
    chances = np.array([0.1, 0.9, 1.0, 0.25, 0.25, 0.5])
    counts = sum(sampling.systematic_sample(chances, 3, rng).astype(int) for _ in range(n))
    assert counts / n == pytest.approx(chances, abs=4 * np.sqrt(0.25 / n))


@pytest.mark.parametrize("exploration", [0.1, 0.5, 1.0])
def test_weighted_sums_are_unbiased(exploration):
    """Horvitz-Thompson: the mean of weight x value over the picks is, in expectation, the mean over all rows."""
    rng, rows, count = np.random.default_rng(2), 300, 90
    scores = rng.lognormal(0, 1, rows)
    values = scores + rng.normal(0, 0.3, rows)
    estimates, weights = [], []
    for _ in range(2000):
        order = rng.permutation(rows)
        chances = sampling.inclusion_probabilities(scores[order], 1.0, count, exploration)
        mask = sampling.systematic_sample(chances, count, rng)
        weight = count / rows / chances[mask]
        assert weight.max() <= 1 / exploration + 1e-9
        estimates.append((weight * values[order][mask]).mean())
        weights.append(weight.mean())
    for got, expected in ((estimates, values.mean()), (weights, 1.0)):
        assert np.mean(got) == pytest.approx(expected, abs=4 * np.std(got) / np.sqrt(len(got)) + 1e-9)
