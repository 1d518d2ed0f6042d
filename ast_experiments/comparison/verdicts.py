"""Verdicts: each method against uniform baselines at its own cost, and against dense training.

The *uniform line* is the best accuracy that methods which choose no sample (dense trained shorter, rs2, random) reach
at a cost. A method wins or is equal only where a dense run and an rs2 or random run were made at about its own cost;
it can lose without. See docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ast_experiments.comparison.arms import Arm
from ast_experiments.comparison.comparability import (
    SEEDS,
    candidates,
    caveats,
    hindrances,
    is_baseline,
    obstacles,
    own_obstacles,
    usable,
)
from ast_experiments.comparison.runs import AXES, MEASURED
from ast_experiments.comparison.stats import (
    CONFIDENCE,
    Interval,
    Line,
    differences,
    equivalence,
    interval,
    pareto,
    saving_at_equal_accuracy,
)

MARGINS = {"cifar10": 0.2, "imagenet100": 0.5}
"""Points of accuracy within which two arms are equal, by data set; elsewhere `MARGIN`."""

MARGIN = 0.5

_DOSE = ("method.", "recipe.epochs", "recipe.warmup_epochs", "max_steps")
_CHANCE = ("rs2", "random")


@dataclass(frozen=True, slots=True)
class Rules:
    """How to compare.

    Attributes:
        x: What costs are counted in, a key of `AXES`.
        margin: Points of accuracy within which arms are equal.
        tolerance: How far the cost of a baseline may be from the method's, as a share of it.
        seeds: That two arms must share at least.
    """

    x: str
    margin: float = MARGIN
    tolerance: float = 0.15
    seeds: int = SEEDS


@dataclass(frozen=True, slots=True)
class Verdict:
    """An arm against the uniform line.

    Attributes:
        word: `wins`, `equal`, `loses`, `undecided`, `not comparable` or `baseline`.
        reasons: Why it is not comparable, or not decided.
        needs: What a claim would need more.
        against: The method that is best among the baselines at the arm's cost.
        difference: Points above it at equal cost.
        p_equal: Of the equivalence test of that difference.
        saving: Share of the cost saved at equal accuracy.
    """

    word: str
    reasons: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    against: str = ""
    difference: Interval | None = None
    p_equal: float | None = None
    saving: Interval | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What an arm saved of what dense training spent, paired by seed.

    Attributes:
        axis: What it is counted in.
        saving: As a share; None where the two cannot be compared.
        reasons: Why they cannot.
    """

    axis: str
    saving: Interval | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BesideDense:
    """An arm against dense training of full length.

    Attributes:
        dense: The dense arm.
        gap: Points of accuracy above it.
        p_equal: Of the equivalence test of the gap.
        compute: FLOPs saved.
        measured: Joules, or seconds where nothing was metered, saved.
    """

    dense: Arm
    gap: Interval
    p_equal: float
    compute: Pair
    measured: Pair


@dataclass(frozen=True, slots=True)
class Judged:
    """An arm and what is said of it.

    Attributes:
        arm: The arm.
        verdict: Against the uniform line.
        beside: Against dense training; None where no dense arm agrees with it.
        on_front: By axis, whether no other arm is as cheap and as accurate.
    """

    arm: Arm
    verdict: Verdict
    beside: BesideDense | None = None
    on_front: Mapping[str, bool] = field(default_factory=dict)


def judge(arms: Sequence[Arm], rules: Rules) -> list[Judged]:
    """Returns what is said of each arm, in their order."""
    accuracies = [arm.mean("accuracy") for arm in arms]
    fronts = {axis: pareto([arm.mean(axis) for arm in arms], accuracies) for axis in AXES}
    return [
        Judged(
            arm,
            verdict(arm, arms, rules),
            beside_dense(arm, arms, rules),
            {axis: bool(front[i]) for axis, front in fronts.items() if np.isfinite(arm.mean(axis))},
        )
        for i, arm in enumerate(arms)
    ]


def first_told(arms: Sequence[Arm], axes: Sequence[str]) -> str:
    """The first of the axes that at least half of the runs tell; the last if there is none."""
    runs = [run for arm in arms for run in arm.runs]
    return next((axis for axis in axes if 2 * sum(axis in run.figures for run in runs) >= len(runs)), axes[-1])


def lines(arms: Sequence[Arm], axis: str, seeds: Sequence[int]) -> list[Line]:
    """One line for each set of arms that differ only in how long or how densely they train."""
    grouped: dict[tuple[object, ...], list[Arm]] = {}
    for arm in arms:
        same = tuple(sorted((key, value) for key, value in arm.runs[0].settings.items() if not key.startswith(_DOSE)))
        grouped.setdefault((arm.method, same), []).append(arm)
    return [
        Line(
            members[0].method,
            np.stack([arm.values(axis, seeds) for arm in members]),
            np.stack([arm.values("accuracy", seeds) for arm in members]),
        )
        for members in grouped.values()
    ]


def verdict(arm: Arm, arms: Sequence[Arm], rules: Rules) -> Verdict:
    """Judges an arm against the uniform line at its own cost."""
    if is_baseline(arm, arms):
        return Verdict("baseline")
    own = own_obstacles(arm, rules.x, rules.seeds)
    if own:
        return Verdict("not comparable", tuple(own))
    beside = usable(arm, arms, rules.x, rules.seeds)
    if not beside:
        return Verdict("not comparable", tuple(_nothing(arm, candidates(arm, arms), rules)))
    costs, accuracies = arm.values(rules.x), arm.values("accuracy")
    known = [line.reaching(costs, rules.tolerance) for line in lines(beside, rules.x, arm.seeds)]
    found, used = differences(accuracies, costs[None, :], known, least=rules.seeds)
    if used[0] < 0:
        cheapest = min(beside, key=lambda other: other.mean(rules.x))
        return Verdict("not comparable", (f"no baseline at that cost: the cheapest, {_times(cheapest, arm, rules.x)}",))
    difference, p_equal = interval(found[0]), equivalence(found[0], rules.margin)
    equal, loses = p_equal < 1 - CONFIDENCE, difference.high < 0
    missing = _missing(arm, arms, rules)
    if missing and (equal or not loses):
        return Verdict("not comparable", tuple(missing))
    word = "equal" if equal else "loses" if loses else "wins" if difference.low > 0 else "undecided"
    return Verdict(
        word,
        ("neither a difference nor equality is shown; more seeds would decide",) if word == "undecided" else (),
        tuple(caveats(arm, beside, rules.x)),
        known[used[0]].name,
        difference,
        p_equal,
        saving_at_equal_accuracy(accuracies, costs, known, least=rules.seeds),
    )


def beside_dense(arm: Arm, arms: Sequence[Arm], rules: Rules) -> BesideDense | None:
    """Accuracy and savings against the best dense arm that was not made only to be a baseline of another arm."""
    dense = [other for other in arms if other.method == "dense" and not other.extra and other is not arm]
    agreeing = [other for other in dense if not obstacles(arm, other, "flops")]
    if not agreeing:
        return None
    axis = first_told(arms, MEASURED)
    # Of dense arms that differ only in hardware, the one on the arm's own hardware serves.
    best = max(agreeing, key=lambda other: (not obstacles(arm, other, axis), other.mean("accuracy")))
    gaps = arm.values("accuracy") - best.values("accuracy", arm.seeds)
    return BesideDense(
        best,
        interval(gaps),
        equivalence(gaps, rules.margin),
        _pair(arm, best, "flops", 1),  # counted exactly, so one seed tells
        _pair(arm, best, axis, rules.seeds),
    )


def _pair(arm: Arm, dense: Arm, axis: str, seeds: int) -> Pair:
    reasons = own_obstacles(arm, axis, seeds) or hindrances(arm, dense, axis, seeds)
    if reasons:
        return Pair(axis, None, tuple(reasons))
    return Pair(axis, interval(1 - arm.values(axis) / dense.values(axis, arm.seeds)))


def _nothing(arm: Arm, tried: Sequence[Arm], rules: Rules) -> list[str]:
    """Why none of the arms can be compared with: what is wrong with the one that is wrong in the fewest ways."""
    if not tried:
        return ["no dense, rs2 or random runs beside it"]
    return min((hindrances(arm, other, rules.x, rules.seeds) for other in tried), key=len)


def _missing(arm: Arm, arms: Sequence[Arm], rules: Rules) -> list[str]:
    """In words, which kind of baseline has no arm at the method's cost; empty if both have."""
    there = candidates(arm, arms)
    near = [other for other in usable(arm, there, rules.x, rules.seeds) if _alike(other, arm, rules)]
    # Where dense training as long as the method's costs as much, rs2 would have to be that dense training.
    as_long = any(other.method == "dense" and other.mean("epochs") >= arm.mean("epochs") for other in near)
    found = []
    for kind, methods, enough in (("dense", ("dense",), False), ("rs2 or random", _CHANCE, as_long)):
        if not enough and not any(other.method in methods for other in near):
            found += _why_none(arm, kind, [other for other in there if other.method in methods], rules)
    return found


def _why_none(arm: Arm, kind: str, there: Sequence[Arm], rules: Rules) -> list[str]:
    if not there:
        return [f"no {kind} runs beside it"]
    able = usable(arm, there, rules.x, rules.seeds)
    if not able:
        return [f"{kind}: {text}" for text in _nothing(arm, there, rules)]
    nearest = min(able, key=lambda other: abs(np.log(other.mean(rules.x) / arm.mean(rules.x))))
    return [f"no {kind} run at that cost: the nearest, {_times(nearest, arm, rules.x)}"]


def _alike(other: Arm, arm: Arm, rules: Rules) -> bool:
    return abs(other.mean(rules.x) / arm.mean(rules.x) - 1) <= rules.tolerance


def _times(other: Arm, arm: Arm, axis: str) -> str:
    return f"{other.label}, costs {other.mean(axis) / arm.mean(axis):.2f} times as much"
