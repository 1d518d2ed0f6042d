"""What a network tells about rows that it did not train: the share that it knows, and the share of wrong labels."""

from __future__ import annotations

import math

import numpy as np
import torch

from ast_experiments.selection.suspects import CUTS, MIN_CLASSES, NoiseEstimate, first_place

LEAST_SURE = 1 / 3
"""Share of the labels of the surest quarter that the network must predict."""

CONFIDENT = 0.8
"""Probability of the label from which on a row is learned, as a share of the one that the loss asks for."""

SURE = (0.5, 0.25)
"""Shares of the rows, the most confident ones, whose labels are checked; the second gives the estimate."""

GROUPS = 10
"""Groups of about equally frequent classes that are compared, at most."""

SELDOM = 0.1
"""Share of the rows at whose end of the ranking a class must stand to count: one always in front tells nothing."""

QUARTILE = 0.6745
"""Standard deviations by which the lower quartile of normal draws is below their mean."""


def learned_share(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> float:
    """Returns the share of rows whose label is predicted with at least 0.8 of the probability that the loss asks for.

    Args:
        logits: Shape (n, classes).
        labels: Class indices, shape (n,).
        smoothing: Label smoothing s in [0, 1); with C classes the loss asks for 1 - s + s / C.
    """
    asked = 1 - smoothing + smoothing / logits.shape[1]
    return float(np.mean(_probabilities(logits)[np.arange(len(labels)), labels] >= CONFIDENT * asked))


def estimate_held_out_noise(logits: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> NoiseEstimate | None:
    """Estimates the share of wrong labels among rows that the network did not train.

    The network has not seen these labels, so a wrong one does not change what it predicts. Of rows where it is sure,
    a right label is nearly always among the first places of its ranking of the classes. A wrong label that is drawn at
    random is any other class. So where a class stands at the end of the ranking, its labels are wrong, and they are as
    frequent there as wrong labels of this class are everywhere: with C classes and a share w of wrong labels, w / (C -
    1) of the rows.

    Rare classes are learned late, and stand at the end while their labels are right. So the classes are grouped by
    their frequency, and the lower quartile of the groups counts, plus what chance takes from it: wrong labels are in
    all groups. Wrong labels of a class that looks like the right one stand near the front and are not counted.

    Args:
        logits: Shape (n, classes).
        labels: Class indices, shape (n,).
        counts: Training rows of each class, shape (classes,).

    Returns:
        The estimate from the quarter of the rows that the network is surest about. The interval covers that of the
        surest half, what all groups of either tell together, and two standard errors. None with fewer than 5 classes,
        or if the network predicts less than a third of the labels of the surest quarter.
    """
    classes = logits.shape[1]
    if classes < MIN_CLASSES or not len(labels):
        return None
    order = np.argsort(-_probabilities(logits).max(axis=1), kind="stable")
    half, quarter = (order[: max(1, round(share * len(order)))] for share in SURE)
    if np.mean(logits[quarter].argmax(axis=1) == labels[quarter]) < LEAST_SURE:
        return None
    groups = np.array_split(np.argsort(counts, kind="stable"), min(classes, GROUPS))
    found = [_shares_at_end(logits[rows], labels[rows], groups) for rows in (half, quarter)]
    if any(each is None for each in found):
        return None
    shares = [each for each in found if each is not None]
    low = min(share - error for share, _, error in shares)
    high = max(pooled for _, pooled, _ in shares) + shares[-1][2]
    return NoiseEstimate(min(1.0, shares[-1][0]), max(0.0, low), min(1.0, high))


def _shares_at_end(
    logits: np.ndarray, labels: np.ndarray, groups: list[np.ndarray]
) -> tuple[float, float, float] | None:
    """Returns the share of wrong labels that the end of the ranking tells.

    Returns:
        The share by the lower quartile of the groups, that of all groups together, and two standard errors of it; None
        if no group stands at the end often enough.
    """
    rows, classes = logits.shape
    place = np.argsort(np.argsort(-logits, axis=1, kind="stable"), axis=1, kind="stable")
    at_end = place >= first_place(CUTS[1], classes)
    own = np.bincount(labels[at_end[np.arange(rows), labels]], minlength=classes)
    sums = np.array([[at_end[:, group].sum(), own[group].sum(), len(group)] for group in groups])
    places, wrong, _ = sums[sums[:, 0] >= SELDOM * rows * sums[:, 2]].T
    if not places.sum():
        return None
    scale = classes - 1
    pooled = float(scale * wrong.sum() / places.sum())
    error = 2 * scale * math.sqrt(max(1, wrong.sum())) / float(places.sum())
    quartile = float(np.quantile(scale * wrong / places, 0.25))
    chance = QUARTILE * math.sqrt(scale * quartile / places.mean())
    return min(pooled, quartile + chance), pooled, error


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(logits), dim=1).numpy()
