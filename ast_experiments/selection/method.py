"""The selection interface: a base class with one hook to write and no-op defaults for the rest.

In a data-parallel run every rank has a method of its own. `plan` decides for all ranks and must return the same plan on
each. A loaded batch holds this rank's part of a planned batch; `Batch.rows` counts the rows of all ranks. The sample
history is merged over the ranks at the end of each epoch. Anything else a method learns it has to exchange itself, with
the functions of `core.distributed`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.batching import Carry, Remainder
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.numeric import Number, generator
from ast_experiments.selection.parts import Part
from ast_experiments.selection.plan import Plan

Scorer: TypeAlias = Callable[..., Outputs]
"""`score(batch, mode="eval", size=None)`: a forward pass without gradients, charged to the ledger. `size` first shrinks
the images to that many pixels."""

NO_HOLDOUT = """\
needs samples held out from training, but there are none; type holdout=0.1, in the runs that it is compared with too"""
ORDER = 1
"""Key of the random stream that orders an epoch."""


class AuxiliaryModel(Protocol):
    """A second, smaller network of a method. All its work is charged as scoring."""

    def learn(self, batch: Batch, progress: float) -> None:
        """Makes one training step; `progress` in [0, 1) sets the learning rate by the schedule of the run."""
        ...

    def score(self, batch: Batch) -> Outputs:
        """Makes a forward pass in eval mode without gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns network and optimiser."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores them."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The run that a method works in.

    Attributes:
        samples: Training samples; ids are 0 .. samples - 1.
        batch_size: Rows of a training batch.
        epochs: Planned epochs.
        seed: Seed of the run.
        device: Training device.
        fetch: Makes a batch of the given ids (n,) and epoch, on this rank alone, as loading would make it.
        auxiliary_model: `auxiliary_model(width=0.25, arch=None, size=None)`: a network of the same family as the run's
            own with `width` of its channels, or timm's `arch`, on images shrunk to `size` pixels; initialised from the
            seed.
        held_out: Like `fetch`, for samples held out from training (`holdout`); None if there are none.
        held_out_samples: Number of held-out samples; their ids are 0 .. held_out_samples - 1.
        warmup_epochs: Warm-up of the learning rate, in epochs.
    """

    samples: int
    batch_size: int
    epochs: int
    seed: int
    device: torch.device
    fetch: Callable[[Tensor, int], Batch]
    auxiliary_model: Callable[..., AuxiliaryModel]
    held_out: Callable[[Tensor, int], Batch] | None = None
    held_out_samples: int = 0
    warmup_epochs: float = 0.0


def forwarded(context: Context, score: Scorer, ids: np.ndarray, epoch: int) -> Iterator[tuple[Batch, Outputs]]:
    """Yields scoring passes over samples `ids` (k,) as they look in `epoch`, in batches of at most the training batch.

    BatchNorm uses its running statistics and leaves them alone. In a data-parallel run each rank has its part of every
    batch.
    """
    for first in range(0, len(ids), context.batch_size):
        rows = ids[first : first + context.batch_size]
        own = rows[distributed.shard(len(rows))]
        if len(own):
            batch = context.fetch(torch.from_numpy(own), epoch)
            yield batch, score(batch)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings outside the method that may not go with it; known before anything is built.

    Attributes:
        holdout: Share of the training samples that is held out.
        mixing: Those of `mixup`, `cutmix` and `soft_labels` that the recipe uses.
        budget: What the budget counts: `samples`, `flops`, `seconds` or `joules`; None without a budget.
        auto_batch: Whether batches may be trained in parts.
    """

    holdout: float = 0.0
    mixing: tuple[str, ...] = ()
    budget: str | None = None
    auto_batch: bool = False


class Method(ABC):
    """Decides which samples are trained. A subclass must write `plan` and may write any other hook.

    The settings of a method are the keyword arguments of its constructor, with annotated ranges and with defaults. An
    argument named `controller` or `significance` receives the chosen one. Everything else that the run has to know is
    declared by class attributes.

    Attributes:
        rate: Default target rate; None for a method without a target rate, which then gets no rate schedule or budget.
        warmup_epochs: Default number of leading epochs that train every sample.
        scoring: Label of the way of scoring, for results.
        uniform: Whether the choice never depends on the samples, so that the method is a control.
        keeps_history: Whether the run records a score for each trained row.
        waits_for_scores: Whether rows are drawn uniformly until every sample has a score.
        needs_holdout: Whether samples must be held out from training.
        trains_every_row: Whether every loaded row goes through the training pass, so that a low rate saves no work.
        unmixable: Why the method does not work with `mixup`, `cutmix` or `soft_labels`, by setting.
        uses_controller: Whether the chosen controller takes part; only asked if the constructor has one.
        averaged: Signals that a log row averages over its steps. It shows the last value of the others.
        saved: Attributes to keep in checkpoints: numbers, strings or tensors.
        context: The run; set before `prepare`.
        carry: Picked rows that filled no batch.
        remainder: Fraction of a batch that `full_batches` left over, in rows.
    """

    rate: ClassVar[float | None] = 0.4
    warmup_epochs: ClassVar[int] = 0
    scoring: ClassVar[str | None] = None
    uniform: ClassVar[bool] = False
    keeps_history: ClassVar[bool] = True
    waits_for_scores: ClassVar[bool] = False
    needs_holdout: ClassVar[bool] = False
    trains_every_row: ClassVar[bool] = False
    unmixable: ClassVar[Mapping[str, str]] = {}
    uses_controller: bool = True
    averaged: ClassVar[frozenset[str]] = frozenset()
    saved: ClassVar[tuple[str, ...]] = ()

    context: Context
    carry: Carry
    remainder: Remainder

    # --- Hooks

    @abstractmethod
    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Decides an epoch (counted from 0) at a target rate in (0, 1].

        A pure function of the seed, the epoch, the target, the history and the committed parts: planning an epoch
        again gives the same plan.
        """

    def check(self, run: RunSettings) -> None:
        """Raises `ConfigError` if the settings do not go with those of the run; called before anything is built."""
        del run

    def prepare(self) -> None:  # noqa: B027
        """Makes what the run needs, once, before the first epoch; `self.context` is set."""

    def select(self, loaded: Batch, score: Scorer) -> Iterable[Batch]:
        """Turns a loaded batch into the batches to train: none, one or several."""
        del score
        return (loaded,)

    def weigh(self, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Returns loss weights (n,) given the outputs of the training pass, or None for all ones."""
        del outputs
        return batch.weights

    def score(self, batch: Batch, outputs: Outputs) -> Tensor:
        """Returns the scores (n,) that the history keeps of a batch; losses and logits are detached."""
        del batch
        return outputs.losses

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Learns from a batch that was trained or scored again; losses and logits are detached."""
        del batch, outputs

    def signals(self) -> Mapping[str, Number]:
        """Returns signals of the last step for the log; 0-d tensors are read later."""
        return {}

    def rescore(self, epoch: int, history: SampleHistory) -> np.ndarray:
        """Returns samples (k,) to score at the end of an epoch, by forward passes that are charged."""
        del epoch, history
        return np.empty(0, dtype=np.int64)

    def end_epoch(self, epoch: int) -> None:
        """Ends an epoch, after history and parts are committed."""
        del epoch

    def scored_share(self, target: float) -> float:
        """Returns the cost of choosing at a target rate, in forward passes of the network per offered row."""
        del target
        return 0.0

    def least_share(self, rate: float) -> float:
        """Returns the smallest share of the samples that an epoch must train, at a lowest target rate of `rate`."""
        return rate

    def facts(self) -> Mapping[str, Any]:
        """Returns what result.json says of the selection; plain values."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that a resumed run needs: the parts, and the attributes named by `saved`."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts()}
        for name in self.saved:
            value = getattr(self, name)
            state[name] = value.cpu().clone() if isinstance(value, Tensor) else deepcopy(value)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name, part in self.parts():
            part.load_state_dict(state[name])
        for name in self.saved:
            value = state[name]
            setattr(self, name, value.to(self.context.device) if isinstance(value, Tensor) else value)

    # --- Helpers, not to be overridden

    @classmethod
    def refuse_unused(cls, setting: str, **given: Any) -> None:
        """Refuses settings that differ from their defaults although another setting rules them out.

        Args:
            setting: What rules them out, as typed.
            given: The settings by name.

        Raises:
            ConfigError: About the first that differs.
        """
        for name, value in given.items():
            default = signature(cls).parameters[name].default
            if value != default:
                raise ConfigError(
                    f"method.{name}: not used by {setting}; "
                    f"type method.{name}={'null' if default is None else str(default).lower()}"
                )

    def bind(self, context: Context) -> None:
        """Ties the method to a run."""
        self.context = context
        self.carry = Carry(context.batch_size)
        self.remainder = Remainder(context.batch_size)
        self.prepare()

    def parts(self) -> list[tuple[str, Part]]:
        """Returns the parts among the attributes, with their names."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Part)]

    def random(self, *key: int) -> np.random.Generator:
        """Returns a random stream that depends on the seed and the key alone, e.g. (purpose, epoch)."""
        return generator(self.context.seed, *key)

    def permutation(self, epoch: int) -> np.ndarray:
        """Returns all samples in an order drawn for the epoch, int64, shape (samples,)."""
        return self.random(ORDER, epoch).permutation(self.context.samples)

    def full_batches(self, share: float) -> int:
        """Returns a number of rows in full batches; over the epochs their mean is `share` of the samples."""
        return self.remainder.full_batches(share, self.context.samples)

    def train(self, ids: np.ndarray, *, keep_short: bool = False) -> Plan:
        """Returns the plan that trains the samples `ids` (m,) in this order.

        Args:
            ids: The samples.
            keep_short: Whether a last batch that is not full is trained too.
        """
        c = self.context
        return Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=keep_short)

    def train_all(self, epoch: int) -> Plan:
        """Returns the plan that trains every sample in a random order."""
        return self.train(self.permutation(epoch), keep_short=True)
