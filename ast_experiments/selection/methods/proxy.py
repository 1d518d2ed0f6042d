"""A narrow proxy network chooses which rows of a loaded batch are trained."""

from __future__ import annotations

from collections.abc import Iterator

from ast_experiments.core.batch import Batch
from ast_experiments.core.ranges import Count, Rate
from ast_experiments.selection.context import Scorer
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.large_batch import LargeBatches
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.proxy_model import ProxyNet


class Proxy(Method):
    """Trains the rows of each loaded batch on which a narrow network has the largest losses.

    After airbench96 (https://github.com/KellerJordan/cifar10-airbench). The narrow network learns from the same rows
    as the run's own network, but only from every fourth batch. In the source it is trained in an earlier run and leaves
    its choices behind. It never sees the other network, so its choices are the same in one run. It scores with its
    running BatchNorm statistics, where the source uses those of the batch.

    Args:
        proxy_width: Share of the channels of the run's network that the narrow network has.
        proxy_arch: An architecture of timm to use instead.
        proxy_every: The narrow network learns from one of this many batches.
    """

    rate = 0.5
    scoring = "fresh"
    keeps_history = False
    saved = ("_epoch", "_batch")

    def __init__(self, *, proxy_width: Rate = 0.25, proxy_arch: str | None = None, proxy_every: Count = 4) -> None:
        self._make = lambda: ProxyNet(self.context, proxy_width, proxy_arch, proxy_every)

    def prepare(self) -> None:
        """Makes the narrow network."""
        self._epoch = self._batch = 0
        self._loading = LargeBatches(self.context)
        self._net = self._make()

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders all samples, in batches of B / target."""
        del history
        if epoch != self._epoch:
            self._batch = 0
        self._epoch, self._target = epoch, target
        return self._loading.plan(self.permutation(epoch), target)

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """Yields the rows with the largest losses of the narrow network; all of them in dense epochs."""
        del score
        rows = loaded if self._target >= 1 else self._loading.best(loaded, self._net.score(loaded).losses)
        self._net.show(rows, (self._epoch + self._batch / self.planned.batches) / self.context.epochs)
        self._batch += 1
        yield rows

    def scored_share(self, target: float) -> float:
        """Returns the operations of the narrow network, estimated from its width."""
        return 0.0 if target >= 1 else self._net.share(target)
