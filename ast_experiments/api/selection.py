"""Selection in a training loop of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.api.build import build, plain_words
from ast_experiments.api.sampler import PlannedBatches, WithIds
from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import UserError
from ast_experiments.selection.method import Context, Method
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.selector import Selector

Score = Callable[[Tensor], Tensor]
"""`score(ids) -> losses`: the losses (n,) of samples `ids` (n,), without training on them."""


def select(
    method: str | Method = "ast",
    *,
    dataset_size: int,
    batch_size: int,
    epochs: int,
    seed: int = 0,
    controller: str = "pi",
    significance: str = "loss",
    device: torch.device | str = "cpu",
    **settings: Any,
) -> Selection:
    """Returns the selection of a run: which samples each epoch trains.

    Args:
        method: Name of a method (`ast`, `random`, `rs2`, `infobatch`, ...), `my_package.my_module`, or a `Method`.
        dataset_size: Number of training samples; their ids are 0 .. dataset_size - 1.
        batch_size: Rows of a training batch, on all ranks together.
        epochs: Planned epochs.
        seed: Of all draws.
        controller: Name of a controller, for methods that use one.
        significance: Name of a significance, for methods that use one.
        device: Where the losses are; remembered losses stay there within an epoch.
        settings: Settings of the target rate (`rate`, `rate_final`, `rate_schedule`, `warmup_epochs`, `final_epochs`),
            the method, the controller and the significance, as in `conf/`.

    Raises:
        ConfigError: About a setting that is unknown, of the wrong type or out of range.

    Example:
        >>> selection = select("ast", dataset_size=50_000, batch_size=128, epochs=30, rate=0.4)
        >>> loader = DataLoader(selection.wrap(train_set), batch_sampler=selection.batches, num_workers=4)
        >>> for epoch in selection.epochs():
        ...     for ids, (inputs, targets) in loader:
        ...         losses = cross_entropy(model(inputs), targets, reduction="none")
        ...         selection.loss(ids, losses).backward()
    """
    return Selection(
        method,
        dataset_size=dataset_size,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        controller=controller,
        significance=significance,
        device=device,
        **settings,
    )


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
        **settings: Any,
    ) -> None:
        for name, count in (("dataset_size", dataset_size), ("batch_size", batch_size), ("epochs", epochs)):
            if not isinstance(count, int) or count < 1:
                raise UserError(f"{name}: {count!r} is wrong; expected a whole number of at least 1")
        self._size, self._batch_size, self._epochs = dataset_size, batch_size, epochs
        self.method, self._schedule = build(method, controller, significance, epochs, settings)
        self.name = method if isinstance(method, str) else f"{type(method).__module__}.{type(method).__name__}"
        self._check_method(self.name)
        self.settings = {"batch_size": batch_size, "epochs": epochs, **settings}
        self.controller = controller if hasattr(self.method, "_controller") and self.method.uses_controller else None
        self.target = None if self._schedule is None else self._schedule.final or self._schedule.rate
        self.device = torch.device(device)
        context = Context(
            samples=dataset_size,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            device=torch.device(device),
            fetch=_only_ids,
            side_net=_no_auxiliary_model,
        )
        self._selector = Selector(self.method, context)
        self.batches = PlannedBatches(self._remaining, self._count)
        self._wrapped: WithIds | None = None
        self._plan: Plan | None = None
        self._own: Plan | None = None
        self._resumed: Mapping[str, Any] | None = None
        self.epoch, self._batch, self._step, self._trained, self._offered = 0, 0, 0, 0, 0
        self._trained_before = self._offered_before = 0
        self._sizes: list[int] = []
        self._bounds: list[int] = []
        self._broken = torch.zeros((), dtype=torch.int64)
        self._target, self.lr_scale = 1.0, 1.0
        self._noted: tuple[Plan, int, float] | None = None
        self._epoch_metrics: dict[str, Any] = {}

    # --- The loop

    def wrap(self, dataset: Any) -> WithIds:
        """Returns the dataset with ids: items become `(id, item)`.

        Args:
            dataset: Map-style, with `dataset_size` samples.

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
        while self.epoch < self._epochs:
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
            logits: Outputs of the network, shape (n, classes), for a significance or method that uses them.
            inputs: Inputs, shape (n, ...), likewise.
            targets: Class indices, shape (n,), likewise.

        Raises:
            UserError: If the losses are not one a sample, or not those of the next batch.
        """
        plan, own = self._current()
        rows = self._check_losses(ids, losses)
        total = self._sizes[self._batch]
        count = rows.stop - rows.start
        weights = None if own.weights is None else torch.from_numpy(own.weights[rows]).to(losses.device)
        padded = count == 0  # a rank without rows trains a row of weight 0, so that all ranks step together
        kept = losses[:0] if padded else losses
        batch = Batch(
            ids=ids[: len(kept)],
            images=inputs,  # pyright: ignore[reportArgumentType]
            labels=targets,  # pyright: ignore[reportArgumentType]
            weights=weights,
            total=total if distributed.size() > 1 else None,
        )
        outputs = Outputs(
            logits.detach() if logits is not None else None,  # pyright: ignore[reportArgumentType]
            kept.detach().float(),
        )
        weights = self.method.weigh(batch, outputs)
        if not padded:
            self._observe(batch, outputs)
            self._broken += (~outputs.losses.isfinite()).sum()
        weighted = losses if weights is None else losses * weights.to(losses.dtype)
        self._note(plan, total)
        if padded:
            return losses.sum() * 0
        return weighted.mean() if distributed.size() == 1 else weighted.sum() * (distributed.size() / total)

    # --- What to tell a schedule and a logger

    @property
    def progress(self) -> float:
        """The share of the run that is done, in [0, 1]: epochs, and the fraction of the current one."""
        done = 0.0 if self._plan is None or not self._plan.batches else self._batch / self._plan.batches
        return min(1.0, (self.epoch + done) / self._epochs)

    @property
    def planned(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return self._plan is not None

    @property
    def total_epochs(self) -> int:
        """Planned epochs."""
        return self._epochs

    @property
    def steps_known(self) -> bool:
        """Whether `steps` can be told before training."""
        return self._schedule is not None or self.name == "dense"

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, expected from the target rates.

        Exact for `dense`, `random` and `rs2`. `ast` makes a few fewer: rows that wait for a full batch are not offered
        again. Methods that set their own rate do not know it beforehand.

        Raises:
            UserError: If the method has no target rate.
        """
        dense = -(-self._size // self._batch_size)
        if self._schedule is None:
            if self.steps_known:
                return self._epochs * dense
            raise UserError(
                f"{type(self.method).__name__} sets its own rate, so its steps are not known before training; "
                "give your schedule selection.progress instead"
            )
        targets = [self._schedule.target(epoch, self._epochs) for epoch in range(self._epochs)]
        sparse = sum(target for target in targets if target < 1)
        return sum(target >= 1 for target in targets) * dense + int(sparse * self._size / self._batch_size + 1e-6)

    def metrics(self) -> dict[str, float]:
        """Returns figures of the last step and the last whole epoch, under the keys of `metrics.jsonl`."""
        return {key: float(value) for key, value in (self._step_metrics() | self._epoch_metrics).items()}

    # --- Saving and resuming

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that `load_state_dict` needs to go on exactly where training is; of this rank.

        Valid between any two steps, with batches that workers have loaded ahead: those are loaded again.
        """
        return {
            "selector": self._selector.state_dict(),
            "epoch": self.epoch,
            "batch": self._batch,
            "step": self._step,
            "trained": self._trained,
            "offered": self._offered,
            "trained_before": self._trained_before,
            "offered_before": self._offered_before,
            "ids": None if self._plan is None else torch.from_numpy(self._plan.ids.copy()),
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
        self.epoch, self._batch, self._step = state["epoch"], state["batch"], state["step"]
        self._trained, self._offered = state["trained"], state["offered"]
        self._trained_before, self._offered_before = state["trained_before"], state["offered_before"]
        self._resumed, self._plan, self._own = state, None, None

    # --- The parts of an epoch

    def begin_epoch(self) -> None:
        """Plans the next epoch. `epochs()` does this; a trainer that owns the loop calls it before it loads a batch.

        Raises:
            UserError: If the epoch before was not ended, or fills no batch.
        """
        if self._plan is not None:
            raise UserError(
                f"epoch {self.epoch} was left after {self._batch} of {self._plan.batches} batches, and its losses are "
                "not committed; iterate over the loader to its end"
            )
        if self._wrapped is not None:
            self._wrapped.check()
        self._target = 1.0 if self._schedule is None else self._schedule.target(self.epoch, self._epochs)
        plan = self._selector.plan(self.epoch, self._target)
        if not plan.batches:
            raise UserError(
                f"epoch {self.epoch} trains {len(plan.ids)} rows, which fill no batch of {self._batch_size}; "
                f"type batch_size={max(1, len(plan.ids) // 4)} or so"
            )
        resumed, self._resumed = self._resumed, None
        if resumed is not None and resumed["ids"] is not None and not np.array_equal(plan.ids, resumed["ids"].numpy()):
            raise UserError("the plan of the epoch is not the one in the state: the code or the settings have changed")
        with plain_words():
            self._own = plan.shard(distributed.rank(), distributed.size())
        self._plan, self.lr_scale = plan, plan.lr_scale
        self._sizes, self._bounds = plan.batch_sizes, _bounds(plan)
        self._broken = torch.zeros((), dtype=torch.int64, device=self.device)

    def end_epoch(self, score: Score | None = None) -> None:
        """Commits the losses of an epoch. `epochs()` does this.

        Args:
            score: As for `epochs()`.

        Raises:
            UserError: If batches of the epoch are left, or losses were NaN or infinite.
        """
        plan, _ = self._current()
        if self._batch < plan.batches:
            raise UserError(
                f"epoch {self.epoch} ended after {self._batch} of {plan.batches} batches; iterate over the loader to "
                "its end, and call selection.loss(ids, losses) once a batch"
            )
        if self._broken:  # read once an epoch
            raise UserError(
                f"{int(self._broken)} losses of epoch {self.epoch} are NaN or infinite; lower the learning rate, or "
                "clip the gradients"
            )
        self._selector.end_epoch(lambda batch, **_: self._scored(batch, score))
        self.epoch, self._batch = self.epoch + 1, 0
        self._trained_before, self._offered_before = self._trained, self._offered
        self._plan = self._own = None

    def _scored(self, batch: Batch, score: Score | None) -> Outputs:
        if score is None:
            raise UserError(
                f"{type(self.method).__name__} needs the losses of samples that were not trained; "
                "type selection.epochs(score=f), where f(ids) returns the losses of these samples"
            )
        with torch.no_grad():
            losses = score(batch.ids)
        if losses.shape != batch.ids.shape:
            raise UserError(f"score(ids) returned the shape {tuple(losses.shape)}; expected {tuple(batch.ids.shape)}")
        return Outputs(None, losses.detach().float())  # pyright: ignore[reportArgumentType]

    def _remaining(self) -> Iterator[list[int]]:
        """The batches of this rank that are still to be trained; a rank without rows gets one, of weight 0."""
        plan, own = self._current()
        first, wrapped = self._batch, self._wrapped
        if wrapped is not None:
            wrapped.check()
        for index in range(first, plan.batches):
            ids = own.ids[self._bounds[index] : self._bounds[index + 1]]
            yield ids.tolist() if len(ids) else [int(plan.ids[0])]

    def _count(self) -> int:
        """Batches of the current plan; between epochs, those of an epoch at the target rate."""
        if self._plan is not None:
            return self._plan.batches
        return -(-self._size // self._batch_size)

    def _current(self) -> tuple[Plan, Plan]:
        if self._plan is None or self._own is None:
            raise UserError("there is no epoch to train: write `for epoch in selection.epochs():` around the loop")
        return self._plan, self._own

    def _check_losses(self, ids: Tensor, losses: Tensor) -> slice:
        """The rows of this rank's plan that a batch holds."""
        plan, own = self._current()
        if self._batch >= plan.batches:
            raise UserError(
                f"epoch {self.epoch} has {plan.batches} batches, and selection.loss was called for all of them; "
                "call it once a batch"
            )
        rows = slice(self._bounds[self._batch], self._bounds[self._batch + 1])
        expected = own.ids[rows] if rows.stop > rows.start else plan.ids[:1]
        if losses.dim() != 1:
            shape = "one number" if losses.dim() == 0 else f"the shape {tuple(losses.shape)}"
            more = "reduction='none'" if losses.dim() == 0 else "losses.flatten(1).mean(1)"
            raise UserError(f"the losses are {shape}; expected one loss a sample, shape ({len(expected)},): use {more}")
        if len(losses) != len(ids):
            raise UserError(f"there are {len(ids)} ids and {len(losses)} losses; expected one loss for each id")
        if len(ids) != len(expected) or (ids.device.type == "cpu" and not np.array_equal(ids.numpy(), expected)):
            raise UserError(
                f"these are not the samples of batch {self._batch + 1} of epoch {self.epoch}; call selection.loss "
                "with the ids that the loader gave, once a batch and in its order, without shuffle"
            )
        return rows

    def _observe(self, batch: Batch, outputs: Outputs) -> None:
        try:
            self._selector.observe(batch, outputs)
        except (AttributeError, TypeError) as error:
            lacking = [
                name
                for name, value in (("logits", outputs.logits), ("inputs", batch.images), ("targets", batch.labels))
                if value is None
            ]
            if not lacking:
                raise
            needed = ", ".join(f"{name}={name}" for name in lacking)
            raise UserError(
                f"{type(self.method).__name__} with this significance needs more than losses; "
                f"type selection.loss(ids, losses, {needed})"
            ) from error

    def _note(self, plan: Plan, total: int) -> None:
        """Counts a step."""
        self._noted = (plan, self._batch, self._target)
        self._offered = self._offered_before + plan.offered_by(self._batch)
        self._trained += total
        self._batch += 1
        self._step += 1
        if self._batch == plan.batches:
            self._close(plan)

    def _step_metrics(self) -> dict[str, Any]:
        """Returns the figures of the last step."""
        if self._noted is None:
            return {}
        plan, index, target = self._noted
        offered = plan.offered_by(index) - (plan.offered_by(index - 1) if index else 0)
        picked = plan.trace["picked"][index] if "picked" in plan.trace else plan.batch_sizes[index]
        return {
            "step": self._step,
            "epoch": self.progress * self._epochs,
            "progress": self.progress,
            "samples_seen": self._trained,
            "samples_offered": self._offered,
            **({} if self._schedule is None else {"control/target": target}),
            **({"control/activation_rate": picked / offered} if offered else {}),
            **{key: values[index] for key, values in plan.trace.items() if key != "picked"},
        }

    def _close(self, plan: Plan) -> None:
        """Counts the rows that were offered after the last batch, and keeps the figures of the epoch."""
        self._offered = self._offered_before + plan.offered
        trained = self._trained - self._trained_before
        self._epoch_metrics = {
            "epoch/rows_trained": trained,
            "epoch/rows_offered": plan.offered,
            "epoch/activation_rate": trained / plan.offered,
            **({} if self._schedule is None else {"epoch/target": self._target}),
            "energy/skipped_share": 1 - self._trained / self._offered,
            "rows/trained": self._trained,
            "rows/offered": self._offered,
        }

    def _identity(self) -> dict[str, Any]:
        return {
            "method": type(self.method).__name__,
            "dataset_size": self._size,
            "batch_size": self._batch_size,
            "epochs": self._epochs,
            "ranks": distributed.size(),
        }

    def _check_method(self, name: str) -> None:
        """Refuses methods that choose from loaded batches: their work is part of the loop of `ast-train`."""
        if type(self.method).select is not Method.select or self.method.needs_holdout or self.method.trains_every_row:
            raise UserError(
                f"{name} scores every loaded batch with the network, and only the loop of ast-train does that; "
                "type 'ast', 'infobatch' or another method that chooses before loading"
            )
        if type(self.method).observe is not Method.observe:
            raise UserError(
                f"{name} learns from predictions, and this loop hands it losses only; "
                "type 'ast', 'infobatch' or another method that chooses by losses"
            )


def _bounds(plan: Plan) -> list[int]:
    """Returns where the batches of this rank begin and end in its part of a plan; one more than there are batches."""
    rank, size = distributed.rank(), distributed.size()
    own = [rows * (rank + 1) // size - rows * rank // size for rows in plan.batch_sizes]
    return np.cumsum([0, *own]).tolist()


def _only_ids(ids: Tensor, epoch: int) -> Batch:
    """A batch of samples that the user's own `score` looks up."""
    del epoch
    return Batch(ids, None, None)  # pyright: ignore[reportArgumentType]


def _no_auxiliary_model(*_: Any, **__: Any) -> Any:
    raise UserError("an auxiliary model needs ast-train, which knows the family of the network")
