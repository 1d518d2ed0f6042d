"""Comparability checks: what must match between two arms, and what a claim still requires."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ast_experiments.comparison.arms import ArmRuns
from ast_experiments.comparison.levers import LEVERS
from ast_experiments.comparison.runs import MEASURED, METERS, Run, axis_name

SEEDS = 3
"""Minimum number of seeds that two arms must share."""

PROTOCOL_SEEDS = {"cifar10": 5}
"""Seeds that a claim requires, by data set; `SEEDS` for others."""


def is_baseline(arm: ArmRuns, arms: Sequence[ArmRuns]) -> bool:
    """Returns whether an arm is part of the uniform line and gets no verdict. Random gets one if there is rs2."""
    judged = arm.method not in ("dense", "rs2") and any(other.method == "rs2" for other in arms)
    return arm.baseline_only or (arm.uniform and not judged)


def candidates(arm: ArmRuns, arms: Sequence[ArmRuns]) -> list[ArmRuns]:
    """Returns the uniform arms of other methods, comparable or not."""
    return [other for other in arms if other.uniform and other.method != arm.method]


def usable(arm: ArmRuns, arms: Sequence[ArmRuns], axis: str, seeds: int) -> list[ArmRuns]:
    """Returns the candidates that an arm can be compared with."""
    return [other for other in candidates(arm, arms) if not blockers(arm, other, axis, seeds)]


def blockers(arm: ArmRuns, other: ArmRuns, axis: str, seeds: int, *, levers: bool = True) -> list[str]:
    """Returns why two arms cannot be compared on an axis, except for reasons within the first arm."""
    found = pair_blockers(arm, other, axis, levers=levers) + [
        f"{other.label}: {text}" for text in arm_blockers(other, axis, seeds)
    ]
    together = shared(arm, other, axis)
    if not found and together < seeds:
        found.append(f"only {together} seeds in common with {other.label}; at least {seeds} are needed")
    return found


def pair_blockers(arm: ArmRuns, other: ArmRuns, axis: str, *, levers: bool = True) -> list[str]:
    """Returns the facts that must match on an axis but differ between two arms.

    Args:
        arm: One arm.
        other: The other.
        axis: Cost axis.
        levers: Whether settings that make training cheaper by themselves must match too, as they must to say what
            choosing saves.
    """
    found = []
    sides = [_facts(each, axis) for each in (arm, other)]
    for name in sorted(set(sides[0]) | set(sides[1])):
        if name.startswith(LEVERS) and not levers:
            continue
        one, two = (side.get(name, "unknown") for side in sides)
        shown = {"data": "data fingerprint"}.get(name, name.replace(".", " "))
        if one != two:
            found.append(f"different {shown} ({one} and {two})")
        elif " and " in one:
            found.append(f"several values of {shown} in one arm ({one})")
    return [*found[:3], f"and {len(found) - 3} more differences"] if len(found) > 3 else found


def arm_blockers(arm: ArmRuns, axis: str, seeds: int) -> list[str]:
    """Returns why an arm cannot be compared with any other on an axis."""
    having = [run for run in arm.runs if axis in run.figures]
    if not having:
        if axis == "joules":
            return ["energy was not measured" + next((f" ({run.why_not})" for run in arm.runs if run.why_not), "")]
        return [f"its {axis_name(axis)} are not recorded"]
    found = []
    seen = len({run.seed for run in having})
    if seen < seeds:
        found.append(f"{seen} seed{'' if seen == 1 else 's'}; at least {seeds} are needed")
    estimated = {run.source for run in having if not run.source.startswith(METERS)} if axis == "joules" else set()
    if estimated:
        found.append(f"its joules are estimates (source {', '.join(sorted(estimated)) or 'unknown'})")
    unknown = [run for run in having if run.hardware.get("device") == "cuda" and "GPU UUID" not in run.hardware]
    if axis in MEASURED and unknown:
        found.append("the GPU's UUID is unknown")
    if axis in MEASURED and (text := _shared_machine(having)):
        found.append(text)
    return found


def _shared_machine(runs: Sequence[Run]) -> str:
    """Says how many runs shared the machine with others; empty if none did."""
    together = [run for run in runs if run.shared]
    what = " and ".join(sorted({f"the {kind}" if kind == "GPU" else kind for run in together for kind in run.shared}))
    return f"{len(together)} of {len(runs)} runs shared {what} with other runs" if together else ""


def shared(arm: ArmRuns, other: ArmRuns, axis: str) -> int:
    """Counts the seeds for which two arms can be compared on an axis."""
    return int(np.isfinite(arm.values(axis) + other.values(axis, arm.seeds)).sum())


def claim_requirements(arm: ArmRuns, baselines: Sequence[ArmRuns], axis: str) -> list[str]:
    """Returns what a claim about an arm still requires, given the baselines it was compared with."""
    found = []
    together = (arm, *baselines)
    if axis == "joules" and any("idle_power_w" not in run.figures for run in arm.runs):
        found.append("a measurement of idle power")
    if axis in MEASURED and not all(_interleaved(arm, other) for other in baselines):
        found.append("runs interleaved with those of its baselines")
    if axis in MEASURED and any(run.record.result.get("resumed") for each in together for run in each.runs):
        found.append("uninterrupted runs")
    if len({run.record.result.get("commit") for each in together for run in each.runs}) > 1:
        found.append("runs of the same commit")
    if not any(arm.trains_like(other) for other in baselines if other.method != "dense"):
        every = "" if arm.constant_rate else " in every epoch"
        found.append(f"an rs2 or random run at the same activation rate{every}")
    required = required_seeds(arm.runs[0].dataset)
    if len(arm.seeds) < required:
        found.append(f"{required} seeds")
    return found


def required_seeds(dataset: str) -> int:
    """Returns how many seeds a claim about a data set requires."""
    return PROTOCOL_SEEDS.get(dataset, SEEDS)


def _facts(arm: ArmRuns, axis: str) -> dict[str, str]:
    """Returns the facts that must match on an axis; if the runs of an arm disagree, all their values."""
    found: dict[str, set[str]] = {}
    for run in arm.runs:
        facts = dict(run.facts)
        if axis in MEASURED:
            facts |= run.hardware
        if axis == "joules":
            facts["energy source"] = run.source or "none"
        for name, value in facts.items():
            found.setdefault(name, set()).add(value)
    return {name: " and ".join(sorted(values)) for name, values in found.items()}


def _interleaved(arm: ArmRuns, other: ArmRuns) -> bool:
    """Returns whether the periods in which two arms ran overlap."""
    spans = [
        [str(run.record.result.get(key) or "") for run in each.runs for key in ("started", "finished")]
        for each in (arm, other)
    ]
    return min(spans[0]) < max(spans[1]) and min(spans[1]) < max(spans[0])
