"""What a study decides on the way: learning rates, what costs are counted in, and the baselines of each method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.errors import UserError
from ast_experiments.experiments.study.matching import Price, alike, epochs_costing, rate_costing
from ast_experiments.experiments.study.plan import DENSE, Arm
from ast_experiments.experiments.study.state import Job, Plan

if TYPE_CHECKING:
    from ast_experiments.comparison.runs import Run
    from ast_experiments.config.schema import Config

TRAINING = ("train", "score", "plan", "data_wait")
BESIDE = ("val", "checkpoint")
UNITS = {"joules": "joules", "seconds": "seconds", "flops": "FLOPs", "samples": "sample-visits"}


def best_lr(trials: Sequence[Job], results: Mapping[str, Mapping[str, Any]], lr: float) -> float | None:
    """The learning rate whose trial ended with the highest accuracy, of equal ones the nearest to `lr`.

    None if no trial was finished.
    """
    ended = [
        (-results[job.place]["final_accuracy"], abs(math.log(job.lr / lr)), job.lr)
        for job in trials
        if job.lr is not None and results.get(job.place, {}).get("status") == "finished"
    ]
    return min(ended)[2] if ended else None


def read(folder: Path) -> Run | None:
    """A finished run, its cost counted as `ast-compare` counts it."""
    from ast_experiments.comparison.runs import load

    return next(iter(load([folder]).runs), None)


def cost_kind(wanted: str, runs: Sequence[Run]) -> tuple[str, str]:
    """What costs are counted in, and why.

    Args:
        wanted: As in `Study.cost`.
        runs: Of the dense reference and a method.

    Raises:
        UserError: If that was not measured.
    """
    told = [kind for kind in UNITS if all(kind in run.figures for run in runs)]
    reason = next((run.why_not for run in runs if run.why_not), "no meter")
    if wanted != "auto":
        if wanted not in told:
            why = f"energy was not measured ({reason})" if wanted == "joules" else f"no {UNITS[wanted]} were counted"
            raise UserError(f"cost={wanted}: {why}; type cost={told[-1] if 'flops' not in told else 'flops'}")
        return wanted, "asked for"
    if "joules" in told:
        return "joules", f"measured by {runs[0].source}"
    if "flops" in told:
        return "flops", f"energy was not measured ({reason}); FLOPs are exact and repeatable"
    return told[0], f"energy was not measured ({reason}) and FLOPs could not be counted"


def price(run: Run, kind: str) -> Price:
    """What a run cost, as far as its phases are told."""
    total, phases = run.figures[kind], run.phases.get(kind, {})
    epochs = round(run.figures["epochs"])
    if not phases:
        return Price(total, 0.0, 0.0, epochs)
    training, beside = (sum(phases.get(phase, 0.0) for phase in group) for group in (TRAINING, BESIDE))
    return Price(training, beside, max(0.0, total - training - beside), epochs)


def match(plan: Plan, method: Arm, runs: Sequence[Run], config_of: Callable[[Arm], Config]) -> dict[str, Any]:
    """Adds to the plan the baselines that cost as much as a method; arms that are there serve if they are alike.

    Args:
        plan: Its kind of cost is decided.
        method: The method.
        runs: A dense run and one of the method.
        config_of: Gives the config of an arm, checked.

    Returns:
        For `Plan.matched`: cost as a share of the dense run's, and the label of each baseline.
    """
    assert plan.cost is not None
    dense, cost = price(runs[0], plan.cost), runs[1].figures[plan.cost]
    found: dict[str, Any] = {"of_dense": cost / dense.total}
    shorter = epochs_costing(cost, dense)
    found["dense_shorter"] = _dense(plan, method, shorter, config_of)
    found["dense_shorter_costs"] = dense.of(shorter) / cost
    if method.method == "rs2":
        return found
    epochs = config_of(method).recipe.epochs
    samples = runs[0].record.result["train_samples"]
    rate = round(max(rate_costing(cost, epochs, dense), config_of(method).recipe.batch_size / samples), 4)
    if rate < 1:
        found["rs2"] = _rs2(plan, method, epochs, rate, config_of)
        found["rs2_costs"] = dense.of(epochs, rate) / cost
    return found


def _dense(plan: Plan, method: Arm, epochs: int, config_of: Callable[[Arm], Config]) -> str:
    recipe = config_of(DENSE).recipe
    overrides = [f"recipe.epochs={epochs}"]
    if recipe.warmup_epochs:
        overrides.append(f"recipe.warmup_epochs={recipe.warmup_epochs * epochs / recipe.epochs:.6g}")
    there = (arm for arm in plan.arms if arm.method == "dense" and config_of(arm).recipe.epochs == epochs)
    arm = Arm(f"dense epochs={epochs}", "dense", tuple(overrides), (f"dense_shorter:{method.label}",))
    return _take(plan, next(there, None), arm)


def _rs2(plan: Plan, method: Arm, epochs: int, rate: float, config_of: Callable[[Arm], Config]) -> str:
    length = [o for o in method.overrides if o.startswith(("recipe.epochs=", "recipe.warmup_epochs="))]
    label = " ".join([f"rs2 rate={rate:g}", *length])
    there = (
        arm
        for arm in plan.arms
        if arm.method == "rs2" and config_of(arm).recipe.epochs == epochs and alike(config_of(arm).method.rate, rate)
    )
    arm = Arm(label, "rs2", (f"method.rate={rate:g}", *length), (f"rs2:{method.label}",))
    return _take(plan, next(there, None), arm)


def _take(plan: Plan, there: Arm | None, new: Arm) -> str:
    """Adds a baseline to the plan, or a purpose to one that is there."""
    if there is None:
        plan.baselines.append(new)
        return new.label
    if there in plan.baselines:
        at = plan.baselines.index(there)
        serves = tuple(dict.fromkeys([*there.serves, *new.serves]))
        plan.baselines[at] = Arm(there.label, there.method, there.overrides, serves)
    return there.label


def matched_line(label: str, found: Mapping[str, Any], unit: str) -> str:
    """In words, what a method costs and which baselines cost as much."""
    text = f"{label} costs {found['of_dense']:.3f} of dense in {unit}; at that cost: {found['dense_shorter']}"
    share = found["dense_shorter_costs"]
    if abs(share - 1) > 0.005:
        text += f" ({share:.2f} of it, whole epochs)"
    if "rs2" in found:
        return f"{text}, {found['rs2']}"
    return text if label.startswith("rs2") else f"{text}; no rs2, which costs less at any rate"
