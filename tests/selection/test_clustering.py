"""k-means of numbers against every other way to cut them, and against scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans

from ast_experiments.selection import clustering
from ast_experiments.selection.clustering import kmeans_cuts


def inertia(values: np.ndarray, cuts: np.ndarray) -> float:
    """Returns the sum of squared distances to the means of the groups."""
    group = np.searchsorted(cuts, values)
    return sum(((values[group == g] - values[group == g].mean()) ** 2).sum() for g in np.unique(group))


@pytest.mark.parametrize("seed", range(30))
def test_no_other_cuts_are_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    values = rng.exponential(size=n) if seed % 2 else rng.integers(0, 3, n).astype(float)
    cuts = kmeans_cuts(values, groups)
    assert cuts.shape == (groups - 1,)
    assert (cuts[1:] >= cuts[:-1]).all()
    ordered = np.sort(values)
    best = min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, ends) if len(part))
        for ends in itertools.combinations_with_replacement(range(n + 1), groups - 1)
    )
    assert inertia(values, cuts) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_skewed_losses_as_well_as_scikit_learn(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(-3, 2.5, 1797).astype(np.float32)
    reference = KMeans(5, n_init=10, random_state=0).fit(values[:, None].astype(float)).inertia_
    assert inertia(values.astype(float), kmeans_cuts(values, 5)) <= 1.000001 * reference


def test_of_many_values_not_every_cut_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).lognormal(-2, 2, 20_000)
    exact = inertia(values, kmeans_cuts(values, 6))
    monkeypatch.setattr(clustering, "EXACT", 1000)
    assert exact <= inertia(values, kmeans_cuts(values, 6)) <= 1.0001 * exact
