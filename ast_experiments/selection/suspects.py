"""Suspected wrong labels, and an estimate of their share, from what a run keeps of each sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

CUTS = (0.5, 0.6, 0.8)
"""Places from these shares of the classes on are the end of the ranking; the second one gives the estimate."""

SURE = 2 + len(CUTS)
"""Where the counts of the surest half of the samples begin."""

HARD = 0.2
"""Share of the labels at the end of the ranking that may be right: the lower end of the interval leaves them out."""

MIN_CLASSES = 5
"""Fewer classes leave too short an end of the ranking."""

MIN_VISITED = 0.5
"""Share of the samples that must have been trained for an estimate."""

LEAST_PREDICTED = 0.4
"""Share of the labels that the network must predict at some time; one that has learned less tells nothing."""

LEARNED = 0.8
"""The estimate is made when the share of labels that are predicted first reaches this part of its highest value."""

FEW_STEPS = 100
"""Training steps below which a network has hardly begun to learn."""

NONE_WRONG = 0.0005
"""An estimate whose interval begins below this share, 0.0 %, is compatible with no wrong label: none is suspected."""


class NoiseEstimate(NamedTuple):
    """Share of the samples whose label is wrong.

    Attributes:
        share: The estimate, in [0, 1].
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    share: float
    low: float
    high: float


def suspects(labels: np.ndarray, predicted: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Lists the samples whose label is probably wrong, the most suspicious first.

    A sample is suspected if the network predicted another class at its last visit and on average over its visits. The
    list is ordered by the mean margin, after Pleiss et al., "Identifying mislabeled data using the area under the
    margin ranking", NeurIPS 2020.

    Args:
        labels: Class indices, shape (n,).
        predicted: Class predicted at the last visit, shape (n,); -1 without a visit.
        margin: Mean over the visits of the label's logit less that of the best other class, shape (n,); NaN without a
            visit.

    Returns:
        Rows, int64.
    """
    rows = np.flatnonzero((predicted >= 0) & (predicted != labels) & (margin < 0))
    return rows[np.argsort(margin[rows], kind="stable")]


def at_chance(result: Mapping[str, Any]) -> bool:
    """Returns whether the last accuracy of a run, as in its result.json, is no better than that of guesses.

    Guesses are among equally frequent classes; two standard errors of their accuracy are allowed. False if the figures
    are not known.
    """
    accuracy, classes, rows = (result.get(key) for key in ("final_accuracy", "classes", "val_samples"))
    if accuracy is None or not isinstance(classes, int) or not isinstance(rows, int) or classes < 2 or rows < 1:
        return False
    chance = 1 / classes
    return accuracy <= 100 * (chance + 2 * math.sqrt(chance * (1 - chance) / rows))


def no_estimate(result: Mapping[str, Any]) -> str:
    """Returns why the predictions of a run, as in its result.json, tell nothing about labels; empty if they may."""
    steps = result.get("steps")
    if isinstance(steps, int) and steps < FEW_STEPS:
        return f"fewer than {FEW_STEPS} training steps"
    return "the network only guesses" if at_chance(result) else ""


def count_places(place: np.ndarray, confidence: np.ndarray, classes: int) -> tuple[int, ...]:
    """Counts the labels by their place in the ranking of the classes.

    Args:
        place: Number of classes that the network found more probable than the label at the last visit, shape (n,); -1
            without a visit.
        confidence: Probability of the predicted class at the last visit, shape (n,); NaN without a visit.
        classes: Number of classes.

    Returns:
        Samples with a visit, those whose label is predicted, and those whose place is at or behind each of `CUTS`; then
        the samples of the surest half, and those of them whose place is at or behind each of `CUTS`.
    """
    place, confidence = place[place >= 0], confidence[place >= 0]
    least = np.partition(confidence, len(confidence) // 2)[len(confidence) // 2] if len(confidence) else 0
    sure = place[confidence >= least]
    return (len(place), int(np.count_nonzero(place == 0)), *_ends(place, classes), len(sure), *_ends(sure, classes))


def _ends(place: np.ndarray, classes: int) -> list[int]:
    return [int(np.count_nonzero(place >= first_place(cut, classes))) for cut in CUTS]


def estimate_noise(counts: np.ndarray, samples: int, classes: int) -> NoiseEstimate | None:
    """Estimates the share of wrong labels from the places of the labels in the ranking of the classes.

    A wrong label that is drawn at random is as often the least probable class of all as the second most probable one.
    A right label that is hard to learn is nearly always among the first, where the network is sure. So there the end of
    the ranking holds wrong labels alone, and tells how many there are: if they are spread evenly over the classes - 1
    places behind the right one, the last m places hold the share m / (classes - 1) of them. Later the network learns
    wrong labels by heart, so the places are those of the first epoch after which it predicts nearly as many labels as
    it ever will. Wrong labels of a class that looks like the right one stand near the front and are not counted.

    Args:
        counts: `count_places` after each epoch, shape (epochs, 3 + 2 * cuts).
        samples: Number of training samples.
        classes: Number of classes.

    Returns:
        The estimate from the last 40 % of the places, of the samples that the network was surest about. The interval
        covers those from the last 50 % and 20 %, less a fifth that may be right, those of all samples, and two standard
        errors of the draw. None with fewer than 5 classes, if less than half of the samples were visited, or if the
        network never predicts 40 % of the labels.
    """
    counts = counts[counts[:, 0] >= MIN_VISITED * samples] if len(counts) else counts
    if classes < MIN_CLASSES or not len(counts) or not samples:
        return None
    predicted = counts[:, 1] / counts[:, 0]
    if predicted.max() < LEAST_PREDICTED:
        return None
    early = counts[np.argmax(predicted >= LEARNED * predicted.max())]
    sure, every = _shares(early[SURE:], classes), _shares(np.delete(early[:SURE], 1), classes)
    low = min((1 - HARD) * share - error for share, error in sure)
    high = max(share + error for share, error in (*sure, *every))
    return NoiseEstimate(sure[1][0], max(0.0, low), min(1.0, high))


def _shares(counts: np.ndarray, classes: int) -> list[tuple[float, float]]:
    """Returns the share of wrong labels that each end of the ranking tells, and two standard errors of it."""
    samples, *ends = counts.tolist()
    found = []
    for cut, end in zip(CUTS, ends, strict=True):
        scale = (classes - 1) / (classes - first_place(cut, classes))
        share = end / samples
        error = 2 * scale * math.sqrt(max(share, 1 / samples) * (1 - share) / samples)
        found.append((min(1.0, scale * share), error))
    return found


def first_place(cut: float, classes: int) -> int:
    """Returns the first place of the end of the ranking that begins at a share `cut` of the classes."""
    return math.ceil(round(cut * classes, 6))
