"""Applies the success criteria published with AST.

Source: https://github.com/oluwafemidiakhoa/adaptive-sparse-training. They apply to CIFAR-10. Their "savings"
are the share of rows skipped, which follows from the rate and is not energy. For ImageNet-100 ranges were predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ast_experiments.comparison.arms import ArmRuns

CIFAR10 = "cifar10"
NONE = "not met"
EDGE = 1e-9

# Hardest first: accuracy in percent, share of rows skipped, range of the activation rate.
LEVELS: tuple[tuple[str, float, float, tuple[float, float] | None], ...] = (
    ("excellent", 78.0, 0.90, (0.095, 0.105)),
    ("target", 75.0, 0.88, (0.09, 0.12)),
    ("minimum", 70.0, 0.85, None),
)

PREDICTED = {"imagenet100": {"accuracy": (75.0, 80.0), "skipped_share": (0.88, 0.91), "rate": (0.09, 0.12)}}
"""Predicted ranges by data set and figure."""


@dataclass(frozen=True, slots=True)
class CriteriaResult:
    """Criteria that an arm meets.

    Attributes:
        arm: The arm.
        level: The hardest level that all of its runs meet; "not met" if a run failed.
        by_run: The level of each run.
        predicted: "below", "as predicted" or "above" by figure, for figures with a prediction.
    """

    arm: ArmRuns
    level: str
    by_run: tuple[str, ...]
    predicted: dict[str, str]


def level(accuracy: float, skipped: float, rate: float) -> str:
    """Returns the hardest level that figures meet.

    Args:
        accuracy: In percent.
        skipped: Share of rows skipped.
        rate: Activation rate.
    """
    for name, least_accuracy, least_skipped, rates in LEVELS:
        in_range = rates is None or rates[0] - EDGE <= rate <= rates[1] + EDGE
        if accuracy >= least_accuracy - EDGE and skipped >= least_skipped - EDGE and in_range:
            return name
    return NONE


def criteria(arms: list[ArmRuns]) -> list[CriteriaResult]:
    """Applies the criteria to each arm of AST on their data sets that skips rows and has recorded its rate."""
    found = []
    for arm in arms:
        if arm.runs[0].dataset not in (CIFAR10, *PREDICTED) or not arm.method.startswith("ast"):
            continue
        figures = [run.figures for run in arm.runs]
        if (
            not all({"skipped_share", "rate"} <= set(each) for each in figures)
            or arm.mean("skipped_share") <= 0
            or arm.baseline_only
        ):
            continue
        by_run = tuple(level(each["accuracy"], each["skipped_share"], each["rate"]) for each in figures)
        order = [name for name, *_ in LEVELS] + [NONE]
        worst = NONE if arm.failed else max(by_run, key=order.index)
        found.append(CriteriaResult(arm, worst, by_run, _predicted(arm)))
    return found


def _predicted(arm: ArmRuns) -> dict[str, str]:
    ranges: dict[str, Any] = PREDICTED.get(arm.runs[0].dataset, {})
    return {
        key: "below" if arm.mean(key) < low else "above" if arm.mean(key) > high else "as predicted"
        for key, (low, high) in ranges.items()
    }
