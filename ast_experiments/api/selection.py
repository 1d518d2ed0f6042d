"""Selection in a training loop of your own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.api.build import (
    build,
    check_class_counts,
    check_counts,
    check_method,
    expected_steps,
    plain_words,
)
from ast_experiments.api.epoch import Epoch
from ast_experiments.api.losses import Observer, Score, no_auxiliary_model, only_ids, scored
from ast_experiments.api.sampler import PlannedBatches, WithIds
from ast_experiments.core import distributed
from ast_experiments.core.errors import UserError
from ast_experiments.selection.context import Context
from ast_experiments.selection.method import Method
from ast_experiments.selection.selector import Selector


class Selection:
    """Plans the epochs of a run, hands its batches to a DataLoader, and remembers losses. Make one with `select`.

    Attributes:
        batches: For `DataLoader(batch_sampler=...)`.
        method: The method at work.
        name: Its name.
        settings: As given, with `batch_size` and `epochs`.
        controller: Name of the controller; None if the method uses none.
        target: The final target rate; None for a method that sets its own rate.
        device: As given.
        epoch: The current epoch, counted from 0; after the last one, the number of epochs.
        total_epochs: Planned epochs.
        lr_scale: Factor on the learning rate for the current epoch; 1 with most methods.
    """

    def __init__(
        self,
        method: str | Method,
        *,
        dataset_size: int,
        batch_size: int,
        epochs: int,
        seed: int,
        controller: str,
        significance: str,
        device: torch.device | str,
        class_counts: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        check_counts(dataset_size=dataset_size, batch_size=batch_size, epochs=epochs)
        self._size, self._batch_size, self.total_epochs = dataset_size, batch_size, epochs
        self.name = method if isinstance(method, str) else f"{type(method).__module__}.{type(method).__name__}"
        self.method, self._schedule = build(method, controller, significance, epochs, settings)
        if self._schedule is not None and class_counts is not None:
            check_class_counts(class_counts, dataset_size)
            self._schedule = self._schedule.for_classes(class_counts)
        check_method(self.name, self.method)
        self.settings = {"batch_size": batch_size, "epochs": epochs, **settings}
        self.controller = controller if hasattr(self.method, "_controller") and self.method.uses_controller else None
        self.target = None if self._schedule is None else self._schedule.last
        self.device = torch.device(device)
        run = {"samples": dataset_size, "batch_size": batch_size, "epochs": epochs, "seed": seed, "device": self.device}
        self._selector = Selector(self.method, Context(**run, fetch=only_ids, auxiliary_model=no_auxiliary_model))
        self._observer = Observer(self._selector, self.name)
        self.batches = PlannedBatches(self._remaining, self._count)
        self._wrapped: WithIds | None = None
        self._now: Epoch | None = None
        self._resumed: Mapping[str, Any] | None = None
        self.epoch, self._step, self._trained, self._offered, self.lr_scale = 0, 0, 0, 0, 1.0
        self._last: Epoch | None = None
        self._epoch_metrics: dict[str, Any] = {}

    # --- The loop

    def wrap(self, dataset: Any) -> WithIds:
        """Returns a map-style dataset of `dataset_size` samples with ids: items become `(id, item)`.

        Raises:
            UserError: If it cannot be indexed or has another number of samples.
        """
        self._wrapped = WithIds(dataset, self._size)
        return self._wrapped

    def epochs(self, score: Score | None = None) -> Iterator[int]:
        """Yields the epochs that are left: plans each before, and commits its losses after the body of the loop.

        Args:
            score: Losses of samples that were not trained; some methods ask for them at the end of an epoch.

        Raises:
            UserError: If the body of the loop left batches of the epoch untrained.
        """
        while self.epoch < self.total_epochs:
            self.begin_epoch()
            yield self.epoch
            self.end_epoch(score)

    def loss(
        self,
        ids: Tensor,
        losses: Tensor,
        *,
        logits: Tensor | None = None,
        inputs: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Returns the loss to back-propagate, 0-d: the weighted mean of the losses. Remembers the losses.

        Under torchrun it is scaled such that the mean over the ranks, which DistributedDataParallel takes of gradients,
        is the mean over the rows of all ranks.

        Args:
            ids: As the loader gave them, shape (n,).
            losses: One loss a sample, shape (n,).
            logits: Outputs of the network, shape (n, classes), for a significance that takes `logits`.
            inputs: Inputs, shape (n, ...), for one that takes `images`.
            targets: Class indices, shape (n,), or what else the task has, for one that takes `labels`.

        Raises:
            UserError: If the losses are not one a sample, or not those of the next batch.
        """
        now = self._current()
        loss = now.train(ids, losses)
        if logits is None and inputs is None and targets is None:
            self._observer.hold(now, ids, losses)
        else:
            self._observer.record(now, ids, losses, logits=logits, inputs=inputs, targets=targets)
        if now.done == now.batches:
            self._epoch_metrics = now.metrics(self._trained, self._offered)
            if self._schedule is not None:
                self._epoch_metrics["epoch/target"] = now.target
        return loss

    def begin_epoch(self) -> None:
        """Plans the next epoch. `epochs()` does this; a trainer that owns the loop calls it before it loads a batch.

        Raises:
            UserError: If the epoch before was not ended, or this one fills no batch.
        """
        if self._now is not None:
            raise UserError(
                f"epoch {self.epoch} was left after {self._now.done} of {self._now.batches} batches, and its "
                "losses are not committed; iterate over the loader to its end"
            )
        if self._wrapped is not None:
            self._wrapped.check()
        target = 1.0 if self._schedule is None else self._schedule.target(self.epoch, self.total_epochs)
        plan = self._selector.plan(self.epoch, target)
        if not plan.batches:
            raise UserError(
                f"epoch {self.epoch} trains {plan.rows} rows, which fill no batch of {self._batch_size}; "
                f"type batch_size={max(1, int(target * self._size) // 4)} or so"
            )
        resumed, self._resumed = self._resumed or {}, None
        ids = resumed.get("ids")
        differs = ids is not None and plan.whole is None and not np.array_equal(plan.ids, ids.numpy())
        if ids is not None and distributed.any_rank(differs):
            raise UserError("the plan of the epoch is not the one in the state: the code or the settings have changed")
        with plain_words():
            self._now = Epoch(plan, self.epoch, target, resumed.get("batch", 0), self.device)
        self.lr_scale = plan.lr_scale

    def end_epoch(self, score: Score | None = None) -> None:
        """Commits the losses of an epoch. `epochs()` does this.

        Args:
            score: As for `epochs()`.

        Raises:
            UserError: If batches of the epoch are left, or losses were NaN or infinite.
        """
        now = self._current()
        now.close()
        self._selector.end_epoch(lambda batch, **_: scored(self.name, batch, score))
        self._trained, self._offered = self._trained + now.trained, self._offered + now.plan.offered
        self._step += now.batches
        self.epoch, self._last, self._now = self.epoch + 1, now, None

    # --- What to tell a schedule and a logger

    @property
    def planned(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return self._now is not None

    @property
    def progress(self) -> float:
        """The share of the run that is done, in [0, 1]: epochs, and the fraction of the current one."""
        done = 0.0 if self._now is None else self._now.done / self._now.batches
        return min(1.0, (self.epoch + done) / self.total_epochs)

    @property
    def steps_known(self) -> bool:
        """Whether `steps` is known before training."""
        return self._schedule is not None or self.name == "dense"

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, expected from the target rates.

        Exact for `dense`, `random` and `rs2`. `ast` makes a few fewer: rows that wait for a full batch are not offered
        again. Methods that set their own rate do not know it beforehand.

        Raises:
            UserError: If the method has no target rate.
        """
        if not self.steps_known:
            raise UserError(
                f"{self.name} sets its own rate, so its steps are not known before training; "
                "give your schedule selection.progress instead"
            )
        return expected_steps(self._schedule, self._size, self._batch_size, self.total_epochs)

    def metrics(self) -> dict[str, float]:
        """Returns figures of the last step and the last whole epoch, under the keys of `metrics.jsonl`."""
        last = self._now or self._last
        if last is None:
            return {}
        found = {
            "step": self._step + (0 if self._now is None else self._now.done),
            "epoch": self.progress * self.total_epochs,
            "progress": self.progress,
            "samples_seen": self._trained + (0 if self._now is None else self._now.trained),
            "samples_offered": self._offered + (0 if self._now is None else self._now.offered),
            **({} if self._schedule is None else {"control/target": last.target}),
            **last.step_metrics(),
            **self._epoch_metrics,
        }
        return {key: float(value) for key, value in found.items()}

    # --- Saving and resuming

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that `load_state_dict` needs to go on exactly where training is; of this rank.

        Valid between any two steps, with batches that workers have loaded ahead: those are loaded again.
        """
        self._observer.look()
        done = 0 if self._now is None else self._now.done
        return {
            "epoch": self.epoch,
            "step": self._step + done,
            "trained": self._trained,
            "offered": self._offered,
            "selector": self._selector.state_dict(),
            "metrics": dict(self._epoch_metrics),
            "batch": done,
            "ids": None if self._now is None else torch.from_numpy(self._now.plan.ids.copy()),
            "run": self._identity(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; the next loop over `epochs()` goes on from there.

        Raises:
            UserError: If the state is that of another selection.
        """
        if state["run"] != self._identity():
            raise UserError(
                f"the state is that of another selection ({state['run']}), not of this one ({self._identity()}); "
                "call select(...) with the same arguments"
            )
        self._selector.load_state_dict(state["selector"])
        self.epoch, self._step = state["epoch"], state["step"] - state["batch"]
        self._trained, self._offered = state["trained"], state["offered"]
        self._epoch_metrics = dict(state["metrics"])
        self._resumed, self._now = state, None

    def _current(self) -> Epoch:
        if self._now is None:
            raise UserError("there is no epoch to train: write `for epoch in selection.epochs():` around the loop")
        return self._now

    def _remaining(self) -> Iterator[list[int]]:
        if self._wrapped is not None:
            self._wrapped.check()
        return self._current().remaining()

    def _count(self) -> int:
        """Batches of the current epoch; between epochs, the most that one can have."""
        return -(-self._size // self._batch_size) if self._now is None else self._now.batches

    def _identity(self) -> dict[str, Any]:
        run = {"method": self.name, "dataset_size": self._size, "ranks": distributed.size()}
        return run | {"batch_size": self._batch_size, "epochs": self.total_epochs}
