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

UNCLEAR = 0.1
"""Upper end of the interval from which on wrong labels are not ruled out."""

TAIL, TAIL_ROWS = 10.0, 5_000
"""Rows of the largest class, as a multiple of those of a class of the rarest tenth, from which on choosing pays, and
the training rows that this takes."""

FEW, MEASURED = 35_000, 15_000
"""Different training rows below which choosing does not pay, and from which on half of CIFAR-10 is the nearest case."""

LONG = 4.0
"""Dense epochs of the shortest run of AST that was measured."""

ABOUT = 0.95
"""Part of `LONG` that still counts as that long: rates are rounded to full batches."""


class Signs(NamedTuple):
    """What the data, the settings and a pilot tell.

    Attributes:
        rows: Training rows.
        imbalance: Rows of the largest class, as a multiple of those of the smallest.
        tail: The same, of the class at the lowest tenth of all class sizes.
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
    tail: float
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
    if signs.repeats.exact >= REPEATED:
        why = f"{percent(signs.repeats.exact, 0)} of the rows repeat others, so AST would draw uniformly"
        yield Verdict(False, "repeated rows", "duplicates_80", why)
    if signs.repeats.near >= REPEATED:
        why = f"{percent(signs.repeats.near, 0)} of the rows nearly repeat others, so few different ones are left"
        yield Verdict(False, "repeated rows", "duplicates_80", why)
    if signs.accuracy is None:
        yield Verdict(False, "unknown", None, "")
    if signs.epochs < ABOUT * LONG:
        why = f"runs that cost less than {LONG:g} dense epochs were not measured, and yours costs {signs.epochs:.2g}"
        yield Verdict(False, "unknown", None, why)
    if signs.noise is None:
        yield Verdict(False, "unknown", None, "wrong labels could not be estimated, and choosing trains them first")
    if signs.tail >= TAIL and signs.rows >= TAIL_ROWS:
        why = f"the rarest class has 1 row for {signs.imbalance:.0f} of the largest; AST trains rare classes more often"
        yield Verdict(True, "rare classes", "tail_50", why)
    different = round(signs.rows * (1 - signs.repeats.share))
    if different < FEW:
        why = f"{different:,} different rows are few, and the hardest of them teach little about other images"
        yield Verdict(False, "few rows", "clean" if different >= MEASURED else None, why)
    if signs.noise is not None and signs.noise.high >= UNCLEAR:
        why = f"wrong labels are not ruled out: up to {percent(signs.noise.high, 0)} of the labels"
        yield Verdict(False, "unknown", None, why)
    why = "few labels look wrong, no large part of the classes is rare, and there are many different rows"
    if signs.views:
        yield Verdict(True, "views", "speedrun_views", f"{why}; and accuracy is measured by six test-time views")
    yield Verdict(True, "level", "all_rows", f"{why}: there AST gains a little")
