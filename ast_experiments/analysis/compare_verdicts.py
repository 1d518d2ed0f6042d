"""Verdicts: each method against uniform baselines at its own cost, and against dense training.

The *uniform line* is the best accuracy that methods which choose no sample (dense trained shorter, rs2, random) reach
at a cost. A method wins or is equal only where a dense run and an rs2 or random run were made at about its own cost;
it can lose without. See docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ast_experiments.analysis.compare_runs import AXES, MEASURED, METERS, UNIFORM, Arm
from ast_experiments.analysis.compare_stats import (
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
SEEDS = 3
PROTOCOL_SEEDS = {"cifar10": 5}

_DOSE = ("recipe.epochs", "recipe.warmup_epochs", "method.rate", "method.rate_final", "method.warmup_epochs")
_FAMILIES = {"dense": ("dense",), "rs2 or random": ("rs2", "random")}


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
class Pair:
    """An arm beside another one, paired by seed.

    Attributes:
        axis: What the saving is counted in.
        saving: Share of the other's cost; None where the two cannot be compared.
        reasons: Why they cannot.
    """

    axis: str
    saving: Interval | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """An arm and what is said of it.

    Attributes:
        arm: The arm.
        word: `wins`, `equal`, `loses`, `undecided`, `not comparable` or `baseline`.
        reasons: Why it is not comparable, or what is open.
        caveats: What a claim would need beside the figures.
        against: The baseline that is best at the arm's cost.
        difference: Points above that baseline at equal cost.
        p_equal: Of the equivalence test of that difference.
        saving: Share of the cost saved against the uniform line at equal accuracy.
        reference: The dense arm of the figures below.
        gap: Points above it.
        gap_p_equal: Of the equivalence test of the gap.
        compute: FLOPs saved against it.
        measured: Joules, or seconds where nothing was metered, saved against it.
        on_front: By axis, whether no other arm is as cheap and as accurate.
    """

    arm: Arm
    word: str
    reasons: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    against: str = ""
    difference: Interval | None = None
    p_equal: float | None = None
    saving: Interval | None = None
    reference: Arm | None = None
    gap: Interval | None = None
    gap_p_equal: float | None = None
    compute: Pair | None = None
    measured: Pair | None = None
    on_front: Mapping[str, bool] | None = None


def judge(arms: Sequence[Arm], rules: Rules) -> list[Judged]:
    """Returns what is said of each arm, in their order."""
    fronts = {
        axis: pareto([arm.mean(axis) for arm in arms], [arm.mean("accuracy") for arm in arms]) for axis in AXES
    }
    judged = []
    for i, arm in enumerate(arms):
        verdict = _verdict(arm, arms, rules)
        judged.append(
            Judged(
                arm=arm,
                **verdict,
                **_beside_dense(arm, arms, rules),
                on_front={axis: bool(front[i]) for axis, front in fronts.items() if np.isfinite(arm.mean(axis))},
            )
        )
    return judged


def preferred_axis(arms: Sequence[Arm]) -> str:
    """Joules where at least half of the runs have them, else seconds."""
    runs = [run for arm in arms for run in arm.runs]
    return "joules" if 2 * sum("joules" in run.figures for run in runs) >= len(runs) else "seconds"


def is_baseline(arm: Arm, arms: Sequence[Arm]) -> bool:
    """Whether an arm belongs to the uniform line and is not judged; random is judged where there is rs2."""
    uniform = ("dense", "rs2") if any(other.method == "rs2" for other in arms) else UNIFORM
    return arm.extra or arm.method in uniform


def obstacles(arm: Arm, other: Arm, axis: str) -> list[str]:
    """What keeps two arms from being compared on an axis, in words."""
    found = []
    sides = [_facts(each, axis) for each in (arm, other)]
    for name in sorted(set(sides[0]) | set(sides[1])):
        one, two = (side.get(name, "not told") for side in sides)
        if one != two and not (name.startswith("model.") and "other model" in " ".join(found)):
            shown = {"data": "data fingerprint"}.get(name, name.replace(".", " "))
            found.append(f"other {shown} ({one}, there {two})")
        elif " and " in one:
            found.append(f"several {name} in the arm ({one})")
    return [*found[:3], f"and {len(found) - 3} more differences"] if len(found) > 3 else found


def own_obstacles(arm: Arm, axis: str, seeds: int) -> list[str]:
    """What keeps an arm from any comparison on an axis, in words."""
    having = [run for run in arm.runs if axis in run.figures]
    if not having:
        why = next((f" ({run.why_not})" for run in arm.runs if run.why_not), "") if axis == "joules" else ""
        return [{"joules": f"energy was not measured{why}", "flops": "FLOPs were not counted"}.get(axis, f"no {axis}")]
    found = []
    shared = len({run.seed for run in having})
    if shared < seeds:
        found.append("one seed" if shared == 1 else f"{shared} seeds; at least {seeds} are needed")
    guessed = {run.source for run in having if not run.source.startswith(METERS)} if axis == "joules" else set()
    if guessed:
        found.append(f"its joules are estimates (source {', '.join(sorted(guessed)) or 'not told'})")
    if axis in MEASURED and any(
        run.hardware.get("device") == "cuda" and "GPU UUID" not in run.hardware for run in having
    ):
        found.append("the GPU's UUID is not told")
    return found


def baselines(arm: Arm, arms: Sequence[Arm], axis: str, seeds: int) -> list[Arm]:
    """The uniform arms that an arm may be compared with."""
    return [
        other
        for other in _candidates(arm, arms)
        if not own_obstacles(other, axis, seeds) and not obstacles(arm, other, axis) and _shared(arm, other) >= seeds
    ]


def lines(arms: Sequence[Arm], axis: str, seeds: Sequence[int]) -> list[Line]:
    """One line for each set of arms that differ only in how long or how densely they train."""
    grouped: dict[tuple[object, ...], list[Arm]] = {}
    for arm in arms:
        same = tuple(sorted((key, value) for key, value in arm.runs[0].settings.items() if key not in _DOSE))
        grouped.setdefault((arm.method, same), []).append(arm)
    return [
        Line(
            members[0].method,
            np.stack([arm.values(axis, seeds) for arm in members]),
            np.stack([arm.values("accuracy", seeds) for arm in members]),
        )
        for members in grouped.values()
    ]


def _verdict(arm: Arm, arms: Sequence[Arm], rules: Rules) -> dict[str, object]:
    if is_baseline(arm, arms):
        return {"word": "baseline"}
    own = own_obstacles(arm, rules.x, rules.seeds)
    if own:
        return {"word": "not comparable", "reasons": tuple(own)}
    beside = baselines(arm, arms, rules.x, rules.seeds)
    if not beside:
        return {"word": "not comparable", "reasons": tuple(_nothing_beside(arm, arms, rules))}
    seeds, x = arm.seeds, rules.x
    costs, accuracies = arm.values(x, seeds), arm.values("accuracy", seeds)
    known = lines(beside, x, seeds)
    found, used = differences(accuracies, costs[None, :], known, least=rules.seeds, slack=rules.tolerance)
    if used[0] < 0:
        cheapest = min(beside, key=lambda other: other.mean(x))
        times = cheapest.mean(x) / arm.mean(x)
        return {
            "word": "not comparable",
            "reasons": (f"no baseline at that cost: the cheapest, {cheapest.label}, costs {times:.2f} times as much",),
        }
    verdict: dict[str, object] = {
        "against": known[used[0]].name,
        "difference": (difference := interval(found[0])),
        "p_equal": (p_equal := equivalence(found[0], rules.margin)),
        "caveats": tuple(caveats(arm, beside, x)),
    }
    if difference.high < 0 and p_equal >= 1 - CONFIDENCE:
        word = "loses"
    else:
        missing = [text for name, methods in _FAMILIES.items() for text in _missing(arm, arms, name, methods, rules)]
        if missing:
            return verdict | {"word": "not comparable", "reasons": tuple(missing)}
        word = "equal" if p_equal < 1 - CONFIDENCE else "wins" if difference.low > 0 else "undecided"
    saving = saving_at_equal_accuracy(accuracies, costs, known, least=rules.seeds, slack=rules.tolerance)
    reasons = ("neither a difference nor equality is shown; more seeds would decide",) if word == "undecided" else ()
    return verdict | {"word": word, "saving": saving, "reasons": reasons}


def caveats(arm: Arm, beside: Sequence[Arm], axis: str) -> list[str]:
    """What else a claim of a saving would need."""
    found = []
    if axis == "joules" and any("idle_power_w" not in run.figures for run in arm.runs):
        found.append("idle power is not known")
    if axis in MEASURED:
        if not all(_interleaved(arm, other) for other in beside):
            found.append("not interleaved with its baselines")
        if any(run.record.result.get("resumed") for each in (arm, *beside) for run in each.runs):
            found.append("runs were interrupted and resumed")
    if len({run.record.result.get("commit") for each in (arm, *beside) for run in each.runs}) > 1:
        found.append("made from several commits of the code")
    rate = arm.mean("rate")
    if not any(
        other.method in ("rs2", "random") and abs(other.mean("rate") - rate) <= 0.05 * rate for other in beside
    ):
        found.append("no rs2 or random run at its rate")
    asked = PROTOCOL_SEEDS.get(arm.runs[0].dataset, SEEDS)
    if len(arm.seeds) < asked:
        found.append(f"{len(arm.seeds)} seeds, where the protocol asks for {asked}")
    return found


def _beside_dense(arm: Arm, arms: Sequence[Arm], rules: Rules) -> dict[str, object]:
    """Accuracy and savings against the best dense arm that is no mere baseline of another arm."""
    dense = [other for other in arms if other.method == "dense" and not other.extra]
    agreeing = [other for other in dense if other is not arm and not obstacles(arm, other, "flops")]
    if not agreeing:
        return {}
    measured = preferred_axis(arms)
    # Of dense arms alike in all but hardware, the one on the arm's own hardware serves.
    reference = max(agreeing, key=lambda each: (not obstacles(arm, each, measured), each.mean("accuracy")))
    gaps = arm.values("accuracy") - reference.values("accuracy", arm.seeds)
    return {
        "reference": reference,
        "gap": interval(gaps),
        "gap_p_equal": equivalence(gaps, rules.margin),
        "compute": _pair(arm, reference, "flops", 1),
        "measured": _pair(arm, reference, measured, rules.seeds),
    }


def _pair(arm: Arm, reference: Arm, axis: str, seeds: int) -> Pair:
    reasons = [
        *own_obstacles(arm, axis, seeds),
        *(f"dense: {text}" for text in own_obstacles(reference, axis, seeds)),
        *obstacles(arm, reference, axis),
    ]
    if not reasons and _shared(arm, reference) < seeds:
        reasons.append(f"{_shared(arm, reference)} seeds shared with dense; at least {seeds} are needed")
    if reasons:
        return Pair(axis, None, tuple(reasons))
    return Pair(axis, interval(1 - arm.values(axis) / reference.values(axis, arm.seeds)))


def _facts(arm: Arm, axis: str) -> dict[str, str]:
    """What must agree on an axis; where the runs of the arm do not agree, all their values."""
    found: dict[str, set[str]] = {}
    for run in arm.runs:
        told = dict(run.facts)
        if axis in MEASURED:
            told |= run.hardware
        if axis == "joules":
            told["energy source"] = run.source or "none"
        for name, value in told.items():
            found.setdefault(name, set()).add(value)
    return {name: " and ".join(sorted(values)) for name, values in found.items()}


def _candidates(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    return [other for other in arms if other.method in UNIFORM and other.method != arm.method]


def _shared(arm: Arm, other: Arm) -> int:
    return len(set(arm.seeds) & set(other.seeds))


def _nothing_beside(arm: Arm, arms: Sequence[Arm], rules: Rules) -> list[str]:
    """Why no uniform arm can be compared with: what is wrong with the one that is wrong in the fewest ways."""
    candidates = _candidates(arm, arms)
    if not candidates:
        return ["no dense, rs2 or random runs beside it"]
    tried = []
    for other in candidates:
        wrong = obstacles(arm, other, rules.x)
        wrong += [f"{other.label}: {text}" for text in own_obstacles(other, rules.x, rules.seeds)]
        if not wrong:
            wrong = [f"{_shared(arm, other)} seeds shared with {other.label}; at least {rules.seeds} are needed"]
        tried.append(wrong)
    return min(tried, key=len)


def _missing(arm: Arm, arms: Sequence[Arm], name: str, methods: Sequence[str], rules: Rules) -> list[str]:
    """In words, that a family of baselines has no arm at the method's cost; empty if it has."""
    family = [other for other in _candidates(arm, arms) if other.method in methods]
    usable = [other for other in family if other in baselines(arm, arms, rules.x, rules.seeds)]
    if not family:
        return [f"no {name} runs beside it"]
    if not usable:
        return [f"{name}: {text}" for text in _nothing_beside(arm, [arm, *family], rules)]
    cost = arm.mean(rules.x)
    nearest = min(usable, key=lambda other: abs(np.log(other.mean(rules.x) / cost)))
    times = nearest.mean(rules.x) / cost
    if abs(times - 1) <= rules.tolerance:
        return []
    return [f"no {name} run at that cost: the nearest, {nearest.label}, costs {times:.2f} times as much"]


def _interleaved(arm: Arm, other: Arm) -> bool:
    """Whether the spans of time in which two arms were made overlap."""
    spans = [
        [str(run.record.result.get("started") or "") for run in each.runs]
        + [str(run.record.result.get("finished") or "") for run in each.runs]
        for each in (arm, other)
    ]
    return min(spans[0]) < max(spans[1]) and min(spans[1]) < max(spans[0])
