"""Creates the trackers of a run: the record, the console, W&B and TensorBoard."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ast_experiments.config.schema import Config
from ast_experiments.core.files import short_path
from ast_experiments.core.privacy import without_places
from ast_experiments.core.text import percent
from ast_experiments.runs import result as results
from ast_experiments.runs.record import GALLERY
from ast_experiments.selection.build import budget_of, build_rate_schedule
from ast_experiments.selection.suspects import FEW_STEPS, MIN_CLASSES
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.background import BackgroundTracker
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.tracking.wandb import disabled, end_service
from ast_experiments.training.batch_growth import largest_batch

MANY_REPEATS = 0.1
"""Share of repeated rows from which on a run says so."""

BUSY = 1.5
"""Load per core from which threads wait for each other."""

FINISH_S = 10.0  # for a tracker to finish, in addition to the time that W&B has for its upload

logger = logging.getLogger(__name__)


def make_trackers(config: Config, folder: Path, result: dict[str, Any], callbacks: Sequence[Any] = ()) -> Trackers:
    """Creates the trackers that the config asks for; adds the W&B run to `result`.

    Args:
        config: Of the run.
        folder: The run directory.
        result: What is known of the run so far.
        callbacks: Further trackers, called last.
    """
    metrics = folder / "metrics.jsonl"
    trackers: list[Any] = [JsonlTracker(metrics)]
    paths: dict[str, Any] = {"report": folder / "report.html"} if config.tracking.report else {}
    paths |= {"metrics": metrics, "result": folder / results.NAME}
    wandb = None if config.tracking.wandb == "disabled" else _optional(lambda: _wandb(config, folder, result))
    if wandb is not None:
        result["wandb"] = {"id": wandb.run_id, "mode": wandb.mode, "directory": str(wandb.directory or "")}
        paths["W&B"] = wandb.url or wandb.directory
        timeout = config.tracking.wandb_timeout_s + FINISH_S
        trackers.append(BackgroundTracker(wandb, timeout=timeout, give_up=end_service))
    if config.tracking.tensorboard:
        from ast_experiments.tracking.tensorboard import TensorboardTracker

        paths["TensorBoard"] = folder / "tensorboard"
        trackers.append(BackgroundTracker(TensorboardTracker(paths["TensorBoard"]), timeout=FINISH_S))
    if config.tracking.console:
        from ast_experiments.tracking.console import ConsoleTracker

        title = f"{result['method']} on {result['dataset']}"
        short = {label: short_path(path) for label, path in paths.items()}
        trackers.append(ConsoleTracker(config.recipe.epochs, title, paths=short))
    return Trackers([*trackers, *callbacks])


def describe_run(config: Config, result: Mapping[str, Any]) -> list[str]:
    """Returns the lines that say what is about to run: data and length, network and hardware, a rate that falls."""
    recipe, hardware = config.recipe, result["hardware"]
    data = "{train_samples:,} training rows in {classes} classes, {val_samples:,} to validate".format_map(result)
    device = hardware.get("gpu") or hardware["device"]
    largest = largest_batch(recipe)
    later = f", later of {largest}" if largest > recipe.batch_size else ""
    lines = [
        f"{data}; {recipe.epochs:g} epochs in batches of {recipe.batch_size}{later}",
        f"{result['model']}, {result['parameters']:,} parameters; {device}, {hardware['precision']}",
    ]
    if result.get("rate_fall"):
        lines.append(f"some classes are rare, so the target rate falls to {result['target']:.2g}")
    if getattr(config.method, "noise_robust", False) and result["classes"] < MIN_CLASSES:
        lines.append(f"wrong labels are recognised in {MIN_CLASSES} classes or more; here every label is trusted")
    selection = result.get("selection") or {}
    if selection.get("repeated_share", 0.0) >= MANY_REPEATS:
        share, drawn = percent(selection["repeated_share"], 0), percent(selection["uniform_share"], 0)
        lines.append(f"{share} of the rows repeat others, so {drawn} of the trained rows are drawn uniformly")
    return lines


def few_steps(config: Config, samples: int) -> str:
    """Returns what to type if a run has too few training steps for a network to learn much; empty if it has enough.

    Args:
        config: Of the run.
        samples: Number of training samples.
    """
    epochs, schedule = config.recipe.epochs, build_rate_schedule(config.method, config.recipe.epochs)
    if config.max_steps is not None or budget_of(config.method) is not None:
        return ""
    shares = schedule.dense_epochs(epochs) if schedule else epochs
    steps = shares * samples / config.recipe.batch_size
    if steps >= FEW_STEPS:
        return ""
    enough = math.ceil(epochs * FEW_STEPS / steps)
    return (
        f"about {steps:.0f} training steps in all, which is few: recipe.epochs={enough} makes {FEW_STEPS}; "
        f"a smaller recipe.batch_size makes more of them in an epoch"
    )


def busy_cores(hardware: Mapping[str, Any]) -> str:
    """Returns what to type if training on the CPU would wait for cores that other programs use; empty if it would not.

    Args:
        hardware: Of the run's result: `device` and `threads`.
    """
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if hardware.get("device") != "cpu" or hardware.get("threads", 1) == 1 or load < BUSY * cores:
        return ""
    return f"other programs use the cores (load {load:.1f} on {cores}): hardware.threads=1 may be several times faster"


def describe_batches(
    config: Config, *, rows: int, at_once: int, processes: int, lr: float, largest: int | None = None
) -> str:
    """Returns how the hardware changes the recipe's batches; empty if it does not."""
    changes = []
    if rows != config.recipe.batch_size:
        changes.append(f"(recipe.batch_size={config.recipe.batch_size}) at a learning rate of {lr:.4g}")
    if processes > 1:
        changes.append(f"shared by {processes} processes")
    if at_once < (largest or rows) // processes:
        changes.append(f"{at_once} rows at once, with gradients added up; BatchNorm sees the parts")
    return f"batches of {rows} rows {', '.join(changes)}" if changes else ""


def _wandb(config: Config, folder: Path, result: dict[str, Any]) -> Any:
    from ast_experiments.tracking.wandb import WandbTracker
    from ast_experiments.training import checkpoint

    if disabled(config.tracking.wandb):
        return None
    paths = config.tracking.paths
    settings = dataclasses.asdict(config) | {"overrides": result["overrides"]}
    labels = (result["dataset"], result["model"], result["method"], result["scoring"], result["controller"])
    return WandbTracker(
        folder,
        mode=config.tracking.wandb,
        project=config.tracking.project,
        entity=config.tracking.entity,
        group=config.group,
        job_type="train",
        tags=[label for label in (*labels, *config.tags) if label],
        name=f"{result['method']} on {result['dataset']}, {folder.name}",
        config=settings if paths else without_places(settings),
        paths=paths,
        run_id=result["run_id"],
        artifacts=[folder / "checkpoints" / checkpoint.NAME] if config.tracking.artifacts else (),
        samples=folder / GALLERY if config.tracking.wandb_samples else None,
        timeout=config.tracking.wandb_timeout_s,
    )


def _optional(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        logger.info("W&B is left out", exc_info=True)
        print(f"W&B is left out ({type(error).__name__}: {error}); metrics.jsonl is complete", file=sys.stderr)
        return None
