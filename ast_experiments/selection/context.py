"""The run that a method works in: its sizes, its samples, its passes, and the settings that may not go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs

Scorer: TypeAlias = Callable[..., Outputs]
"""`score(batch, mode="eval", size=None)`: a forward pass without gradients, charged to the ledger. `size` first shrinks
the images to that many pixels."""


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
        batch_growth: How many planned batches each epoch trains as one; empty for one in every epoch.
        repeated_share: Counts the training samples that repeat another one exactly, as a share of them.
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
    batch_growth: tuple[int, ...] = ()
    repeated_share: Callable[[], float] = lambda: 0.0


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
        batch_growth: Whether late epochs train larger batches.
    """

    holdout: float = 0.0
    mixing: tuple[str, ...] = ()
    budget: str | None = None
    auto_batch: bool = False
    batch_growth: bool = False
