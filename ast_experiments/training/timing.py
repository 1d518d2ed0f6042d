"""A rehearsal before the first epoch: how long a row takes, found by doing the work without learning from it."""

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

ENOUGH_S, MOST = 1.0, 20
MOST_TOGETHER = 5  # repetitions where ranks must do equally many


def rehearse(stepper: Stepper, loader: Loader, batch_size: int, *, scoring: bool) -> tuple[float, float]:
    """Seconds of training a row and, if asked for, of scoring one; loading included in the first.

    Weights, statistics and random streams are left as they were.

    Args:
        stepper: Whose steps.
        loader: Of training samples.
        batch_size: Rows of a batch on all ranks.
        scoring: Whether a scoring pass is timed too; 0 otherwise.
    """
    device = stepper.hardware.device
    ids = np.arange(batch_size // distributed.size(), dtype=np.int64)

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def train() -> None:
        stepper.rehearse(loader.fetch(ids, 0).take(slice(None), batch_size))
        settle()

    def score() -> None:
        batch = loader.fetch(ids, 0)
        with torch.no_grad(), mode_of(stepper.model, "eval"), stepper.hardware.autocast():
            stepper.model(batch.images)
        settle()

    with preserved(device):
        stepper.model.train()
        seconds = [seconds_of(train), seconds_of(score) if scoring else 0.0]
    train_s, score_s = distributed.broadcast_object(seconds)
    return train_s / batch_size, score_s / batch_size


def seconds_of(work: Callable[[], None]) -> float:
    """Seconds that a piece of work takes, after it was done once unmeasured: the median of several times."""
    work()
    alone = distributed.size() == 1
    most, enough = (MOST, ENOUGH_S) if alone else (MOST_TOGETHER, math.inf)
    times: list[float] = []
    while not times or (len(times) < most and sum(times) < enough):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
