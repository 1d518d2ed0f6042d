"""What must agree before two arms are compared, and what a claim needs beside it; all answers in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ast_experiments.comparison.arms import UNIFORM, Arm
from ast_experiments.comparison.runs import MEASURED, METERS

SEEDS = 3
"""That two arms must share at least."""

PROTOCOL_SEEDS = {"cifar10": 5}
"""How many seeds a claim needs, by data set; elsewhere `SEEDS`."""

SAME_RATE = 0.05
"""Two arms have the same activation rate if they differ by at most this share of it."""


def is_baseline(arm: Arm, arms: Sequence[Arm]) -> bool:
    """Whether an arm belongs to the uniform line and is not judged; random is judged where there is rs2."""
    uniform = ("dense", "rs2") if any(other.method == "rs2" for other in arms) else UNIFORM
    return arm.extra or arm.method in uniform


def candidates(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The uniform arms of other methods, whether or not they can be compared with."""
    return [other for other in arms if other.method in UNIFORM and other.method != arm.method]


def usable(arm: Arm, arms: Sequence[Arm], axis: str, seeds: int) -> list[Arm]:
    """The candidates that an arm may be compared with."""
    return [other for other in candidates(arm, arms) if not hindrances(arm, other, axis, seeds)]


def hindrances(arm: Arm, other: Arm, axis: str, seeds: int) -> list[str]:
    """All that keeps an arm from being compared with another one on an axis, its own faults left out."""
    found = obstacles(arm, other, axis) + [f"{other.label}: {text}" for text in own_obstacles(other, axis, seeds)]
    together = shared(arm, other, axis)
    if not found and together < seeds:
        found.append(f"{together} seeds shared with {other.label}; at least {seeds} are needed")
    return found


def obstacles(arm: Arm, other: Arm, axis: str) -> list[str]:
    """The facts in which two arms differ and must not on an axis."""
    found = []
    sides = [_facts(each, axis) for each in (arm, other)]
    for name in sorted(set(sides[0]) | set(sides[1])):
        one, two = (side.get(name, "not told") for side in sides)
        shown = {"data": "data fingerprint"}.get(name, name.replace(".", " "))
        if one != two:
            found.append(f"other {shown} ({one}, there {two})")
        elif " and " in one:
            found.append(f"several values of {shown} in one arm ({one})")
    return [*found[:3], f"and {len(found) - 3} more differences"] if len(found) > 3 else found


def own_obstacles(arm: Arm, axis: str, seeds: int) -> list[str]:
    """What keeps an arm from any comparison on an axis."""
    having = [run for run in arm.runs if axis in run.figures]
    if not having:
        if axis == "joules":
            return ["energy was not measured" + next((f" ({run.why_not})" for run in arm.runs if run.why_not), "")]
        return [f"its {'FLOPs' if axis == 'flops' else axis} were not counted"]
    found = []
    told = len({run.seed for run in having})
    if told < seeds:
        found.append("one seed" if told == 1 else f"{told} seeds; at least {seeds} are needed")
    guessed = {run.source for run in having if not run.source.startswith(METERS)} if axis == "joules" else set()
    if guessed:
        found.append(f"its joules are estimates (source {', '.join(sorted(guessed)) or 'not told'})")
    unknown = [run for run in having if run.hardware.get("device") == "cuda" and "GPU UUID" not in run.hardware]
    if axis in MEASURED and unknown:
        found.append("the GPU's UUID is not told")
    return found


def shared(arm: Arm, other: Arm, axis: str) -> int:
    """How many seeds of two arms can be compared on an axis."""
    return int(np.isfinite(arm.values(axis) + other.values(axis, arm.seeds)).sum())


def caveats(arm: Arm, beside: Sequence[Arm], axis: str) -> list[str]:
    """What a claim about an arm would need more, given the baselines it was compared with."""
    found = []
    together = (arm, *beside)
    if axis == "joules" and any("idle_power_w" not in run.figures for run in arm.runs):
        found.append("the idle power")
    if axis in MEASURED and not all(_interleaved(arm, other) for other in beside):
        found.append("runs interleaved with those of its baselines")
    if axis in MEASURED and any(run.record.result.get("resumed") for each in together for run in each.runs):
        found.append("runs that were not interrupted")
    if len({run.record.result.get("commit") for each in together for run in each.runs}) > 1:
        found.append("one commit of the code")
    rate = arm.mean("rate")
    chance = [other for other in beside if other.method != "dense"]
    if not any(abs(other.mean("rate") - rate) <= SAME_RATE * rate for other in chance):
        found.append("an rs2 or random run at its rate")
    asked = PROTOCOL_SEEDS.get(arm.runs[0].dataset, SEEDS)
    if len(arm.seeds) < asked:
        found.append(f"{asked} seeds")
    return found


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


def _interleaved(arm: Arm, other: Arm) -> bool:
    """Whether the spans of time in which two arms were made overlap."""
    spans = [
        [str(run.record.result.get(key) or "") for run in each.runs for key in ("started", "finished")]
        for each in (arm, other)
    ]
    return min(spans[0]) < max(spans[1]) and min(spans[1]) < max(spans[0])
