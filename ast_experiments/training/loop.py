"""The training loop: one loop for every method, dense training included."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import Diverged, Interrupted, UserError
from ast_experiments.selection.plan import Plan
from ast_experiments.training.batches import planned_batches
from ast_experiments.training.budget import spent
from ast_experiments.training.profiling import profiled
from ast_experiments.training.state import TrainingState
from ast_experiments.training.step_log import check_loss, trained_rows
from ast_experiments.training.views import VIEWS

FLUSH_S = 0.5
FLUSH_RECORDS = 512
SYNC_EVERY = 32  # batches between two moments at which ranks agree on flushing the log, saving and stopping

logger = logging.getLogger(__name__)


class Trainer(TrainingState):
    """The training loop: `fit` runs the whole training, `run_epoch` one epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._flushed = time.monotonic()
        self._tick = lambda: None

    def fit(self) -> None:
        """Trains to the end, resuming from the last checkpoint if there is one.

        Raises:
            Interrupted: After a signal, when the step is finished and everything is saved.
            Diverged: If the loss is NaN or infinite.
        """
        saved = self.restore()
        self.stepper.model.train()
        with profiled(self.profile) as self._tick:
            # An epoch that a checkpoint holds is finished even if `max_steps` was reached in it.
            while not self.done or saved is not None:
                self._stop_between_epochs(saved)
                self.run_epoch(saved)
                saved = None
        self.checkpoints.settle()

    def run_epoch(self, saved: Mapping[str, Any] | None = None) -> None:
        """Plans, loads, selects, steps, observes, commits, evaluates, logs, saves.

        Args:
            saved: Ids and target of the plan that a checkpoint taken within the epoch holds.
        """
        plan, target = self._plan(saved)
        with self.ledger.phase("train"):
            for loaded in self._load(plan):
                lr = self._set_learning_rate(plan)
                for batch in self.selector.select(loaded, self.scorer):
                    self._step(batch, plan, target, lr)
                self._tick()
                self._housekeeping(plan, target)
        self._commit(plan)
        entries = self._close_epoch(target)
        if self.progress.epoch % self.eval_every == 0 or self.done:
            entries |= self._evaluate()
        self._log_epoch(entries, target)
        if self.done or self.checkpoints.due_at_epoch_end():
            self._save()

    def _plan(self, saved: Mapping[str, Any] | None) -> tuple[Plan, float]:
        """Plans the epoch. An epoch that a checkpoint holds is planned again, and must have the same plan."""
        epoch = self.progress.epoch
        target = self.target.of(epoch, self.history.spent) if saved is None else saved["target"]
        with self.ledger.phase("plan"):
            plan = self.selector.plan(epoch, target)
        differs = saved is not None and plan.whole is None and not np.array_equal(plan.ids, saved["ids"].numpy())
        if saved is not None and distributed.any_rank(differs):
            raise UserError(
                "the epoch's plan differs from the one in the checkpoint, because the code or the data changed; "
                "restore them, or start a new run with ast-train"
            )
        self.clock.begin(epoch, min(plan.rows, target * plan.offered), self.target.later_rows(epoch, target, plan))
        return plan, target

    def _load(self, plan: Plan) -> Iterator[Batch]:
        """Loads the batches of a plan, from the first one that is not done."""
        progress = self.progress
        batches = planned_batches(self.train, plan, progress.epoch, progress.batch, self.samples.visits)
        while not self.out_of_steps:
            with self.ledger.phase("data_wait"):
                loaded = next(batches, None)
            if loaded is None:
                return
            self.ledger.offer(progress.load_batch(plan.offered_by(progress.batch)), self.cost.offered(progress.epoch))
            yield loaded

    def _set_learning_rate(self, plan: Plan) -> float:
        """Sets learning rate, label smoothing and progress for a batch that was just loaded; returns the rate."""
        begun = self.clock.at(self.progress.epoch, (self.progress.batch - 1) / plan.batches)
        lr = self.schedule.set(begun, plan.lr_scale)
        self.stepper.label_smoothing = self.schedule.label_smoothing
        self.stepper.progress = self.clock.at(self.progress.epoch, self.progress.batch / plan.batches)
        return lr

    def _step(self, batch: Batch, plan: Plan, target: float, lr: float) -> None:
        """Trains on a batch, lets the method learn from it, and logs the step."""
        outputs, weights = self.stepper.train(batch, self.selector.weigh)
        self.ledger.charge("train", len(batch) * self.cost.train(batch.images.shape[-1]))
        self.selector.observe(batch, outputs)
        self.samples.record(batch, outputs, weights)
        if self.altered is not None:
            self.altered.count(batch.ids, weights)
        progress = self.progress
        progress.step += 1
        done = (progress.epoch + progress.batch / plan.batches) / self.epochs
        signals = {
            "train/lr": lr,
            **self.target.entry("control/target", target),
            **self.selector.signals(),
            **{key: values[progress.batch - 1] for key, values in plan.trace.items()},
        }
        self.log.add(
            {
                **signals,
                **trained_rows(outputs, weights),
                "step": progress.step,
                "epoch": done * self.epochs,
                "progress": done,
                "last": progress.batch == plan.batches,
                "time": time.perf_counter(),
                "offered": progress.unlogged,
            }
        )
        progress.unlogged = 0

    def _housekeeping(self, plan: Plan, target: float) -> None:
        """Flushes the log, stop or save between two batches, when it is time.

        The clocks and signals of ranks differ, so that several ranks do this together, every `SYNC_EVERY` batches.
        """
        several = distributed.size() > 1
        if several and self.progress.batch % SYNC_EVERY:
            return
        if several or time.monotonic() - self._flushed >= FLUSH_S or len(self.log) >= FLUSH_RECORDS:
            self._flush()
        if self._asked_to_stop():
            self._save(plan, target)
            self._interrupt()
        if self.checkpoints.due():
            self._save(plan, target)

    def _flush(self, close: bool = False) -> None:
        """Hands the complete log rows to the tracker; with `close` also the last row of the epoch."""
        rows = self.log.flush(close)
        self.ledger.trained = self.log.trained
        for row in rows:
            self.tracker.log({"kind": "step", **row})
        self.tracker.flush()
        self._flushed = time.monotonic()
        step = check_loss(rows)
        if step is not None:
            raise Diverged(f"the loss is NaN or infinite at step {step}; lower recipe.lr or set recipe.clip_grad=1")

    def _commit(self, plan: Plan) -> None:
        """Counts the rows offered after the last batch, and lets the method commit what the epoch taught it."""
        self._flush(close=True)
        whole = self.progress.batch >= plan.batches
        rest = plan.offered - self.progress.offered if whole else 0
        self.ledger.offer(rest, self.cost.offered(self.progress.epoch))
        self.log.offer(rest + self.progress.unlogged)
        with self.ledger.phase("plan"):
            self.selector.end_epoch(self.scorer)
            self.samples.commit(self.progress.epoch)

    def _close_epoch(self, target: float) -> dict[str, float]:
        """Adds up rows, seconds and joules of the epoch, and counts it as finished; returns entries of its row."""
        self.ledger.resolve_gpu_timers()
        self.ledger.all_reduce()
        self.meter.end_window("train")
        entries = self.log.end_epoch()
        if self.altered is not None:
            entries |= self.altered.end_epoch(entries["epoch/rows_trained"])
        self.history.add(entries, target)
        if self.target.budget is not None:
            self.history.spent.append(spent(self.target.budget.budget.kind, self.ledger, self.meter.joules("train")))
        self.progress.next_epoch()
        return entries

    def _evaluate(self) -> dict[str, float]:
        """Validates the network, or the moving average of its weights; returns entries of the epoch row."""
        views = self.eval_views and self.done
        with self.ledger.phase("val"):
            measured = self.validation.run(self.stepper.eval_model, self.stepper.hardware, views=views)
        self.ledger.charge("val", len(self.validation.ids) * self.cost.forward * (VIEWS if views else 1))
        self.ledger.all_reduce()
        self.history.validated(self.progress.epoch, measured)
        self.meter.end_window("val")
        seconds = sum(value for phase, value in self.ledger.now().items() if phase != "setup")
        self.goal.note(measured["val/accuracy"], seconds, self.meter.joules())
        return measured

    def _log_epoch(self, entries: Mapping[str, float], target: float) -> None:
        row = {
            "kind": "epoch",
            **self.progress.row(self.epochs),
            "samples_seen": self.ledger.trained,
            **entries,
            **self.target.entry("epoch/target", target),
            **self.cost.row(self.ledger, self.progress.epoch - 1),
            **self.ledger.row(),
            **self.meter.row(),
        }
        self.tracker.log(row)
        self.tracker.flush()

    def _asked_to_stop(self) -> bool:
        return distributed.any_rank(self.stop.received is not None)

    def _stop_between_epochs(self, saved: Mapping[str, Any] | None) -> None:
        if self._asked_to_stop():
            if saved is None:  # otherwise the checkpoint that was loaded is still valid
                self._save()
            self._interrupt()

    def _interrupt(self) -> None:
        at = self.progress
        logger.info("stopped at epoch %d, batch %d, step %d", at.epoch, at.batch, at.step)
        raise Interrupted(self.stop.received or "another rank's signal")

    def _save(self, plan: Plan | None = None, target: float | None = None) -> None:
        with self.ledger.phase("checkpoint"):
            if len(self.log):
                self._flush()
            self.save(plan, target)
