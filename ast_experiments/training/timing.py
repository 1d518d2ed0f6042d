"""Times a training step and a scoring pass before the first epoch, without updating the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from ast_experiments.core import distributed
from ast_experiments.data.loaders.base import Loader
from ast_experiments.training.random_state import preserved
from ast_experiments.training.step import Stepper, mode_of

MIN_SECONDS, MAX_REPEATS = 1.0, 20
RANK_REPEATS = 5  # with several ranks, which must all do the same number


def time_per_row(
    stepper: Stepper, loader: Loader, batch_size: int, epoch: int, *, scoring: bool
) -> tuple[float, float]:
    """Returns the seconds of loading and training a row, and of scoring one.

    Leaves weights, statistics and random streams as they were.

    Args:
        stepper: Makes the steps.
        loader: Of training samples.
        batch_size: Rows of a batch on all ranks.
        epoch: Epoch whose images are loaded.
        scoring: Whether to time a scoring pass too; 0 otherwise.
    """
    device = stepper.hardware.device
    ids = np.arange(batch_size // distributed.size(), dtype=np.int64)

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def train() -> None:
        stepper.dry_run(loader.fetch(ids, epoch).take(slice(None), batch_size))
        synchronize()

    def score() -> None:
        batch = loader.fetch(ids, epoch)
        with torch.no_grad(), mode_of(stepper.model, "eval"), stepper.hardware.autocast():
            stepper.model(batch.images)
        synchronize()

    with preserved(device):
        stepper.model.train()
        seconds = [seconds_of(train), seconds_of(score) if scoring else 0.0]
    train_s, score_s = distributed.broadcast_object(seconds)
    return train_s / batch_size, score_s / batch_size


def seconds_of(work: Callable[[], None]) -> float:
    """Returns the median seconds that `work` takes, after one warm-up call."""
    work()
    alone = distributed.size() == 1
    most, enough = (MAX_REPEATS, MIN_SECONDS) if alone else (RANK_REPEATS, math.inf)
    times: list[float] = []
    while not times or (len(times) < most and sum(times) < enough):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
