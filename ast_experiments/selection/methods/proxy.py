"""A narrow network beside the run's own says which rows of a loaded batch are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ast_experiments.core.batch import Batch
from ast_experiments.selection.large_batch import Oversampling
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.proxy_model import ProxyNet


class Proxy:
    """Trains the rows of each loaded batch on which a narrow network has the largest losses.

    After airbench96 (https://github.com/KellerJordan/cifar10-airbench): the narrow network learns from the same rows
    as the run's own, but of every fourth batch only. There it is trained in a run before and leaves its choices behind;
    since it never sees the other network, its choices are the same side by side. It scores with its running BatchNorm
    statistics, where the source uses those of the batch.

    Args:
        proxy_width: Share of the channels of the run's network that it has.
        proxy_arch: An architecture of timm instead.
        proxy_every: Of so many batches it learns from one.
    """

    def __init__(self, *, proxy_width: float, proxy_arch: str | None, proxy_every: int) -> None:
        self._net = ProxyNet(proxy_width, proxy_arch, proxy_every)

    def prepare(self, context: Context) -> None:
        """Make the narrow network."""
        self._context, self._epoch, self._batch = context, 0, 0
        self._loading = Oversampling(context)
        self._net.prepare(context)

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples, in batches of B / target."""
        if epoch != self._epoch:
            self._batch = 0
        self._epoch, self._target = epoch, target
        plan = self._loading.plan(epoch, target)
        self._batches = plan.batches
        return plan

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """The rows with the largest losses of the narrow network; all of them in dense epochs."""
        del score
        rows = loaded if self._target >= 1 else self._loading.best(loaded, self._net.score(loaded).losses)
        self._net.show(rows, (self._epoch + self._batch / self._batches) / self._context.epochs)
        self._batch += 1
        yield rows

    def end_epoch(self, score: Scorer) -> None:
        """Carry the samples that were not loaded."""
        del score
        self._loading.commit()

    def scored_share(self, target: float) -> float:
        """The narrow network's operations, as its width tells."""
        return 0.0 if target >= 1 else self._net.share(target)

    def state_dict(self) -> dict[str, Any]:
        """The narrow network and the samples that wait; valid in the middle of an epoch."""
        return {
            "net": self._net.state_dict(),
            "loading": self._loading.state_dict(),
            "epoch": self._epoch,
            "batch": self._batch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._net.load_state_dict(state["net"])
        self._loading.load_state_dict(state["loading"])
        self._epoch, self._batch = state["epoch"], state["batch"]
