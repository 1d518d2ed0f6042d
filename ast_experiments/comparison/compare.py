"""Compares the runs of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ast_experiments.comparison.arms import ArmRuns, group, repeats
from ast_experiments.comparison.criteria import CriteriaResult, criteria
from ast_experiments.comparison.runs import AXES, MEASURED, LoadedRuns, Run, axis_name
from ast_experiments.comparison.verdicts import (
    MARGIN,
    MARGINS,
    ArmResult,
    Rules,
    evaluate,
    first_recorded,
)
from ast_experiments.core.errors import UserError

DEFAULT = ("joules", "flops", "seconds", "samples")
"""Cost axes by preference; FLOPs before seconds, which depend on the load of the machine."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs of one data set, compared.

    Attributes:
        dataset: Name of the data set.
        rules: Rules of the comparison.
        results: Result of each arm.
        criteria: AST's published criteria.
        energy: Sentence that says whether energy was measured.
        notes: Notes for the reader.
    """

    dataset: str
    rules: Rules
    results: tuple[ArmResult, ...]
    criteria: tuple[CriteriaResult, ...]
    energy: str
    notes: tuple[str, ...]

    @property
    def arms(self) -> list[ArmRuns]:
        """Arms in order."""
        return [each.arm for each in self.results]

    @property
    def axes(self) -> list[str]:
        """Cost axes that at least one run has recorded."""
        return [axis for axis in AXES if any(axis in run.figures for arm in self.arms for run in arm.runs)]


def compare(
    loaded: LoadedRuns, dataset: str, *, x: str | None = None, margin: float | None = None, tolerance: float = 0.15
) -> Comparison:
    """Compares the runs of a data set.

    Args:
        loaded: Loaded runs; those of other data sets are ignored.
        dataset: The data set.
        x: Cost axis; None for the first of `DEFAULT` that is recorded.
        margin: Points of accuracy within which arms are equal; None for the data set's default.
        tolerance: Maximum relative difference in cost between a baseline and a method.

    Raises:
        UserError: If no run has recorded `x`.
    """
    runs = [run for run in loaded.runs if run.dataset == dataset]
    failed = [run for run in loaded.failed if run.dataset == dataset]
    energy = describe_energy(runs)
    if x is not None and not any(x in run.figures for run in runs):
        known = [axis for axis in AXES if any(axis in run.figures for run in runs)]
        why = f"{dataset}: {energy.rstrip('.')}" if x == "joules" else f"no run on {dataset} has recorded it"
        raise UserError(f"--x {x}: {why}; type --x {' or --x '.join(known) or 'samples'}")
    axis = x or first_recorded(group(runs, measured=False), DEFAULT)
    rules = Rules(axis, MARGINS.get(dataset, MARGIN) if margin is None else margin, tolerance)
    arms = group(runs, failed, measured=axis in MEASURED)
    notes = list(loaded.notes)
    if repeats(arms):
        notes.append(f"{repeats(arms)} runs repeat a seed of their arm; runs with the same seed are averaged")
    metered = sum("joules" in run.figures for run in runs)
    if x is None and axis != "joules" and metered:
        notes.append(f"costs are in {axis_name(axis)}: only {metered} of {len(runs)} runs measured energy")
    return Comparison(dataset, rules, tuple(evaluate(arms, rules)), tuple(criteria(arms)), energy, tuple(notes))


def describe_energy(runs: Sequence[Run]) -> str:
    """Describes whether energy was measured, by which source, or why not."""
    metered = [run for run in runs if "joules" in run.figures]
    reasons = sorted({run.why_not for run in runs if run.why_not and "joules" not in run.figures})
    why = f": {'; '.join(reasons)}" if reasons else ""
    if not metered:
        return f"Energy was not measured{why}."
    by = ", ".join(sorted({run.source or "an unnamed source" for run in metered}))
    rest = "" if len(metered) == len(runs) else f"; not in the other {len(runs) - len(metered)}{why}"
    return f"Energy was measured in {len(metered)} of {len(runs)} runs, by {by}{rest}."
