"""The training loop: one loop for every method, dense included."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import Diverged, Interrupted, InValidation, UserError
from ast_experiments.data.loaders.loaders import Loader
from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.nominal import nominal_savings, skipped_share
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy
from ast_experiments.selection.method import Hooks
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.rate_schedule import SetPoint
from ast_experiments.tracking import Tracker
from ast_experiments.training import checkpoint
from ast_experiments.training.budget import BudgetControl, Spent, spent
from ast_experiments.training.clock import EpochClock, RowClock
from ast_experiments.training.evaluate import evaluate
from ast_experiments.training.hardware import out_of_memory
from ast_experiments.training.optim import Schedule
from ast_experiments.training.step import Scorer, Stepper
from ast_experiments.training.step_log import StepLog, check_loss
from ast_experiments.training.stop import Stop
from ast_experiments.training.views import VIEWS

FLUSH_S = 0.5
FLUSH_RECORDS = 512
MEETING_STEPS = 32  # steps between two moments at which ranks agree on writing the log, saving and stopping
CHECKPOINT_SHARE = 0.02  # most of a run's time that the checkpoints at the ends of short epochs take

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: Epochs done.
        batch: Loaded batches done in the present epoch.
        step: Training batches done.
        offered: Rows offered so far in the present epoch.
        unlogged: Those of them that no training batch followed yet.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    offered: int = 0
    unlogged: int = 0


@dataclass(slots=True)
class History:
    """What is known of the finished epochs.

    Attributes:
        trained: Rows trained, by epoch.
        offered: Rows offered, by epoch.
        targets: Target rates, by epoch.
        accuracy: (epochs done, accuracy in percent, loss in nats) of each validation.
        spent: What was spent of the budget by the end of each epoch; empty without one.
        views: Accuracy by six views of each image, in percent, at the end of a run that measures it.
    """

    trained: list[int] = field(default_factory=list)
    offered: list[int] = field(default_factory=list)
    targets: list[float] = field(default_factory=list)
    accuracy: list[tuple[int, float, float]] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    views: float | None = None


@dataclass(kw_only=True)
class Run:
    """Everything that a run consists of; `fit` runs it.

    Attributes:
        folder: The run directory.
        hooks: The selector.
        setpoint: Target rate by epoch; None trains at rate 1.
        budget: Sets the target rate instead, where the run has one.
        stepper: Network, optimiser and precision.
        schedule: Learning rate by progress.
        clock: Progress, counted in epochs or in rows.
        scorer: Scoring passes, charged to the ledger.
        train: Loader of training samples.
        val: Loader of validation samples.
        val_ids: Which of them, int64.
        eval_batch: Rows of a validation batch.
        epochs: Planned epochs.
        ledger: Rows and seconds.
        meter: Joules.
        goal: A wanted accuracy, and what it took to reach it.
        tracker: Where the numbers go.
        flops: Of one sample; None where they could not be counted.
        costs: Nominal cost of a trained and of a skipped row.
        log_every: Steps a log row covers.
        checkpoint_every_s: Most seconds between checkpoints.
        eval_every: Epochs between validations.
        eval_views: Whether the last validation is by six views of each image, too.
        max_steps: Stop after so many training batches.
        profile: Profile some steps into the run directory.
        stop: Tells when to save and end early.
        fingerprint: Identifies config and data; a checkpoint is only loaded into the run that wrote it.
    """

    folder: Path
    hooks: Hooks
    setpoint: SetPoint | None
    stepper: Stepper
    schedule: Schedule
    clock: EpochClock | RowClock
    scorer: Scorer
    train: Loader
    val: Loader
    val_ids: np.ndarray
    eval_batch: int
    epochs: int
    ledger: Ledger
    meter: Meter
    goal: TimeToAccuracy
    tracker: Tracker
    budget: BudgetControl | None = None
    flops: Flops | None = None
    costs: tuple[float, float] = (1.0, 0.01)
    log_every: int = 1
    checkpoint_every_s: float = 60.0
    eval_every: int = 1
    eval_views: bool = False
    max_steps: int | None = None
    profile: bool = False
    stop: Stop = field(default_factory=Stop)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        self.at = Position()
        self.history = History()
        self.log = StepLog(self.log_every)
        self._saved = self._flushed = time.monotonic()
        self._save_took = 0.0

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.at.epoch >= self.epochs or (self.max_steps is not None and self.at.step >= self.max_steps)

    def fit(self) -> None:
        """Train to the end, going on from the last checkpoint if there is one.

        Raises:
            Interrupted: After SIGINT or SIGTERM, when the step is finished and everything is saved.
            Diverged: If the loss stops being a number.
        """
        saved = self.restore()
        self.stepper.model.train()
        with _profiled(self.folder, self.profile) as tick:
            # An epoch that a checkpoint holds is closed, even where `max_steps` was reached in it.
            while not self.done or saved is not None:
                if distributed.any_rank(self.stop.received is not None):
                    if saved is None:  # else the checkpoint that was loaded still holds
                        self.save(None, None)
                    raise Interrupted(self.stop.received or "another rank's signal")
                self.run_epoch(saved, tick)
                saved = None

    def run_epoch(self, saved: Mapping[str, Any] | None = None, tick: Callable[[], None] = lambda: None) -> None:
        """Plan, train and close one epoch.

        Args:
            saved: The plan that a checkpoint holds, if the epoch had begun; the new one must equal it.
            tick: Called after each loaded batch.
        """
        target = self._target() if saved is None else saved["target"]
        with self.ledger.phase("plan"):
            plan = self.hooks.plan(self.at.epoch, target)
        if saved is not None and not np.array_equal(plan.ids, saved["ids"].numpy()):
            raise UserError("the epoch's plan is not the one in the checkpoint: the code or the data changed")
        self.clock.begin(self.at.epoch, min(len(plan.ids), target * plan.offered), self._later_rows(plan, target))
        self._train_epoch(plan, target, tick)
        self._end_epoch(plan, target)

    def _later_rows(self, plan: Plan, target: float) -> list[float]:
        """Rows that each later epoch is expected to train: by the rate schedule, else as many as the present one."""
        later = range(self.at.epoch + 1, self.epochs)
        if self.setpoint is None:
            return [float(len(plan.ids))] * len(later)
        scale = 1.0 if self.budget is None else target / self.setpoint.target(self.at.epoch, self.epochs)
        return [scale * self.setpoint.target(epoch, self.epochs) * plan.offered for epoch in later]

    def _target(self) -> float:
        if self.setpoint is None:
            return 1.0
        if self.budget is None:
            return self.setpoint.target(self.at.epoch, self.epochs)
        if self.at.epoch == 1 and (line := self.budget.beyond(1, self.history.spent)):
            logger.warning(line)
        return distributed.broadcast_object(self.budget.target(self.at.epoch, self.history.spent))

    def _aim(self, key: str, target: float) -> dict[str, float]:
        """The target rate under its key; nothing for a method that is given none."""
        return {} if self.setpoint is None else {key: target}

    def _train_epoch(self, plan: Plan, target: float, tick: Callable[[], None]) -> None:
        loader = own_batches(self.train, plan, self.at.epoch, self.at.batch)
        with self.ledger.phase("train"):
            while self.max_steps is None or self.at.step < self.max_steps:
                with self.ledger.phase("data_wait"):
                    loaded = next(loader, None)
                if loaded is None:
                    return
                index = self.at.batch
                offered = _offered(plan, index) - self.at.offered
                self.at.offered += offered
                self.at.unlogged += offered
                self.ledger.offered += offered
                lr = self.schedule.set(self.clock.at(self.at.epoch, index / plan.batches), plan.lr_scale)
                self.stepper.label_smoothing = self.schedule.label_smoothing
                self.at.batch += 1
                for batch in self.hooks.select(loaded, self.scorer):
                    self._step(batch, plan, target, lr)
                tick()
                self._attend(plan, target)

    def _step(self, batch: Batch, plan: Plan, target: float, lr: float) -> None:
        index = self.at.batch - 1
        outputs, weights = self.stepper.train(batch, self.hooks.weigh)
        if self.flops is not None:
            self.ledger.charge("train", len(batch) * (self.flops.forward + self.flops.backward))
        self.hooks.observe(batch, outputs)
        self.at.step += 1
        done = (self.at.epoch + self.at.batch / plan.batches) / self.epochs
        active = None if weights is None else weights > 0
        record: dict[str, Any] = {
            "step": self.at.step,
            "epoch": done * self.epochs,
            "progress": done,
            "last": self.at.batch == plan.batches,
            "time": time.perf_counter(),
            "offered": self.at.unlogged,
            "trained": len(batch) if active is None else active.sum(),
            "loss_sum": outputs.losses.sum() if active is None else (outputs.losses * active).sum(),
            "train/lr": lr,
            **self._aim("control/target", target),
            **self.hooks.signals(),
        }
        for key, values in plan.trace.items():
            record[key] = values[index]
        self.log.add(record)
        self.at.unlogged = 0

    def _attend(self, plan: Plan, target: float) -> None:
        """What happens between two steps: now and then the log is written, rarely a checkpoint.

        Ranks do it together, every so many batches: their clocks and signals differ.
        """
        if distributed.size() > 1 and self.at.batch % MEETING_STEPS:
            return
        now = time.monotonic()
        if distributed.size() > 1 or now - self._flushed >= FLUSH_S or len(self.log) >= FLUSH_RECORDS:
            self._flush()
        if distributed.any_rank(self.stop.received is not None):
            self.save(plan, target)
            raise Interrupted(self.stop.received or "another rank's signal")
        if distributed.broadcast_object(now - self._saved >= self.checkpoint_every_s):
            self.save(plan, target)

    def _flush(self, close: bool = False) -> None:
        rows = self.log.flush(close)
        self.ledger.trained = self.log.trained
        for row in rows:
            self.tracker.log({"kind": "step", **row})
        self.tracker.flush()
        self._flushed = time.monotonic()
        step = check_loss(rows)
        if step is not None:
            raise Diverged(
                f"the loss is no longer a number at step {step}: try a smaller recipe.lr or recipe.clip_grad=1"
            )

    def _end_epoch(self, plan: Plan, target: float) -> None:
        self._flush(close=True)
        whole = self.at.batch >= plan.batches
        rest = plan.offered - self.at.offered if whole else 0
        self.ledger.offered += rest
        self.log.offer(rest + self.at.unlogged)
        with self.ledger.phase("plan"):
            self.hooks.end_epoch(self.scorer)
        self.ledger.resolve_gpu_timers()
        self.ledger.all_reduce()
        self.meter.end_window("train")
        entries = self.log.end_epoch()
        self.history.trained.append(int(entries["epoch/rows_trained"]))
        self.history.offered.append(int(entries["epoch/rows_offered"]))
        self.history.targets.append(target)
        if self.budget is not None:
            self.history.spent.append(spent(self.budget.budget.kind, self.ledger, self.joules()))
        self.at = Position(epoch=self.at.epoch + 1, step=self.at.step)
        if self.at.epoch % self.eval_every == 0 or self.done:
            entries |= self._evaluate()
        self.tracker.log(self._epoch_row(entries, target))
        self.tracker.flush()
        # An epoch may be shorter than the writing of a large network: only the last one ends with a checkpoint always.
        patience = min(self.checkpoint_every_s, self._save_took / CHECKPOINT_SHARE)
        if self.done or distributed.broadcast_object(time.monotonic() - self._saved >= patience):
            self.save(None, None)

    def _evaluate(self) -> dict[str, float]:
        with self.ledger.phase("val"):
            model = self.stepper.model if self.stepper.ema is None else self.stepper.ema.module
            distributed.broadcast_(model.buffers())
            ids = self.val_ids[distributed.shard(len(self.val_ids))]
            batches = self.val.batches(ids, self.eval_batch, 0, keep_short=True)
            try:
                views = self.eval_views and self.done
                measured = evaluate(model, batches, self.stepper.hardware, views=views)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                raise InValidation(self.eval_batch) from error
        if self.flops is not None:
            self.ledger.charge("val", len(ids) * self.flops.forward * (VIEWS if views else 1))
        self.history.views = measured.get("val/accuracy_views")
        self.history.accuracy.append((self.at.epoch, measured["val/accuracy"], measured["val/loss"]))
        self.meter.end_window("val")
        seconds = sum(value for phase, value in self.ledger.now().items() if phase != "setup")
        self.goal.note(measured["val/accuracy"], seconds, self.meter.joules())
        return measured

    def _epoch_row(self, entries: Mapping[str, float], target: float) -> dict[str, Any]:
        ledger = self.ledger
        seconds = ledger.now()
        return {
            "kind": "epoch",
            "step": self.at.step,
            "epoch": float(self.at.epoch),
            "progress": self.at.epoch / self.epochs,
            "samples_seen": ledger.trained,
            **entries,
            **self._aim("epoch/target", target),
            "energy/nominal_savings": nominal_savings(ledger.trained, ledger.offered, *self.costs),
            "energy/skipped_share": skipped_share(ledger.trained, ledger.offered),
            "rows/trained": ledger.trained,
            "rows/scored": ledger.scored,
            "rows/offered": ledger.offered,
            **{f"time/{phase}_s": seconds[phase] for phase in ("train", "score", "data_wait", "val", "plan")},
            **self._compute(),
            **self.meter.row(),
        }

    def _compute(self) -> dict[str, float]:
        """FLOPs so far, and the share of them that training every offered row would have cost more."""
        if self.flops is None:
            return {}
        self.ledger.all_reduce()
        flops = self.ledger.flops
        counts: dict[str, float] = {f"compute/{phase}_flops": flops[phase] for phase in flops}
        if self.ledger.offered:
            counts["compute/savings"] = self.compute_savings()
        return counts

    def compute_savings(self) -> float:
        """Share of the FLOPs of training every offered row that choosing and training did not need."""
        assert self.flops is not None
        flops = self.ledger.flops
        every = self.ledger.offered * (self.flops.forward + self.flops.backward)
        return 1 - (flops["score"] + flops["train"]) / every

    def close(self) -> None:
        """End the workers of the loaders and the meter's thread."""
        self.train.close()
        self.val.close()
        self.meter.close()

    def joules(self) -> float | None:
        """Joules of training, scoring and loading so far; None without a meter."""
        return self.meter.joules("train")

    # --- saving and going on

    def save(self, plan: Plan | None, target: float | None) -> None:
        """Write a checkpoint that holds everything a resumed run needs to end bit-equal."""
        begin = time.monotonic()
        with self.ledger.phase("checkpoint"):
            if len(self.log):
                self._flush()
            stepper = self.stepper
            state = {
                "fingerprint": self.fingerprint,
                "model": stepper.model.state_dict(),
                "optimizer": stepper.optimizer.state_dict(),
                "scaler": stepper.scaler.state_dict(),
                "ema": None if stepper.ema is None else stepper.ema.state_dict(),
                "plan": None if plan is None else {"ids": torch.from_numpy(plan.ids), "target": target},
                "position": asdict(self.at),
                "clock": self.clock.state_dict(),
                "history": asdict(self.history) | {"spent": [list(entry) for entry in self.history.spent]},
                "log": self.log.state_dict(),
                "tracker": self.tracker.state_dict(),
                "ledger": self.ledger.state_dict(),
                "goal": self.goal.state_dict(),
                # What differs between ranks.
                "ranks": distributed.gather_objects(
                    {
                        "selector": self.hooks.state_dict(),
                        "random": checkpoint.random_state(stepper.hardware.device),
                        "counts": dict(self.ledger.own),
                        "meter": self.meter.state_dict(),
                    }
                ),
            }
            if distributed.rank() == 0:
                checkpoint.save(self.folder / "checkpoints", state)
        self._saved = time.monotonic()
        self._save_took = self._saved - begin

    def restore(self) -> dict[str, Any] | None:
        """Load the last checkpoint; returns its plan if it was taken in the middle of an epoch.

        Raises:
            UserError: If the checkpoint belongs to another config or other data.
        """
        state = checkpoint.load(self.folder / "checkpoints")
        if state is None:
            self.tracker.load_state_dict({})
            return None
        if state["fingerprint"] != self.fingerprint:
            raise UserError(
                f"the checkpoint in {self.folder} was written with another config or other data; "
                "restore them, or start a new run with ast-train"
            )
        if len(state["ranks"]) != distributed.size():
            raise UserError(
                f"the checkpoint in {self.folder} was written by {len(state['ranks'])} processes, "
                f"not {distributed.size()}; "
                f"go on with: ast-resume {self.folder} hardware.processes={len(state['ranks'])}"
            )
        own = state["ranks"][distributed.rank()]
        stepper = self.stepper
        stepper.model.load_state_dict(state["model"])
        stepper.optimizer.load_state_dict(state["optimizer"])
        stepper.scaler.load_state_dict(state["scaler"])
        if stepper.ema is not None:
            stepper.ema.load_state_dict(state["ema"])
        self.hooks.load_state_dict(own["selector"])
        self.at = Position(**state["position"])
        self.clock.load_state_dict(state["clock"])
        self.history = History(**state["history"] | {"spent": [Spent(*entry) for entry in state["history"]["spent"]]})
        self.log.load_state_dict(state["log"])
        self.ledger.load_state_dict(state["ledger"], own["counts"])
        self.meter.load_state_dict(own["meter"])
        self.goal.load_state_dict(state["goal"])
        self.tracker.load_state_dict(state["tracker"])
        checkpoint.set_random_state(own["random"], stepper.hardware.device)
        logger.info("resumed at epoch %d, batch %d, step %d", self.at.epoch, self.at.batch, self.at.step)
        return state["plan"]


def own_batches(loader: Loader, plan: Plan, epoch: int, start: int) -> Iterator[Batch]:
    """This rank's part of each batch of a plan, from the batch `start` on; a batch without rows where it has none."""
    if distributed.size() == 1:
        yield from loader.batches(
            plan.ids, plan.load_batch, epoch, weights=plan.weights, start=start, keep_short=plan.keep_short
        )
        return
    if plan.load_batch % distributed.size():
        raise UserError(
            f"batches of {plan.load_batch} rows are loaded, which {distributed.size()} processes cannot share; "
            "choose recipe.batch_size and the method's rate such that they can"
        )
    bounds = [(at, min(at + plan.load_batch, len(plan.ids))) for at in range(0, len(plan.ids), plan.load_batch)]
    parts = [
        slice(low + distributed.shard(high - low).start, low + distributed.shard(high - low).stop)
        for low, high in bounds
    ]
    parts = parts[: plan.batches]
    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts]) if parts else np.empty(0, np.int64)
    weights = None if plan.weights is None else plan.weights[rows]
    own = loader.batches(
        plan.ids[rows],
        plan.load_batch // distributed.size(),
        epoch,
        weights=weights,
        start=start,
        keep_short=plan.keep_short,
    )
    for low, high in bounds[start : plan.batches]:
        batch = next(own, None)
        if batch is None:
            batch = loader.fetch(plan.ids[:1], epoch).take(slice(0, 0))
        yield batch.take(slice(None), high - low)


def _offered(plan: Plan, index: int) -> int:
    """Rows offered by the time the plan's batch `index` is loaded."""
    if plan.offered_by_batch is not None:
        return int(plan.offered_by_batch[index])
    return round(plan.offered * min((index + 1) * plan.load_batch, len(plan.ids)) / len(plan.ids))


@contextmanager
def _profiled(folder: Path, wanted: bool) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each loaded batch."""
    if not wanted:
        yield lambda: None
        return
    from torch import profiler

    def write(trace: Any) -> None:
        trace.export_chrome_trace(str(folder / "trace.json"))
        (folder / "profile.txt").write_text(trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))

    steps = profiler.schedule(wait=2, warmup=2, active=6, repeat=1)
    with profiler.profile(schedule=steps, on_trace_ready=write) as active:
        yield active.step
