"""Decisions of a study: the unit of cost, and the baselines that cost as much as each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ast_experiments.comparison.levers import LEVERS
from ast_experiments.core.errors import UserError
from ast_experiments.experiments.study.arms import DENSE, Arm
from ast_experiments.experiments.study.matching import (
    CostModel,
    close,
    constant,
    matching_epochs,
    matching_rate,
    scaled_rates,
    weighted_mean,
)
from ast_experiments.experiments.study.plan import StudyPlan
from ast_experiments.selection.build import rate_schedule_of

if TYPE_CHECKING:
    from ast_experiments.comparison.runs import Run
    from ast_experiments.config.schema import Config

TRAINING = ("train", "score", "plan", "data_wait")
OVERHEAD = ("val", "checkpoint")
UNITS = {"joules": "joules", "seconds": "seconds", "flops": "FLOPs", "samples": "rows trained"}


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
    from ast_experiments.comparison.runs import MEASURED

    measured = [unit for unit in UNITS if all(unit in run.figures for run in runs)]
    reason = next((run.why_not for run in runs if run.why_not), "no meter")
    why = f"energy was not measured ({reason})"
    if any(run.shared for run in runs):
        if requested in MEASURED:
            raise UserError(f"cost={requested}: the runs shared the machine with others; type cost=flops")
        why = "joules of runs that shared the machine cannot be compared" if "joules" in measured else why
        measured = [unit for unit in measured if unit not in MEASURED]
    if requested != "auto":
        if requested not in measured:
            missing = why if requested == "joules" else f"no {UNITS[requested]} were counted"
            available = "flops" if "flops" in measured else measured[-1]
            raise UserError(f"cost={requested}: {missing}; type cost={available}")
        return requested, "as requested"
    if "joules" in measured:
        return "joules", f"measured by {runs[0].source}"
    if "flops" in measured:
        return "flops", f"{why}; FLOPs are exact and repeatable"
    return measured[0], f"{why} and FLOPs could not be counted"


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
    epochs = config_of(method).recipe.epochs
    dense, weights = _at_sizes(dense, runs, epochs, plan.cost)
    shorter = matching_epochs(cost, dense)
    matched["dense_shorter"] = _dense_shorter(plan, method, shorter, config_of)
    matched["dense_shorter_costs"] = dense.cost(shorter) / cost
    if method.method == "rs2":
        return matched
    samples = runs[0].record.result["train_samples"]
    one_batch = config_of(method).recipe.batch_size / samples
    rate = round(max(matching_rate(cost, epochs, dense), one_batch), 4)
    if rate >= 1:
        return matched
    matched["rs2"] = _rs2(plan, method, epochs, rate, config_of)
    matched["rs2_costs"] = dense.cost(epochs, rate) / cost
    rates = [rows / samples for rows in runs[1].record.result.get("rows_by_epoch", ())]
    if len(rates) == epochs and not constant(rates):
        listed = scaled_rates(rates, rate, one_batch, weights)
        matched["rs2_same_schedule"] = _rs2_same_schedule(plan, method, listed, config_of)
        matched["rs2_same_schedule_costs"] = dense.cost(epochs, weighted_mean(listed, weights)) / cost
    return matched


def _at_sizes(dense: CostModel, runs: Sequence[Run], epochs: int, unit: str) -> tuple[CostModel, list[float]]:
    """Returns the cost of dense training on images of the method's sizes, and what a row costs in each epoch."""
    own, other = ([1.0] if unit == "samples" else run.record.result.get("row_flops_by_epoch", [1.0]) for run in runs)
    weights = other if len(other) == epochs else [1.0] * epochs
    return replace(dense, training=dense.training * fmean(other) / fmean(own)), weights


def expected(config: Config) -> int:
    """Returns how many baselines a method is likely to get, for the estimate of the remaining time."""
    if config.method.name == "rs2":
        return 1
    schedule = rate_schedule_of(config.method)
    if schedule is None or schedule.schedule not in ("auto", "constant"):
        return 3
    return 3 if schedule.warmup_epochs + schedule.final_epochs else 2


def _dense_shorter(plan: StudyPlan, method: Arm, epochs: int, config_of: Callable[[Arm], Config]) -> str:
    recipe = config_of(DENSE).recipe
    overrides = [f"recipe.epochs={epochs}"]
    if recipe.warmup_epochs:
        overrides.append(f"recipe.warmup_epochs={recipe.warmup_epochs * epochs / recipe.epochs:.6g}")
    levers = _levers(config_of(method))
    same = (
        arm
        for arm in plan.arms
        if arm.method == "dense" and config_of(arm).recipe.epochs == epochs and _levers(config_of(arm)) == levers
    )
    label = " ".join([f"dense epochs={epochs}", *_of_levers(method)])
    arm = Arm(label, "dense", (*overrides, *_of_levers(method)), (f"dense_shorter:{method.label}",))
    return _add_baseline(plan, next(same, None), arm)


def _rs2(plan: StudyPlan, method: Arm, epochs: int, rate: float, config_of: Callable[[Arm], Config]) -> str:
    length = _length(method)
    label = " ".join([f"rs2 rate={rate:g}", *length])
    same = (
        arm
        for arm in plan.arms
        if arm.method == "rs2"
        and config_of(arm).recipe.epochs == epochs
        and _levers(config_of(arm)) == _levers(config_of(method))
        and _at_rate(config_of(arm).method, rate)
    )
    arm = Arm(label, "rs2", (f"method.rate={rate:g}", *length), (f"rs2:{method.label}",))
    return _add_baseline(plan, next(same, None), arm)


def _at_rate(method: Any, rate: float) -> bool:
    """Tells whether the settings of rs2 train at about this rate in every epoch."""
    return (
        method.rate_schedule == "constant"
        and not method.warmup_epochs + method.final_epochs
        and close(method.rate, rate)
    )


def _rs2_same_schedule(plan: StudyPlan, method: Arm, rates: Sequence[float], config_of: Callable[[Arm], Config]) -> str:
    """Adds a uniform draw that trains as many rows in each epoch as the method."""
    listed = ",".join(f"{rate:.4g}" for rate in rates)
    purpose = f"rs2_same_schedule:{method.label}"
    arm = Arm(f"rs2 as {method.label}", "rs2", (f"method.rate_schedule=[{listed}]", *_length(method)), (purpose,))
    same = (
        other
        for other in plan.arms
        if other.method == "rs2"
        and other.overrides[1:] == arm.overrides[1:]
        and _at_rates(config_of(other).method, rates)
    )
    return _add_baseline(plan, next(same, None), arm)


def _at_rates(method: Any, rates: Sequence[float]) -> bool:
    """Tells whether the settings of rs2 train at about these rates, epoch by epoch."""
    listed = method.rate_schedule
    return not isinstance(listed, str) and len(listed) == len(rates) and all(map(close, listed, rates))


def _length(method: Arm) -> list[str]:
    """Returns the overrides that set how long an arm trains, at which image sizes, and in how large batches."""
    length = [o for o in method.overrides if o.startswith(("recipe.epochs=", "recipe.warmup_epochs="))]
    return [*length, *_of_levers(method)]


def _of_levers(method: Arm) -> list[str]:
    """Returns the overrides that set image sizes and batches of an arm: its baselines train with the same ones."""
    return [o for o in method.overrides if o.lstrip("+").startswith(LEVERS)]


def _levers(config: Config) -> list[Any]:
    return [getattr(config.recipe, lever.removeprefix("recipe.")) for lever in LEVERS]


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
    same = [matched[key] for key in ("rs2", "rs2_same_schedule") if key in matched]
    if same:
        return ", ".join([text, *same])
    return text if label.startswith("rs2") else f"{text}; no rs2, which costs less at any rate"
