"""Decisions of a study: the unit of cost, and the baselines that cost as much as each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.errors import UserError
from ast_experiments.experiments.study.arms import DENSE, Arm
from ast_experiments.experiments.study.matching import CostModel, close, matching_epochs, matching_rate
from ast_experiments.experiments.study.plan import StudyPlan

if TYPE_CHECKING:
    from ast_experiments.comparison.runs import Run
    from ast_experiments.config.schema import Config

TRAINING = ("train", "score", "plan", "data_wait")
OVERHEAD = ("val", "checkpoint")
UNITS = {"joules": "joules", "seconds": "seconds", "flops": "FLOPs", "samples": "sample-visits"}


def load_run(folder: Path) -> Run | None:
    """Loads a finished run, with its cost counted as `ast-compare` counts it."""
    from ast_experiments.comparison.runs import load

    return next(iter(load([folder]).runs), None)


def choose_unit(requested: str, runs: Sequence[Run]) -> tuple[str, str]:
    """Chooses the unit of cost.

    Args:
        requested: As in `Study.cost`.
        runs: One of the dense reference and one of a method.

    Returns:
        A key of `UNITS`, and the reason for it.

    Raises:
        UserError: If the requested unit was not measured.
    """
    measured = [unit for unit in UNITS if all(unit in run.figures for run in runs)]
    reason = next((run.why_not for run in runs if run.why_not), "no meter")
    if requested != "auto":
        if requested not in measured:
            why = (
                f"energy was not measured ({reason})"
                if requested == "joules"
                else f"no {UNITS[requested]} were counted"
            )
            available = "flops" if "flops" in measured else measured[-1]
            raise UserError(f"cost={requested}: {why}; type cost={available}")
        return requested, "as requested"
    if "joules" in measured:
        return "joules", f"measured by {runs[0].source}"
    if "flops" in measured:
        return "flops", f"energy was not measured ({reason}); FLOPs are exact and repeatable"
    return measured[0], f"energy was not measured ({reason}) and FLOPs could not be counted"


def cost_model(run: Run, unit: str) -> CostModel:
    """Splits a run's cost by phase, where phases were recorded."""
    total, phases = run.figures[unit], run.phases.get(unit, {})
    epochs = round(run.figures["epochs"])
    if not phases:
        return CostModel(total, 0.0, 0.0, epochs)
    training, overhead = (sum(phases.get(phase, 0.0) for phase in group) for group in (TRAINING, OVERHEAD))
    return CostModel(training, overhead, max(0.0, total - training - overhead), epochs)


def match_baselines(
    plan: StudyPlan, method: Arm, runs: Sequence[Run], config_of: Callable[[Arm], Config]
) -> dict[str, Any]:
    """Adds the baselines that cost as much as a method to the plan; reuses arms that already match.

    Args:
        plan: Its unit of cost is decided.
        method: The method.
        runs: A dense run and one of the method.
        config_of: Returns the checked config of an arm.

    Returns:
        An entry of `StudyPlan.matched`: cost as a share of the dense run's, and the label of each baseline.
    """
    assert plan.cost is not None
    dense, cost = cost_model(runs[0], plan.cost), runs[1].figures[plan.cost]
    matched: dict[str, Any] = {"of_dense": cost / dense.total}
    shorter = matching_epochs(cost, dense)
    matched["dense_shorter"] = _dense_shorter(plan, method, shorter, config_of)
    matched["dense_shorter_costs"] = dense.cost(shorter) / cost
    if method.method == "rs2":
        return matched
    epochs = config_of(method).recipe.epochs
    samples = runs[0].record.result["train_samples"]
    one_batch = config_of(method).recipe.batch_size / samples
    rate = round(max(matching_rate(cost, epochs, dense), one_batch), 4)
    if rate < 1:
        matched["rs2"] = _rs2(plan, method, epochs, rate, config_of)
        matched["rs2_costs"] = dense.cost(epochs, rate) / cost
    return matched


def _dense_shorter(plan: StudyPlan, method: Arm, epochs: int, config_of: Callable[[Arm], Config]) -> str:
    recipe = config_of(DENSE).recipe
    overrides = [f"recipe.epochs={epochs}"]
    if recipe.warmup_epochs:
        overrides.append(f"recipe.warmup_epochs={recipe.warmup_epochs * epochs / recipe.epochs:.6g}")
    same = (arm for arm in plan.arms if arm.method == "dense" and config_of(arm).recipe.epochs == epochs)
    arm = Arm(f"dense epochs={epochs}", "dense", tuple(overrides), (f"dense_shorter:{method.label}",))
    return _add_baseline(plan, next(same, None), arm)


def _rs2(plan: StudyPlan, method: Arm, epochs: int, rate: float, config_of: Callable[[Arm], Config]) -> str:
    length = [o for o in method.overrides if o.startswith(("recipe.epochs=", "recipe.warmup_epochs="))]
    label = " ".join([f"rs2 rate={rate:g}", *length])
    same = (
        arm
        for arm in plan.arms
        if arm.method == "rs2" and config_of(arm).recipe.epochs == epochs and close(config_of(arm).method.rate, rate)
    )
    arm = Arm(label, "rs2", (f"method.rate={rate:g}", *length), (f"rs2:{method.label}",))
    return _add_baseline(plan, next(same, None), arm)


def _add_baseline(plan: StudyPlan, existing: Arm | None, new: Arm) -> str:
    """Adds a baseline, or extends the purpose of an existing one. Returns its label."""
    if existing is None:
        plan.baselines.append(new)
        return new.label
    if existing in plan.baselines:
        at = plan.baselines.index(existing)
        baseline_for = tuple(dict.fromkeys([*existing.baseline_for, *new.baseline_for]))
        plan.baselines[at] = Arm(existing.label, existing.method, existing.overrides, baseline_for)
    return existing.label


def describe_match(label: str, matched: Mapping[str, Any], unit: str) -> str:
    """Describes in one line what a method costs and which baselines cost as much."""
    text = f"{label} costs {matched['of_dense']:.3f} of dense in {unit}; at that cost: {matched['dense_shorter']}"
    share = matched["dense_shorter_costs"]
    if abs(share - 1) > 0.005:
        text += f" ({share:.2f} of it, whole epochs)"
    if "rs2" in matched:
        return f"{text}, {matched['rs2']}"
    return text if label.startswith("rs2") else f"{text}; no rs2, which costs less at any rate"
