"""Trains a pilot: the run's network, recipe and loaders on a share of its rows; others are held out and scored."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ast_experiments.config.resolve import scale_batch
from ast_experiments.config.schema import METHODS, Config
from ast_experiments.core.batch import Batch, class_indices
from ast_experiments.data.dataset import Dataset
from ast_experiments.pilot.size import SHARE, Size, size_of
from ast_experiments.runs.build import build_run
from ast_experiments.tracking import Trackers
from ast_experiments.training.checkpoint import Checkpointer, Stateful
from ast_experiments.training.evaluate import Validation
from ast_experiments.training.hardware import Hardware, algorithms
from ast_experiments.training.image_size import sizes_by_epoch
from ast_experiments.training.loop import Trainer
from ast_experiments.training.step import mode_of

_ROWS = 21


class Pilot(NamedTuple):
    """What a pilot did, and what its network says about rows that it did not train.

    Attributes:
        size: Rows trained and scored.
        logits: Of the scored rows, float32, shape (n, classes).
        labels: Their class indices, int64, shape (n,).
        share: FLOPs of the pilot as a share of those of the dense run; rows if FLOPs cannot be counted.
        counted: Whether FLOPs were counted.
        seconds: Of training and scoring, loading included.
    """

    size: Size
    logits: np.ndarray
    labels: np.ndarray
    share: float
    counted: bool
    seconds: float


def pilot_size(config: Config, rows: int, image_size: int, share: float = SHARE) -> Size | None:
    """Returns the rows of the pilot of a run with `rows` training rows; None if they are too few to tell anything.

    Args:
        config: Of the run.
        rows: Its training rows.
        image_size: Height and width of its images in pixels.
        share: Share of the dense run.
    """
    return size_of(rows, _full_epochs(config, image_size), scale_batch(config).recipe.batch_size, share)


def _full_epochs(config: Config, image_size: int) -> float:
    """Returns the epochs at full image size that cost as much as those of the run."""
    epochs = config.recipe.epochs
    sizes = sizes_by_epoch(config.recipe.progressive_resizing, epochs, image_size)
    return sum((size / image_size) ** 2 for size in sizes) if sizes else epochs


def run_pilot(config: Config, dataset: Dataset, size: Size) -> Pilot:
    """Trains and scores; writes nothing.

    Args:
        config: Of the run.
        dataset: Its data set.
        size: Rows to train and to score.

    Raises:
        UserError: If the run cannot be built, or an image cannot be read.
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((config.seed, _ROWS))))
    order = random.permutation(len(dataset.train))
    held, kept = (np.sort(rows) for rows in (order[: size.scored], order[size.scored : size.scored + size.trained]))
    part = dataclasses.replace(dataset, train=dataset.train.take(kept), val=dataset.train.take(held), altered={})
    trainer = build_run(_pilot_config(config, size), Path(), lambda facts: Trackers([]), part)
    trainer.checkpoints = Unsaved()
    run = trainer.validation
    scoring = trainer.validation = Scoring(run.loader, run.samples, run.batch_size)
    begin = time.perf_counter()
    try:
        with algorithms(trainer.stepper.hardware):
            trainer.fit()
    finally:
        trainer.close()
    seconds = time.perf_counter() - begin
    share, counted = _share(config, trainer, dataset, size)
    return Pilot(size, np.concatenate(scoring.logits), class_indices(part.val.labels), share, counted, seconds)


def _pilot_config(config: Config, size: Size) -> Config:
    """Returns the config of the pilot: the run's own, dense and short, at full image size."""
    recipe = config.recipe
    warmup = recipe.warmup_epochs * size.passes / recipe.epochs
    short = dataclasses.replace(
        recipe, epochs=size.passes, warmup_epochs=warmup, batch_growth=None, progressive_resizing=None, ema_decay=None
    )
    return dataclasses.replace(
        config,
        method=METHODS["dense"](name="dense"),
        recipe=short,
        holdout=0.0,
        eval_on="val",
        eval_every=size.passes,
        eval_views=False,
        max_steps=None,
        profile=False,
        hardware=dataclasses.replace(config.hardware, compile=False),
    )


def _share(config: Config, trainer: Trainer, dataset: Dataset, size: Size) -> tuple[float, bool]:
    """Returns the cost of the pilot as a share of the dense run, and whether FLOPs were counted."""
    offered = len(dataset.train) * _full_epochs(config, dataset.image_shape[0])
    whole, flops = offered * trainer.cost.train(), trainer.ledger.flops
    return ((flops["train"] + flops["val"]) / whole, True) if whole else (size.rows / offered, False)


class Unsaved(Checkpointer):
    """Saves nothing: a pilot that is stopped is typed again."""

    def __init__(self) -> None:
        super().__init__(Path())

    def due(self) -> bool:
        """Returns False."""
        return False

    def due_at_epoch_end(self) -> bool:
        """Returns False."""
        return False

    def save(self, parts: Mapping[str, Stateful], rank_parts: Mapping[str, Stateful], **more: Any) -> None:
        """Does nothing."""

    def load(self, parts: Mapping[str, Stateful], rank_parts: Mapping[str, Stateful]) -> None:
        """Returns None: there is no checkpoint."""

    def settle(self) -> None:
        """Does nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scoring(Validation):
    """Scores the held-out rows and keeps their logits.

    Attributes:
        logits: Logits of each batch of the last pass, float32, shape (rows, classes).
    """

    logits: list[np.ndarray] = dataclasses.field(default_factory=list)

    @torch.no_grad()
    def measure(
        self, model: nn.Module, batches: Iterable[Batch], hardware: Hardware, *, views: bool
    ) -> dict[str, float]:
        """Scores all rows; the entries of the epoch row are unknown, because nobody reads them."""
        del views
        self.logits.clear()
        with mode_of(model, "eval"), hardware.autocast():
            self.logits.extend(model(batch.images).float().cpu().numpy() for batch in batches)
        return {"val/accuracy": math.nan, "val/loss": math.nan}
