"""RHO-LOSS: the rows whose loss can be reduced most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.batching import forwarded
from ast_experiments.selection.history import merged
from ast_experiments.selection.large_batch import Oversampling
from ast_experiments.selection.method import Context, Scorer, SideNet
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.proxy_model import LEARNING

HELD_OUT = 2
NONE_HELD_OUT = (
    "method=rho_loss: needs samples held out from training, but there are none; "
    "type holdout=0.1, in the runs that it is compared with too"
)


class RhoLoss:
    """Trains the rows of each loaded batch with the largest loss minus irreducible loss.

    RHO-LOSS (arXiv 2206.07137). The irreducible loss of a sample is that of a small network trained on other samples,
    those that are held out: high where labels are wrong or ambiguous. It is found once, before the first epoch, for the
    pictures of that epoch. Both losses are plain cross-entropy, whatever the recipe trains on. All of it is charged.

    Args:
        irreducible_epochs: Epochs for which the small network is trained on the held-out samples.
        proxy_width: Share of the channels of the run's network that the small one has.
        proxy_arch: An architecture of timm instead.
    """

    def __init__(self, *, irreducible_epochs: int, proxy_width: float, proxy_arch: str | None) -> None:
        self._epochs, self._width, self._arch = irreducible_epochs, proxy_width, proxy_arch
        self._irreducible: Tensor | None = None

    def prepare(self, context: Context) -> None:
        """Make the small network.

        Raises:
            ConfigError: If no samples are held out.
        """
        if context.held_out is None:
            raise ConfigError(NONE_HELD_OUT)
        self._context = context
        self._loading = Oversampling(context)
        # Made here, before the run's random stream starts, so that this one draws nothing from it.
        self._net: SideNet | None = context.side_net(width=self._width, arch=self._arch)

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples, in batches of B / target. The first call finds the irreducible losses."""
        if self._irreducible is None:
            self._irreducible = self._irreducible_losses()
        self._target = target
        return self._loading.plan(epoch, target)

    def _irreducible_losses(self) -> Tensor:
        """Losses (samples,) of a network that was trained on the held-out samples."""
        c, net = self._context, self._net
        assert c.held_out is not None
        assert net is not None
        rows = min(c.batch_size, c.held_out_samples)
        batches = c.held_out_samples // rows
        for epoch in range(self._epochs):
            order = torch.from_numpy(generator(c.seed, HELD_OUT, epoch).permutation(c.held_out_samples))
            for index in range(batches):
                ids = order[index * rows : (index + 1) * rows]
                own = c.held_out(ids[distributed.shard(rows)], epoch)
                net.learn(own.take(slice(None), rows), (epoch + index / batches) / self._epochs)
        losses = torch.full((c.samples,), torch.nan, device=c.device)
        for batch, outputs in forwarded(c, net.score, generator(c.seed, HELD_OUT).permutation(c.samples), 0):
            losses[batch.ids] = _plain(batch, outputs)
        self._net = None
        return merged(losses)

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """The rows with the most to learn; all of them in dense epochs."""
        if self._target >= 1:
            yield loaded
            return
        assert self._irreducible is not None
        yield self._loading.best(loaded, _plain(loaded, score(loaded)) - self._irreducible[loaded.ids])

    def end_epoch(self, score: Scorer) -> None:
        """Carry the samples that were not loaded."""
        del score
        self._loading.commit()

    def scored_share(self, target: float) -> float:
        """One pass for each row offered, and the part of the small network's work that falls to it."""
        c = self._context
        once = self._width**2 * (1 + LEARNING * self._epochs * c.held_out_samples / c.samples) / c.epochs
        return once + (target < 1)

    def state_dict(self) -> dict[str, Any]:
        """Irreducible losses, and the samples that wait."""
        losses = self._irreducible
        return {"irreducible": None if losses is None else losses.cpu(), "loading": self._loading.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        losses = state["irreducible"]
        self._irreducible = None if losses is None else losses.to(self._context.device)
        self._net = self._net if losses is None else None
        self._loading.load_state_dict(state["loading"])


def _plain(batch: Batch, outputs: Outputs) -> Tensor:
    """Cross-entropy in nats without label smoothing, shape (n,)."""
    return cross_entropy(outputs.logits.float(), batch.labels, reduction="none")
