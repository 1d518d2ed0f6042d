"""Verdicts: each method against uniform baselines at equal cost, and against dense training.

The *uniform line* is the best accuracy at a given cost of methods that ignore what a sample is (dense training cut
short, rs2, random). The verdicts "wins" and "equal" require a dense run and an rs2 or random run at about the method's
cost; "loses" does not. See docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ast_experiments.comparison.arms import ArmRuns
from ast_experiments.comparison.comparability import (
    SEEDS,
    arm_blockers,
    blockers,
    candidates,
    claim_requirements,
    is_baseline,
    pair_blockers,
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
"""Points of accuracy within which two arms are equal, by data set; `MARGIN` for others."""

MARGIN = 0.5

_LENGTH_KEYS = ("method.", "recipe.epochs", "recipe.warmup_epochs", "max_steps")
_CHANCE = ("rs2", "random")


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of a comparison.

    Attributes:
        x: Cost axis, a key of `AXES`.
        margin: Points of accuracy within which arms are equal.
        tolerance: Maximum relative difference in cost between a baseline and the method.
        seeds: Minimum number of seeds that two arms must share.
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
        reasons: Why it is not comparable or undecided.
        needs: What a claim still requires.
        against: Best baseline method at the arm's cost.
        difference: Points of accuracy above it at equal cost.
        p_equal: p value of the equivalence test of that difference.
        saving: Share of cost saved at equal accuracy.
    """

    word: str
    reasons: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    against: str = ""
    difference: Interval | None = None
    p_equal: float | None = None
    saving: Interval | None = None


@dataclass(frozen=True, slots=True)
class PairedSaving:
    """Saving of an arm against dense training, paired by seed.

    Attributes:
        axis: Cost axis.
        saving: Share saved; None if the two cannot be compared.
        reasons: Why they cannot be compared.
    """

    axis: str
    saving: Interval | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DenseComparison:
    """An arm against dense training of full length.

    Attributes:
        dense: The dense arm.
        gap: Points of accuracy above the dense arm.
        p_equal: p value of the equivalence test of the gap.
        compute: Saving in FLOPs.
        measured: Saving in joules, or in seconds without a meter.
    """

    dense: ArmRuns
    gap: Interval
    p_equal: float
    compute: PairedSaving
    measured: PairedSaving


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm with its verdict.

    Attributes:
        arm: The arm.
        verdict: Verdict against the uniform line.
        vs_dense: Comparison with dense training; None without a comparable dense arm.
        on_front: Whether it is on the Pareto front, by axis.
    """

    arm: ArmRuns
    verdict: Verdict
    vs_dense: DenseComparison | None = None
    on_front: Mapping[str, bool] = field(default_factory=dict)


def evaluate(arms: Sequence[ArmRuns], rules: Rules) -> list[ArmResult]:
    """Compares each arm with the others; returns the results in the same order."""
    accuracies = [arm.mean("accuracy") for arm in arms]
    fronts = {axis: pareto([arm.mean(axis) for arm in arms], accuracies) for axis in AXES}
    return [
        ArmResult(
            arm,
            verdict(arm, arms, rules),
            compare_with_dense(arm, arms, rules),
            {axis: bool(front[i]) for axis, front in fronts.items() if np.isfinite(arm.mean(axis))},
        )
        for i, arm in enumerate(arms)
    ]


def first_recorded(arms: Sequence[ArmRuns], axes: Sequence[str]) -> str:
    """Returns the first axis that at least half of the runs have recorded; the last one if there is none."""
    runs = [run for arm in arms for run in arm.runs]
    return next((axis for axis in axes if 2 * sum(axis in run.figures for run in runs) >= len(runs)), axes[-1])


def lines(arms: Sequence[ArmRuns], axis: str, seeds: Sequence[int]) -> list[Line]:
    """Returns one line for each set of arms that differ only in how long or how densely they train.

    An arm whose rate changes from epoch to epoch is a line of its own.
    """
    grouped: dict[tuple[str, object, int], list[ArmRuns]] = {}
    for arm in arms:
        same = tuple(
            sorted((key, value) for key, value in arm.runs[0].settings.items() if not key.startswith(_LENGTH_KEYS))
        )
        name = arm.method if arm.constant_rate else f"{arm.method} with a changing rate"
        grouped.setdefault((name, same, 0 if arm.constant_rate else arm.number), []).append(arm)
    return [
        Line(
            key[0],
            np.stack([arm.values(axis, seeds) for arm in members]),
            np.stack([arm.values("accuracy", seeds) for arm in members]),
        )
        for key, members in grouped.items()
    ]


def verdict(arm: ArmRuns, arms: Sequence[ArmRuns], rules: Rules) -> Verdict:
    """Compares an arm with the uniform line at equal cost."""
    if is_baseline(arm, arms):
        return Verdict("baseline")
    own = arm_blockers(arm, rules.x, rules.seeds)
    if own:
        return Verdict("not comparable", tuple(own))
    baselines = usable(arm, arms, rules.x, rules.seeds)
    if not baselines:
        return Verdict("not comparable", tuple(_why_no_candidate(arm, candidates(arm, arms), rules)))
    costs, accuracies = arm.values(rules.x), arm.values("accuracy")
    known = [line.extended_to(costs, rules.tolerance) for line in lines(baselines, rules.x, arm.seeds)]
    found, used = differences(accuracies, costs[None, :], known, least=rules.seeds)
    if used[0] < 0:
        cheapest = min(baselines, key=lambda other: other.mean(rules.x))
        return Verdict(
            "not comparable", (f"no baseline is as cheap: the cheapest, {_relative_cost(cheapest, arm, rules.x)}",)
        )
    difference, p_equal = interval(found[0]), equivalence(found[0], rules.margin)
    equal, loses = p_equal < 1 - CONFIDENCE, difference.high < 0
    missing = _missing(arm, arms, rules)
    if missing and (equal or not loses):
        return Verdict("not comparable", tuple(missing))
    word = "equal" if equal else "loses" if loses else "wins" if difference.low > 0 else "undecided"
    return Verdict(
        word,
        ("the data show neither a difference nor equality; add seeds",) if word == "undecided" else (),
        tuple(claim_requirements(arm, baselines, rules.x)),
        known[used[0]].name,
        difference,
        p_equal,
        saving_at_equal_accuracy(accuracies, costs, known, least=rules.seeds),
    )


def compare_with_dense(arm: ArmRuns, arms: Sequence[ArmRuns], rules: Rules) -> DenseComparison | None:
    """Compares accuracy and cost with the best dense arm that is not just a baseline of another arm.

    The image sizes of the two may differ: the saving is that of choosing and of smaller images together.
    """
    dense = [other for other in arms if other.method == "dense" and not other.baseline_only and other is not arm]
    comparable = [other for other in dense if not pair_blockers(arm, other, "flops", levers=False)]
    if not comparable:
        return None
    axis = first_recorded(arms, MEASURED)
    # Of dense arms that differ only in hardware, prefer the one on the arm's own hardware.
    best = max(
        comparable, key=lambda other: (not pair_blockers(arm, other, axis, levers=False), other.mean("accuracy"))
    )
    gaps = arm.values("accuracy") - best.values("accuracy", arm.seeds)
    return DenseComparison(
        best,
        interval(gaps),
        equivalence(gaps, rules.margin),
        _pair(arm, best, "flops", 1),  # exact counts, so one seed is enough
        _pair(arm, best, axis, rules.seeds),
    )


def _pair(arm: ArmRuns, dense: ArmRuns, axis: str, seeds: int) -> PairedSaving:
    reasons = arm_blockers(arm, axis, seeds) or blockers(arm, dense, axis, seeds, levers=False)
    if reasons:
        return PairedSaving(axis, None, tuple(reasons))
    return PairedSaving(axis, interval(1 - arm.values(axis) / dense.values(axis, arm.seeds)))


def _why_no_candidate(arm: ArmRuns, tried: Sequence[ArmRuns], rules: Rules) -> list[str]:
    """Explains why no candidate is comparable, by the candidate with the fewest blockers."""
    if not tried:
        return ["no dense, rs2 or random runs to compare with"]
    return min((blockers(arm, other, rules.x, rules.seeds) for other in tried), key=len)


def _missing(arm: ArmRuns, arms: Sequence[ArmRuns], rules: Rules) -> list[str]:
    """Explains which kinds of baseline are missing at the method's cost; empty if none is."""
    there = candidates(arm, arms)
    near = [other for other in usable(arm, there, rules.x, rules.seeds) if _similar_cost(other, arm, rules)]
    # If equally long dense training costs the same, rs2 at that cost would be that dense training.
    as_long = any(other.method == "dense" and other.mean("epochs") >= arm.mean("epochs") for other in near)
    found = []
    for kind, methods, enough in (("dense", ("dense",), False), ("rs2 or random", _CHANCE, as_long)):
        if not enough and not any(other.method in methods for other in near):
            found += _why_none(arm, kind, [other for other in there if other.method in methods], rules)
    return found


def _why_none(arm: ArmRuns, kind: str, there: Sequence[ArmRuns], rules: Rules) -> list[str]:
    if not there:
        return [f"no {kind} runs to compare with"]
    able = usable(arm, there, rules.x, rules.seeds)
    if not able:
        return [f"{kind}: {text}" for text in _why_no_candidate(arm, there, rules)]
    nearest = min(able, key=lambda other: abs(np.log(other.mean(rules.x) / arm.mean(rules.x))))
    return [f"no {kind} run at that cost: the closest, {_relative_cost(nearest, arm, rules.x)}"]


def _similar_cost(other: ArmRuns, arm: ArmRuns, rules: Rules) -> bool:
    return abs(other.mean(rules.x) / arm.mean(rules.x) - 1) <= rules.tolerance


def _relative_cost(other: ArmRuns, arm: ArmRuns, axis: str) -> str:
    return f"{other.label}, costs {other.mean(axis) / arm.mean(axis):.2f} times as much"
