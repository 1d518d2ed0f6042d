"""What a selection method has to offer, and what it gets for free.

A selector is any object with a method `plan`. Every other hook is optional: `hooks_of` fills in the pass-through
functions of this module. A method that chooses before loading needs `plan` (and `observe`, to learn); one that
chooses after scoring needs `select`; one that weighs the losses of a single forward pass needs `weigh`.

In a data-parallel run every rank has a selector. `plan` decides for all of them and must be the same on each; a loaded
batch holds this rank's part of a planned one, and `Batch.rows` counts those of all ranks. What `observe` learns is
merged at the epoch's end (`ScoreTable.commit`). The functions of `core.distributed` exchange the rest, and pass
through where there is one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.numeric import Number
from ast_experiments.selection.plan import Plan

Scorer: TypeAlias = Callable[..., Outputs]
"""`score(batch, mode="eval", size=None)`: a forward pass without gradients, charged to the ledger; `size` shrinks the
images to so many pixels first."""


class SideNet(Protocol):
    """A second, smaller network of a method; everything it does is charged to scoring."""

    def learn(self, batch: Batch, progress: float) -> None:
        """One training step; `progress` in [0, 1) sets the learning rate as the run's own schedule does."""
        ...

    def score(self, batch: Batch) -> Outputs:
        """A forward pass in eval mode without gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Network and optimiser."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a run tells its selector before the first epoch.

    Attributes:
        samples: Training samples; ids are 0 .. samples - 1.
        classes: Number of classes.
        labels: Class of each sample, int64, shape (samples,), on the CPU.
        batch_size: Rows of a training batch.
        epochs: Planned epochs.
        seed: The run's seed.
        device: Training device.
        fetch: Makes a batch of the given ids (n,) and epoch, as it is loaded; on this rank alone.
        held_out: The same for samples that are held out from training (`dataset.holdout`); None if there are none.
        held_out_samples: How many there are; their ids are 0 .. held_out_samples - 1.
        side_net: `side_net(width=0.25, arch=None, size=None)`: a network of the run's own family with `width` of its
            channels, or timm's `arch`, on images shrunk to `size` pixels; initialised from the seed.
        score: See `Scorer`.
        warmup_epochs: Epochs of the learning rate's warm-up.
    """

    samples: int
    classes: int
    labels: Tensor
    batch_size: int
    epochs: int
    seed: int
    device: torch.device
    fetch: Callable[[Tensor, int], Batch]
    score: Scorer
    side_net: Callable[..., SideNet]
    held_out: Callable[[Tensor, int], Batch] | None = None
    held_out_samples: int = 0
    warmup_epochs: float = 0.0


class Selector(Protocol):
    """The one hook that must be written."""

    def plan(self, epoch: int, target: float) -> Plan:
        """Decide an epoch (counted from 0) at a target rate in (0, 1].

        A pure function of the seed, the epoch, the target and what earlier epochs committed: planning the same
        epoch again gives the same plan, and nothing is committed before `end_epoch`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hooks:
    """A selector with every hook present.

    Attributes:
        plan: Ids, weights and control trace of an epoch.
        prepare: Called once, before the first epoch.
        select: From a loaded batch to the batches that are trained; none, one or several.
        weigh: Loss weights (n,) given the outputs of the training forward, or None for all ones; the loss is
            the mean of weight x loss over the batch's rows.
        observe: Learns from a trained batch; losses and logits are detached.
        signals: Control signals of the step just made, for the log; 0-d tensors are read later.
        end_epoch: Commits what the epoch taught; `score` may be used and is charged.
        scored_share: Cost of choosing at a target rate: forward passes of the network for each offered row.
        facts: What result.json shall say of the selection; plain values.
        state_dict: Everything that a resumed run needs; tensors, numbers, strings.
        load_state_dict: Restores it.
    """

    plan: Callable[[int, float], Plan]
    prepare: Callable[[Context], None]
    select: Callable[[Batch, Scorer], Iterable[Batch]]
    weigh: Callable[[Batch, Outputs], Tensor | None]
    observe: Callable[[Batch, Outputs], None]
    signals: Callable[[], Mapping[str, Number]]
    end_epoch: Callable[[Scorer], None]
    scored_share: Callable[[float], float]
    facts: Callable[[], Mapping[str, Any]]
    state_dict: Callable[[], dict[str, Any]]
    load_state_dict: Callable[[Mapping[str, Any]], None]


def prepare(context: Context) -> None:
    """Needs no preparation."""


def select(loaded: Batch, score: Scorer) -> Iterable[Batch]:
    """Trains what was loaded."""
    return (loaded,)


def weigh(batch: Batch, outputs: Outputs) -> Tensor | None:
    """Takes the weights that the plan gave."""
    return batch.weights


def observe(batch: Batch, outputs: Outputs) -> None:
    """Learns nothing."""


def signals() -> Mapping[str, Number]:
    """Has nothing to log beyond the plan's trace."""
    return {}


def end_epoch(score: Scorer) -> None:
    """Commits nothing."""


def scored_share(target: float) -> float:
    """Scores nothing."""
    del target
    return 0.0


def facts() -> Mapping[str, Any]:
    """Has nothing to report."""
    return {}


def state_dict() -> dict[str, Any]:
    """Has no state."""
    return {}


def load_state_dict(state: Mapping[str, Any]) -> None:
    """Has no state."""


def hooks_of(selector: Selector) -> Hooks:
    """The selector's own hooks, and pass-through ones for those it does not write."""
    defaults = (prepare, select, weigh, observe, signals, end_epoch, scored_share, facts, state_dict, load_state_dict)
    chosen: dict[str, Any] = {hook.__name__: getattr(selector, hook.__name__, hook) for hook in defaults}
    return Hooks(plan=selector.plan, **chosen)
