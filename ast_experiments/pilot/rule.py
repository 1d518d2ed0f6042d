"""The rule that says whether choosing samples will pay. docs/when-it-pays.md has its table, with the sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ast_experiments.core.text import percent
from ast_experiments.data.repeats import Repeats
from ast_experiments.selection.suspects import NoiseEstimate

WRONG_LABELS, CLEARLY = 0.05, 0.02
"""Share of wrong labels from which on choosing does not pay, and what the lower end of its interval must be."""

REPEATED = 0.4
"""Share of repeated rows from which on choosing does not pay."""

TAIL = 10.0
"""Rows of the largest class, as a multiple of those of the smallest, from which on choosing pays."""

LEARNED = 0.07
"""Share of the held-out rows that the pilot must have learned."""

LONG = 4.0
"""Dense epochs of the shortest run of AST that was measured."""


class Signs(NamedTuple):
    """What the data, the settings and a pilot tell.

    Attributes:
        imbalance: Rows of the largest class, as a multiple of those of the smallest.
        repeats: Repeated rows.
        epochs: Dense epochs that cost as much as the run of AST.
        chooses: Whether that run is long enough for AST to choose.
        views: Whether accuracy is measured by six test-time views.
        accuracy: Share of the held-out rows that the pilot predicts; None without a pilot.
        learned: Share that it predicts with a probability of 0.8 or more; None without a pilot.
        noise: Estimated share of wrong labels; None without an estimate.
    """

    imbalance: float
    repeats: Repeats
    epochs: float
    chooses: bool
    views: bool
    accuracy: float | None = None
    learned: float | None = None
    noise: NoiseEstimate | None = None


class Verdict(NamedTuple):
    """The answer.

    Attributes:
        pays: Whether choosing samples will pay.
        sign: The sign that decided.
        case: Name of the measured case that is nearest; None without one.
        why: The reason, in words.
    """

    pays: bool
    sign: str
    case: str | None
    why: str


def judge(signs: Signs) -> Verdict:
    """Returns the answer of the first sign that decides."""
    return next(_verdicts(signs))


def _verdicts(signs: Signs) -> Iterator[Verdict]:
    """Yields the answers of the signs that are there, the most important first."""
    wrong = signs.noise.share if signs.noise is not None and signs.noise.low >= CLEARLY else 0.0
    if not signs.chooses:
        yield Verdict(False, "short", None, "the run ends before AST has a loss of every sample to choose by")
    if wrong >= WRONG_LABELS:
        nearest = min((10, 20, 40), key=lambda points: abs(math.log(points / 100 / wrong)))
        why = f"about {percent(wrong, 0)} of the labels are wrong, and wrong labels have the highest losses"
        yield Verdict(False, "wrong labels", f"noise_{nearest}", why)
    if signs.repeats.share >= REPEATED:
        why = (
            f"{percent(signs.repeats.share, 0)} of the rows repeat others, and the copies of a skipped row are trained"
        )
        yield Verdict(False, "repeated rows", "duplicates_80", why)
    if signs.imbalance >= TAIL:
        why = f"the rarest class has 1 row for {signs.imbalance:.0f} of the largest; AST trains rare classes more often"
        yield Verdict(True, "rare classes", "tail_50", why)
    if signs.learned is None:
        yield Verdict(False, "unknown", None, "")
    elif signs.learned < LEARNED:
        why = (
            f"the pilot has learned {percent(signs.learned)} of the samples, so nearly all are still worth training on"
        )
        yield Verdict(False, "little learned", None, why)
    elif signs.views:
        why = "labels are right, many samples are learned early, and accuracy is measured by six test-time views"
        yield Verdict(True, "views", "speedrun_views", why)
    why = "labels are right and classes balanced: there AST gained at most 0.6 points over a dense run of equal cost"
    yield Verdict(False, "level", "speedrun", why)
