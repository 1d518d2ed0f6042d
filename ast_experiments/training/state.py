"""The parts of a training run, which are saved and restored together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ast_experiments.data.dataset import Dataset
from ast_experiments.data.loaders.base import Loader
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.row_cost import RowCost
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.selector import Selector
from ast_experiments.tracking import Tracker
from ast_experiments.training.altered import AlteredRows
from ast_experiments.training.checkpoint import Checkpointer, Stateful
from ast_experiments.training.clock import EpochClock, RowClock
from ast_experiments.training.evaluate import Validation
from ast_experiments.training.optim import Schedule
from ast_experiments.training.progress import EpochHistory, Progress
from ast_experiments.training.random_state import RandomStreams
from ast_experiments.training.samples import SampleTable
from ast_experiments.training.step import Scorer, Stepper
from ast_experiments.training.step_log import StepLog
from ast_experiments.training.stop import Stop
from ast_experiments.training.target_rate import TargetRate

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TrainingState:
    """Everything that a training run consists of.

    Attributes:
        selector: Calls the method's hooks, and keeps its sample history.
        target: Target rate by epoch.
        stepper: Network, optimiser and precision.
        schedule: Learning rate by progress.
        clock: Progress, counted in epochs or in rows.
        scorer: Scoring passes, charged to the ledger.
        train: Loader of training samples.
        validation: Validation samples.
        epochs: Planned epochs.
        ledger: Rows, FLOPs and seconds by phase.
        meter: Joules.
        goal: Time and energy to a target accuracy.
        tracker: Receives the log rows.
        checkpoints: Saves and restores the run.
        cost: FLOPs and nominal cost of a row.
        log_every: Steps that a log row covers.
        samples: Visits, losses and predictions of every sample.
        dataset: Data set of the run, from which its page takes pictures and class names.
        altered: Counts the trained rows that a regime altered; None without a regime.
        averaged: Signals that a log row averages over its steps.
        eval_every: Epochs between validations.
        eval_views: Whether the last validation also measures accuracy by six views of each image.
        max_steps: Stop after this many training steps.
        profile: Directory for a profile of some steps; None for no profile.
        stop: Requests an early end, which saves first.
        progress: Counters of the run.
        history: Figures of the finished epochs.
        log: The step log.
    """

    selector: Selector
    target: TargetRate
    stepper: Stepper
    schedule: Schedule
    clock: EpochClock | RowClock
    scorer: Scorer
    train: Loader
    samples: SampleTable
    dataset: Dataset
    validation: Validation
    epochs: int
    ledger: Ledger
    meter: Meter
    goal: TimeToAccuracy
    tracker: Tracker
    checkpoints: Checkpointer
    cost: RowCost = field(default_factory=RowCost)
    log_every: int = 1
    altered: AlteredRows | None = None
    averaged: frozenset[str] = frozenset()
    eval_every: int = 1
    eval_views: bool = False
    max_steps: int | None = None
    profile: Path | None = None
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.progress = Progress()
        self.history = EpochHistory()
        self.log = StepLog(self.log_every, self.averaged)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.progress.epoch >= self.epochs or self.out_of_steps

    @property
    def out_of_steps(self) -> bool:
        """Whether `max_steps` is reached."""
        return self.max_steps is not None and self.progress.step >= self.max_steps

    def save(self, plan: Plan | None = None, target: float | None = None) -> None:
        """Writes a checkpoint, from which a resumed run ends with the same weights, bit for bit.

        Args:
            plan: The epoch's plan; None between two epochs.
            target: The epoch's target rate; None between two epochs.
        """
        with self.ledger.phase("checkpoint"):
            entry = None if plan is None else {"ids": torch.from_numpy(plan.ids), "target": target}
            self.checkpoints.save(self._parts(), self._rank_parts(), plan=entry)

    def restore(self) -> dict[str, Any] | None:
        """Loads the last checkpoint; returns its plan's entry if it was taken within an epoch.

        Raises:
            UserError: If the checkpoint belongs to another config or other data.
        """
        state = self.checkpoints.load(self._parts(), self._rank_parts())
        if self.stepper.at_once is not None and self.progress.split_from is None:
            self.progress.split_from = self.progress.step
        if state is None:
            self.tracker.load_state_dict({})
            return None
        at = self.progress
        logger.info("resumed at epoch %d, batch %d, step %d", at.epoch, at.batch, at.step)
        return state["plan"]

    def _parts(self) -> dict[str, Stateful]:
        """Returns the parts of a checkpoint that are equal on all ranks."""
        stepper = self.stepper
        parts: dict[str, Any] = {"model": stepper.model, "optimizer": stepper.optimizer, "scaler": stepper.scaler}
        if stepper.average is not None:
            parts["average"] = stepper.average
        return parts | {
            "progress": self.progress,
            "clock": self.clock,
            "history": self.history,
            "log": self.log,
            "tracker": self.tracker,
            "goal": self.goal,
        }

    def _rank_parts(self) -> dict[str, Stateful]:
        """Returns the parts whose state differs by rank."""
        random = RandomStreams(self.stepper.hardware.device)
        parts = {
            "samples": self.samples,  # before the selector: how its waiting rows are flipped depends on their visits
            "selector": self.selector,
            "ledger": self.ledger,
            "meter": self.meter,
            "random": random,
        }
        return parts if self.altered is None else {**parts, "altered": self.altered}

    def close(self) -> None:
        """Stop the loaders' workers and the meter's thread."""
        self.train.close()
        self.validation.loader.close()
        self.meter.close()
