"""result.json: accuracy and cost of a run, its config, machine and commit."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_experiments.config.resolve import image_settings
from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.core.files import write_json
from ast_experiments.data.dataset import Dataset
from ast_experiments.energy.build import gpu_facts
from ast_experiments.runs.identity import config_hash
from ast_experiments.selection.build import build_method, build_rate_schedule, rate_schedule_of, uses
from ast_experiments.selection.suspects import no_estimate
from ast_experiments.training.batch_growth import largest_batch
from ast_experiments.training.loop import Trainer
from ast_experiments.training.step import Stepper

NAME = "result.json"
PACKAGES = ("ast-experiments", "torch", "torchvision", "timm", "hydra-core", "omegaconf", "wandb", "numpy")

VOLATILE = frozenset(
    {
        "seconds",
        "started",
        "finished",
        "resumed",
        "run_id",
        "folder",
        "hardware",
        "versions",
        "commit",
        "wandb",
        "data_source",
        "energy",
        "seconds_to_accuracy",
        "joules_to_accuracy",
        "shared",
    }
)
"""Fields of result.json that may differ between two runs of one config, or if a run was interrupted."""

VOLATILE_ROW = frozenset(
    {
        "train/throughput",
        "energy/gpu_joules",
        "energy/gpu_joules_above_idle",
        "energy/gpu_power_w",
        "energy/cpu_joules",
        "carbon/gco2e",
    }
)
"""The same for rows of metrics.jsonl, in addition to those that begin with `time/`."""


def describe(config: Config) -> dict[str, Any]:
    """Returns the entries that are known before the run begins."""
    method = build_method(config.method, config.controller, config.significance)
    used, schedule = uses(config.method.name), rate_schedule_of(config.method)
    controlled = "controller" in used and method.uses_controller
    return {
        "dataset": config.dataset.name,
        "model": getattr(config.model, "arch", config.model.name) if config.model.name == "timm" else config.model.name,
        "method": config.method.name,
        "scoring": method.scoring,
        "uniform": method.uniform,
        "controller": config.controller.name if controlled else None,
        "significance": config.significance.name if "significance" in used else None,
        "recipe": config.recipe.name,
        "seed": config.seed,
        "experiment": config.experiment_name,
        "group": config.group,
        "tags": list(config.tags),
        "epochs_planned": config.recipe.epochs,
        "target": None if schedule is None else schedule.last,
        "config_hash": config_hash(config),
    }


def facts(
    config: Config, dataset: Dataset, stepper: Stepper, at_once: int, selection: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the entries about data, network, hardware and method.

    Args:
        config: Of the run.
        dataset: Without held-out samples.
        stepper: Holds network and hardware.
        at_once: Rows that go through the network together.
        selection: What the method has to tell before the first epoch.
    """
    recipe, hardware = config.recipe, stepper.hardware
    return {
        "hardware": hardware.describe() | gpu_facts(hardware.device),
        "data_source": dataset.source,
        "data_fingerprint": dataset.fingerprint,
        **dataset.facts,
        **({"pictures": made} if (made := image_settings(config)) else {}),
        **({"altered_rows": altered} if (altered := _altered(dataset)) else {}),
        **_sizes(dataset),
        **_auto_rate(config, dataset),
        "parameters": sum(p.numel() for p in stepper.model.parameters()),
        **({"selection": dict(selection)} if selection else {}),
        "batch": {
            "rows": recipe.batch_size,
            **({"largest": largest_batch(recipe)} if recipe.batch_growth else {}),
            "at_once": at_once,
            "processes": distributed.size(),
            "lr": recipe.lr,
        },
    }


def _auto_rate(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Returns how far an `auto` rate schedule falls on this data, and its last target; nothing of another schedule."""
    schedule = build_rate_schedule(config.method, config.recipe.epochs, dataset.class_counts)
    if schedule is None or schedule.schedule != "auto":
        return {}
    return {"rate_fall": schedule.fall, "target": schedule.last}


def reached(run: Trainer) -> dict[str, Any]:
    """Returns the entries about everything that the run has done so far."""
    history, ledger = run.history, run.ledger
    result: dict[str, Any] = {
        "epochs": run.progress.epoch,
        "steps": run.progress.step,
        "rows_trained": ledger.trained,
        "rows_scored": ledger.scored,
        "rows_offered": ledger.offered,
        "seconds": {k: round(v, 3) for k, v in ledger.now().items()},
        **run.cost.result(ledger),
    }
    if selection := dict(run.selector.facts()):
        result["selection"] = selection
    if run.progress.split_from is not None:
        result["batch_split_from_step"] = run.progress.split_from
    if ledger.offered:
        result["mean_activation_rate"] = ledger.trained / ledger.offered
    result |= run.target.result(history.spent)
    result |= history.result(targets=run.target.setpoint is not None)
    if not no_estimate(_sizes(run.dataset) | result) and (noise := run.samples.noise()):
        result["label_noise_estimate"] = noise
    return result | {"energy": energy(run)} | run.goal.result()


def energy(run: Trainer) -> dict[str, Any]:
    """Returns the measured energy, with the joules of training apportioned to its phases by their seconds."""
    measured, joules = run.meter.result(), run.meter.joules("train")
    if joules is None or "train" not in measured.get("by_phase", {}):
        return measured
    seconds = {phase: value for phase, value in run.ledger.now().items() if phase not in ("setup", "val")}
    whole = sum(seconds.values())
    return measured | {"apportioned": {phase: joules * value / whole for phase, value in seconds.items() if value}}


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {"classes": len(dataset.classes), "train_samples": len(dataset.train), "val_samples": len(dataset.val)}


def _altered(dataset: Dataset) -> dict[str, int]:
    return {kind: int(rows.sum()) for kind, rows in dataset.altered.items()}


def environment() -> dict[str, Any]:
    """Returns versions, commit and number of ranks."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(), "ranks": distributed.size()}


def write(folder: Path, result: dict[str, Any]) -> Path:
    """Writes result.json, atomically."""
    return write_json(folder / NAME, result)


def _commit() -> str | None:
    """The commit of the code's own checkout, with + if files differ from it; None outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
