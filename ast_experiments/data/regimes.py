"""Regimes: training data made worse on purpose, by wrong labels, duplicates, a long tail or corrupted images.

A regime changes the training samples when they are loaded, before any are held out: held-out samples are drawn from the
same rows, the validation split is left alone. All draws depend on `regime_seed` alone, so the runs of a study share
their data whatever their seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.dataset import Dataset

_IMBALANCE, _DUPLICATES, _NOISE, _CORRUPTION = 10, 11, 12, 13


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What is done to the training samples; the defaults do nothing.

    Attributes:
        label_noise: Share of the rows that get a wrong label.
        label_noise_kind: `symmetric`: any other class, with equal probability; `pairs`: the class after it.
        duplicates: Share of the rows that repeat another row of their class.
        imbalance: How many times as many rows the largest class has as the smallest.
        corruption: Share of the rows whose image is blurred or noisy.
        regime_seed: Seed of the draws.
    """

    label_noise: float = 0.0
    label_noise_kind: str = "symmetric"
    duplicates: float = 0.0
    imbalance: float = 1.0
    corruption: float = 0.0
    regime_seed: int = 0

    def generator(self, purpose: int) -> np.random.Generator:
        """Returns the generator of one kind of draws."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.regime_seed, purpose))))


OFF: dict[str, Any] = {field.name: field.default for field in fields(Regime)}
"""Settings of a data set that describe its regime, and the values that leave the data as it is."""


def apply(dataset: Dataset, regime: Regime) -> Dataset:
    """Changes the training samples: first the long tail, then duplicates, wrong labels and corrupted images.

    Args:
        dataset: As loaded, with class indices as labels.
        regime: What to change.

    Returns:
        The data set; its `altered` says which rows are of the rarer half of the classes (`tail`), repeat another row
        (`duplicates`), have a wrong label (`label_noise`) or a corrupted image (`corruption`). The same one if the
        regime changes nothing.

    Raises:
        ConfigError: If the training set is too small for the regime.
    """
    train, classes = dataset.train, len(dataset.classes)
    altered: dict[str, np.ndarray] = {}
    if regime.imbalance > 1:
        train = train.take(long_tail(train.labels, classes, regime.imbalance, regime.generator(_IMBALANCE)))
        altered["tail"] = train.labels >= classes - classes // 2
    if regime.duplicates:
        sources = duplicates(train.labels, regime.duplicates, regime.generator(_DUPLICATES))
        train = train.take(sources)
        altered["duplicates"] = sources != np.arange(len(sources))
    if regime.label_noise:
        labels = wrong_labels(
            train.labels, classes, regime.label_noise, regime.label_noise_kind, regime.generator(_NOISE)
        )
        altered["label_noise"] = labels != train.labels
        train = train.with_labels(labels)
    if regime.corruption:
        rows = _drawn("corruption", regime.corruption, len(train), regime.generator(_CORRUPTION))
        train = train.corrupted(rows, regime.regime_seed)
        altered["corruption"] = np.isin(np.arange(len(train)), rows)
    if not altered:
        return dataset
    counts = ", ".join(f"{kind.replace('_', ' ')} {flags.sum()}" for kind, flags in altered.items())
    source = f"{dataset.source}; of {len(train)} training rows altered: {counts}"
    return replace(dataset, train=train, altered=altered, source=source)


def long_tail(labels: np.ndarray, classes: int, ratio: float, random: np.random.Generator) -> np.ndarray:
    """Draws rows so that the sizes of the classes fall exponentially with their index.

    Class k of C keeps m x ratio^(-k / (C - 1)) rows, rounded, with the largest m for which no class has too few. Cui et
    al., "Class-balanced loss based on effective number of samples", CVPR 2019.

    Args:
        labels: Class indices, int64, shape (n,).
        classes: Number of classes.
        ratio: Size of the first class over that of the last, above 1.
        random: Draws the rows of each class.

    Returns:
        Rows that are kept, in order, int64.

    Raises:
        ConfigError: If a class would have no row.
    """
    found = np.bincount(labels, minlength=classes)
    shares = ratio ** (-np.arange(classes) / max(1, classes - 1))
    sizes = np.rint((found / shares).min() * shares).astype(np.int64)
    if not sizes.min():
        raise ConfigError(
            f"dataset.imbalance: {ratio:g} leaves class {sizes.argmin()} without a row of {found[sizes.argmin()]}; "
            "type a smaller dataset.imbalance, or use more of the data set"
        )
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(order)) - np.repeat(np.cumsum(found) - found, found)
    return np.sort(order[place < np.repeat(sizes, found)])


def duplicates(labels: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Draws rows that become copies of other rows of their class. The sizes of the classes do not change.

    Args:
        labels: Class indices, int64, shape (n,).
        share: Share of the rows that become copies; each copies one of the others, with equal probability.
        random: Draws the rows.

    Returns:
        Row that each row shows, int64, shape (n,): itself, or the one it copies.

    Raises:
        ConfigError: If no row would become a copy, or a class would have nothing to copy.
    """
    rows = len(labels)
    order = random.permutation(rows)
    _, first = np.unique(labels[order], return_index=True)  # a row of each class that stays as it is
    free = np.delete(order, first)
    count = _count("duplicates", share, rows)
    if count > len(free):
        raise ConfigError(
            f"dataset.duplicates: {count} of {rows} rows leave less than one of each of {len(first)} classes; "
            f"type dataset.duplicates={np.floor(100 * len(free) / rows) / 100:g} or less"
        )
    copies, kept = free[:count], np.concatenate([order[first], free[count:]])
    kept = kept[np.argsort(labels[kept], kind="stable")]
    sizes = np.bincount(labels[kept])
    start = np.cumsum(sizes) - sizes
    sources = np.arange(rows)
    of = labels[copies]
    sources[copies] = kept[start[of] + (random.random(count) * sizes[of]).astype(np.int64)]
    return sources


def wrong_labels(labels: np.ndarray, classes: int, share: float, kind: str, random: np.random.Generator) -> np.ndarray:
    """Replaces the labels of some rows by those of other classes.

    Args:
        labels: Class indices, int64, shape (n,).
        classes: Number of classes.
        share: Share of the rows that get a wrong label.
        kind: `symmetric`: any other class, with equal probability; `pairs`: the class after it, after the last the
            first.
        random: Draws rows and classes.

    Returns:
        Class indices, int64, shape (n,).

    Raises:
        ConfigError: If no label would be replaced, or there is no other class.
    """
    if classes < 2:
        raise ConfigError("dataset.label_noise: the data set has one class only; type dataset.label_noise=0")
    rows = _drawn("label_noise", share, len(labels), random)
    steps = random.integers(1, classes, len(rows)) if kind == "symmetric" else 1
    wrong = labels.copy()
    wrong[rows] = (labels[rows] + steps) % classes
    return wrong


def _drawn(setting: str, share: float, rows: int, random: np.random.Generator) -> np.ndarray:
    return np.sort(random.permutation(rows)[: _count(setting, share, rows)])


def _count(setting: str, share: float, rows: int) -> int:
    count = round(share * rows)
    if not count:
        raise ConfigError(
            f"dataset.{setting}: {share:g} of {rows} training rows is none; type dataset.{setting}=0.1 or so"
        )
    return count
