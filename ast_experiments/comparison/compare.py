"""A comparison of runs: what was found, what is said of it, and in what it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ast_experiments.comparison.arms import Arm, group, repeats
from ast_experiments.comparison.criteria import Met, criteria
from ast_experiments.comparison.runs import AXES, MEASURED, Loaded, Run
from ast_experiments.comparison.verdicts import (
    MARGIN,
    MARGINS,
    Judged,
    Rules,
    first_told,
    judge,
)
from ast_experiments.core.errors import UserError

DEFAULT = ("joules", "flops", "seconds", "samples")
"""What costs are counted in, the most telling first; FLOPs before seconds, which the load of a machine changes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs of one data set, compared.

    Attributes:
        dataset: Its name.
        rules: How they were compared.
        judged: What is said of each arm.
        criteria: AST's published criteria.
        energy: Whether energy was measured, in words.
        notes: What a reader has to know, a line each.
    """

    dataset: str
    rules: Rules
    judged: tuple[Judged, ...]
    criteria: tuple[Met, ...]
    energy: str
    notes: tuple[str, ...]

    @property
    def arms(self) -> list[Arm]:
        """The arms, in order."""
        return [each.arm for each in self.judged]

    @property
    def axes(self) -> list[str]:
        """What costs can be counted in: what at least one run tells."""
        return [axis for axis in AXES if any(axis in run.figures for arm in self.arms for run in arm.runs)]


def compare(
    loaded: Loaded, dataset: str, *, x: str | None = None, margin: float | None = None, tolerance: float = 0.15
) -> Comparison:
    """Compares the runs of a data set.

    Args:
        loaded: What was read; runs of other data sets are passed over.
        dataset: The data set.
        x: What costs are counted in; None for the first of `DEFAULT` that is told.
        margin: Points of accuracy within which arms are equal; None for that of the data set.
        tolerance: How far the cost of a baseline may be from a method's, as a share of it.

    Raises:
        UserError: If no run tells its cost in `x`.
    """
    runs = [run for run in loaded.runs if run.dataset == dataset]
    failed = [run for run in loaded.failed if run.dataset == dataset]
    energy = energy_words(runs)
    if x is not None and not any(x in run.figures for run in runs):
        told = [axis for axis in AXES if any(axis in run.figures for run in runs)]
        why = f"{dataset}: {energy.rstrip('.')}" if x == "joules" else f"no run on {dataset} tells it"
        raise UserError(f"--x {x}: {why}; type --x {' or --x '.join(told) or 'samples'}")
    axis = x or first_told(group(runs, measured=False), DEFAULT)
    rules = Rules(axis, MARGINS.get(dataset, MARGIN) if margin is None else margin, tolerance)
    arms = group(runs, failed, measured=axis in MEASURED)
    notes = list(loaded.notes)
    if repeats(arms):
        notes.append(
            f"runs that repeat the seed of another run of their arm: {repeats(arms)}; their mean counts as one"
        )
    metered = sum("joules" in run.figures for run in runs)
    if x is None and axis != "joules" and metered:
        notes.append(f"costs are counted in {axis}: only {metered} of {len(runs)} runs measured energy")
    return Comparison(dataset, rules, tuple(judge(arms, rules)), tuple(criteria(arms)), energy, tuple(notes))


def energy_words(runs: Sequence[Run]) -> str:
    """Whether energy was measured, by what, and if not, why."""
    metered = [run for run in runs if "joules" in run.figures]
    reasons = sorted({run.why_not for run in runs if run.why_not and "joules" not in run.figures})
    why = f": {'; '.join(reasons)}" if reasons else ""
    if not metered:
        return f"Energy was not measured{why}."
    by = ", ".join(sorted({run.source or "a source that is not named" for run in metered}))
    rest = "" if len(metered) == len(runs) else f"; in the other {len(runs) - len(metered)} it was not{why}"
    return f"Energy was measured in {len(metered)} of {len(runs)} runs, by {by}{rest}."
