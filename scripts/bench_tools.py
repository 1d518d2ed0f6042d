"""Shared by the benchmarks: synthetic images, runs that are stepped by hand, and arms that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ast_experiments.config.compose import load_config
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.runs import build
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.training.loop import Trainer


def synthetic(rows: int) -> Dataset:
    """Makes random images of CIFAR-10's shape; the arithmetic costs the same as on real ones."""
    rng = np.random.default_rng(0)

    def images(n: int) -> Images:
        return Images(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.int64))

    return Dataset("synthetic", images(rows), images(100), tuple("0123456789"), "random pixels")


def endless_run(dataset: Dataset, folder: Path, *overrides: str, trackers: Trackers | None = None) -> Trainer:
    """Builds a run of this project's loop without checkpoints; call its `run_epoch` as often as needed.

    Args:
        dataset: To train on, in place of the one that the overrides name.
        folder: Run directory; created.
        overrides: Added to `experiment=cifar10_dense`; a later override wins.
        trackers: Receive the log rows; by default they go to metrics.jsonl.
    """
    fixed = ["tracking=jsonl", "tracking.report=false", "recipe.epochs=1000"]
    if not any(override.startswith("experiment=") for override in overrides):
        fixed.append("experiment=cifar10_dense")
    folder.mkdir()
    trackers = trackers or Trackers([JsonlTracker(folder / "metrics.jsonl")])
    run = build.build_run(load_config([*fixed, *overrides]), folder, lambda _: trackers, dataset=dataset)
    run.tracker.load_state_dict({})
    run.checkpoints._saved = float("inf")
    run.stepper.model.train()
    return run


def take_turns(
    arms: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Times one epoch of every arm in each round, so that drift of the machine affects all arms alike.

    Every second round runs the arms in reverse order.

    Args:
        arms: Functions that run an epoch, by name.
        rounds: Timed rounds; an untimed one goes first.
        clock: Returns seconds.

    Returns:
        Seconds of each timed epoch, by arm.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, epoch in list(arms.items())[:: -1 if turn % 2 else 1]:
            begin = clock()
            epoch()
            if turn:
                seconds[name].append(clock() - begin)
    return seconds
