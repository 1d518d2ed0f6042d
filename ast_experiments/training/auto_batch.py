"""How many rows fit on the device at once, found by trying."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import OutOfMemory
from ast_experiments.training.hardware import out_of_memory
from ast_experiments.training.random_state import preserved
from ast_experiments.training.step import Stepper, mode_of

OTHERS = 3
"""Copies of the parameters that are not there before the first update: two moments, and what an update needs."""


def largest_that_fits(attempt: Callable[[int], None], most: int) -> int:
    """The first of `most`, half of it, a quarter, ... that raises no error about memory.

    Args:
        attempt: Does the work with so many rows.
        most: Rows to begin with.

    Raises:
        OutOfMemory: If not even one row fits.
    """
    rows = most
    while not _fits(attempt, rows):
        if rows == 1:
            raise OutOfMemory("not even one row fits on the device; choose smaller images or a smaller model")
        rows = -(-rows // 2)
    return rows


def rows_at_once(
    stepper: Stepper, image_shape: tuple[int, int, int], batch_size: int, eval_batch: int
) -> tuple[int, int]:
    """Rows that fit in training and in validation, at most a batch; the least of all ranks.

    Weights, statistics and random streams are left as they were.

    Args:
        stepper: Whose steps are tried.
        image_shape: Channels, height and width.
        batch_size: Rows of a training batch on this rank, all of which are on the device.
        eval_batch: Rows of a validation batch.
    """
    hardware = stepper.hardware

    def batch(rows: int) -> Batch:
        images = torch.zeros(rows, *image_shape, device=hardware.device).to(memory_format=hardware.memory_format)
        zeros = torch.zeros(rows, dtype=torch.int64, device=hardware.device)
        return Batch(zeros, images, zeros)

    def train(rows: int) -> None:
        stepper.at_once = rows
        others = [torch.empty_like(p) for p in stepper.model.parameters() for _ in range(OTHERS)]
        stepper.dry_run(batch(batch_size), alone=True)
        del others

    def validate(rows: int) -> None:
        with torch.no_grad(), mode_of(stepper.model, "eval"), hardware.autocast():
            stepper.model(batch(rows).images)

    with preserved(hardware.device):
        stepper.model.train()
        found = largest_that_fits(train, batch_size), largest_that_fits(validate, eval_batch)
    least = [distributed.all_reduce_min(rows, torch.device("cpu")) for rows in found]
    stepper.at_once = None if least[0] == batch_size else least[0]
    return least[0], least[1]


def _fits(attempt: Callable[[int], None], rows: int) -> bool:
    try:
        attempt(rows)
        fits = True
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        fits = False
    # Here, where the error no longer holds what the attempt had made.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits
