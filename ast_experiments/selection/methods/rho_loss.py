"""RHO-LOSS: the rows whose loss can be reduced most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.ranges import Count, Rate
from ast_experiments.selection.context import AuxiliaryModel, Scorer, forwarded
from ast_experiments.selection.history import SampleHistory, merged
from ast_experiments.selection.large_batch import LargeBatches
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.proxy_model import LEARNING

HELD_OUT = 2


class RhoLoss(Method):
    """Trains the rows of each loaded batch with the largest loss minus irreducible loss.

    RHO-LOSS (arXiv 2206.07137). The irreducible loss of a sample is that of a small network trained on the held-out
    samples: high where labels are wrong or ambiguous. It is computed once, before the first epoch, for the images of
    that epoch. Both losses are plain cross-entropy, whatever loss the recipe trains on. All of it is charged.

    Args:
        irreducible_epochs: Epochs for which the small network is trained on the held-out samples.
        proxy_width: Share of the channels of the run's network that the small one has.
        proxy_arch: An architecture of timm to use instead.
    """

    rate = 0.1
    scoring = "fresh"
    keeps_history = False
    needs_holdout = True

    def __init__(
        self, *, irreducible_epochs: Count = 10, proxy_width: Rate = 0.25, proxy_arch: str | None = None
    ) -> None:
        self._epochs, self._width, self._arch = irreducible_epochs, proxy_width, proxy_arch
        self._irreducible: Tensor | None = None

    def prepare(self) -> None:
        """Makes the small network."""
        self._loading = LargeBatches(self.context)
        # Made here, before the run's random stream starts, so that this one draws nothing from it.
        self._net: AuxiliaryModel | None = self.context.auxiliary_model(width=self._width, arch=self._arch)

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders all samples, in batches of B / target. The first call computes the irreducible losses."""
        del history
        if self._irreducible is None:
            self._irreducible = self._irreducible_losses()
        self._target = target
        return self._loading.plan(self.permutation(epoch), target)

    def _irreducible_losses(self) -> Tensor:
        """Returns the losses (samples,) of a network trained on the held-out samples."""
        c, net = self.context, self._net
        assert c.held_out is not None
        assert net is not None
        rows = min(c.batch_size, c.held_out_samples)
        batches = c.held_out_samples // rows
        for epoch in range(self._epochs):
            order = torch.from_numpy(self.random(HELD_OUT, epoch).permutation(c.held_out_samples))
            for index in range(batches):
                ids = order[index * rows : (index + 1) * rows]
                own = c.held_out(ids[distributed.shard(rows)], epoch)
                net.learn(own.take(slice(None), rows), (epoch + index / batches) / self._epochs)
        losses = torch.full((c.samples,), torch.nan, device=c.device)
        for batch, outputs in forwarded(c, net.score, self.random(HELD_OUT).permutation(c.samples), 0):
            losses[batch.ids] = _plain(batch, outputs)
        self._net = None
        return merged(losses)

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """Yields the rows with the most to learn; all of them in dense epochs."""
        if self._target >= 1:
            yield loaded
            return
        assert self._irreducible is not None
        yield self._loading.best(loaded, _plain(loaded, score(loaded)) - self._irreducible[loaded.ids])

    def scored_share(self, target: float) -> float:
        """Returns one pass per offered row, plus its part of the small network's work."""
        c = self.context
        once = self._width**2 * (1 + LEARNING * self._epochs * c.held_out_samples / c.samples) / c.epochs
        return once + (target < 1)

    def state_dict(self) -> dict[str, Any]:
        """Returns the irreducible losses, and the samples that wait."""
        losses = self._irreducible
        return super().state_dict() | {"irreducible": None if losses is None else losses.cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        super().load_state_dict(state)
        losses = state["irreducible"]
        self._irreducible = None if losses is None else losses.to(self.context.device)
        self._net = self._net if losses is None else None


def _plain(batch: Batch, outputs: Outputs) -> Tensor:
    """Returns the cross-entropy in nats without label smoothing, shape (n,)."""
    return cross_entropy(outputs.logits.float(), batch.labels, reduction="none")
