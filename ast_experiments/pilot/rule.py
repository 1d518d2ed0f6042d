"""The rule that says whether choosing samples will pay. docs/when-it-pays.md has its table, with the sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ast_experiments.core.text import percent
from ast_experiments.data.repeats import Repeats
from ast_experiments.selection.methods.ast import REPEATED
from ast_experiments.selection.suspects import NoiseEstimate

WRONG_LABELS, CLEARLY = 0.05, 0.02
"""Share of wrong labels from which on choosing does not pay, and what the lower end of its interval must be."""

TAIL = 10.0
"""Rows of the largest class, as a multiple of those of the smallest, from which on choosing pays."""

FEW = 10_000
"""Different training rows below which choosing does not pay."""

LONG = 4.0
"""Dense epochs of the shortest run of AST that was measured."""


class Signs(NamedTuple):
    """What the data, the settings and a pilot tell.

    Attributes:
        rows: Training rows.
        imbalance: Rows of the largest class, as a multiple of those of the smallest.
        repeats: Repeated rows.
        epochs: Dense epochs that cost as much as the run of AST.
        chooses: Whether that run is long enough for AST to choose.
        views: Whether accuracy is measured by six test-time views.
        accuracy: Share of the held-out rows that the pilot predicts; None without a pilot.
        learned: Share that it predicts with a probability of 0.8 or more; None without a pilot.
        noise: Estimated share of wrong labels; None without an estimate.
    """

    rows: int
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
        why = f"{percent(signs.repeats.share, 0)} of the rows repeat others, so AST would draw uniformly"
        yield Verdict(False, "repeated rows", "duplicates_80", why)
    if signs.imbalance >= TAIL:
        why = f"the rarest class has 1 row for {signs.imbalance:.0f} of the largest; AST trains rare classes more often"
        yield Verdict(True, "rare classes", "tail_50", why)
    if signs.accuracy is None:
        yield Verdict(False, "unknown", None, "")
    different = round(signs.rows * (1 - signs.repeats.share))
    if different < FEW:
        why = f"{different:,} different rows are few, and the hardest of them teach little about other images"
        yield Verdict(False, "few rows", None, why)
    why = "labels are right, classes balanced, and rows many"
    if signs.views:
        yield Verdict(True, "views", "speedrun_views", f"{why}; and accuracy is measured by six test-time views")
    yield Verdict(True, "level", "all_rows", f"{why}: there AST gains a little")
