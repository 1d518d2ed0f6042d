"""Adaptive sparse training in two passes, as published: a scoring pass over every batch, then a training pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Count, Rate
from ast_experiments.selection.batch_gate import BatchGate
from ast_experiments.selection.batch_queue import BatchQueue
from ast_experiments.selection.context import Scorer
from ast_experiments.selection.control.controller import AVERAGED, Controller
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.numeric import Number
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.proxy_model import ProxyNet
from ast_experiments.selection.significance import Significance, score_batch


class ASTFresh(Method):
    """Scores every row of every batch with a forward pass and trains those that pass the gate in a second pass.

    The scores are read back to the host once per batch, because the number of active rows decides the shape of the
    second pass; with an exact controller and one process they are not. With `packing`, active rows wait until they fill
    a batch, and a batch without active rows needs no fallback. The scoring pass can be made cheaper: with smaller
    images, or by a narrow proxy network.

    The loss is the mean over the active rows of all ranks. The ranks of a data-parallel run exchange their scores, and
    all of them gate the whole batch.

    Args:
        controller: Moves the threshold, once per batch.
        significance: Scores the rows.
        packing: Whether active rows wait until they fill a batch; None means yes, except with the published
            controllers, whose gates and fallbacks are designed to train some rows of every batch.
        score_mode: Mode of the network in the scoring pass. `train` is the published one: dropout acts and
            BatchNorm statistics move. `eval` leaves them alone.
        score_size: Pixels that images are shrunk to for scoring; None takes them as they are.
        score_net: The run's `own` network scores, or a `proxy`.
        proxy_width: Share of the channels of the run's network that the proxy has.
        proxy_arch: An architecture of timm as proxy instead.
        proxy_every: The proxy learns from one of this many trained batches.

    Raises:
        ConfigError: If settings of the proxy are given without one, or the mode of the network with one.
    """

    scoring = "gather"
    keeps_history = False
    averaged = AVERAGED
    saved = ("_epoch", "_batch", "_since")

    def __init__(
        self,
        controller: Controller[Any],
        significance: Significance,
        *,
        packing: bool | None = None,
        score_mode: Literal["train", "eval"] = "eval",
        score_size: Count | None = None,
        score_net: Literal["own", "proxy"] = "own",
        proxy_width: Rate = 0.25,
        proxy_arch: str | None = None,
        proxy_every: Count = 4,
    ) -> None:
        if score_net == "proxy":
            self.refuse_unused("method.score_net=proxy", score_mode=score_mode)
        else:
            self.refuse_unused(
                "method.score_net=own", proxy_width=proxy_width, proxy_arch=proxy_arch, proxy_every=proxy_every
            )
        self._controller, self._significance = controller, significance
        self._packing = not controller.trains_every_batch if packing is None else packing
        self.fills_batches = self._packing
        self._mode, self._size, self._proxied = score_mode, score_size, score_net == "proxy"
        self._proxy_settings = proxy_width, proxy_arch, proxy_every

    def prepare(self) -> None:
        """Makes gate, queue and proxy.

        Raises:
            ConfigError: If images would not be smaller for scoring.
        """
        c = self.context
        self._epoch, self._batch = 0, 0
        self._since: list[dict[str, float]] = []  # with packing, the shares of the batches gated since the last step
        self._queue = BatchQueue(c) if self._packing else None
        fallback = not self._packing or self._controller.counts_fallback
        self._gate = BatchGate(c, self._controller, on_host=True, fallback=fallback)
        self._proxy = ProxyNet(c, *self._proxy_settings, self._size) if self._proxied else None
        self._pixels = 1.0
        if self._size is not None:
            full = c.fetch(torch.zeros(1, dtype=torch.int64), c.epochs - 1).images.shape[-1]  # the largest of the run
            if self._size >= full:
                raise ConfigError(
                    f"method.score_size: {self._size} is not less than the images' {full} pixels; "
                    f"type method.score_size={full // 2}"
                )
            self._pixels = (self._size / full) ** 2

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders all samples at random; `select` chooses batch by batch."""
        del history
        if epoch != self._epoch:
            self._batch = 0
        self._epoch, self._target = epoch, target
        self._gate.begin(epoch, target)
        return self.train_all(epoch)

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """Yields the active rows, in full batches if they are packed; in dense epochs all rows."""
        self._batch += 1
        dense = self._target >= 1
        rows = loaded if dense else self._active(loaded, score)
        if self._queue is None:
            if rows.rows:
                yield rows
            return
        for batch in self._queue.pass_on(rows, self._epoch, flush=dense and self._batch == self.planned.batches):
            yield batch
            self._since.clear()

    def _active(self, loaded: Batch, score: Scorer) -> Batch:
        """Returns this rank's active rows."""
        if self._proxy is not None:
            outputs = self._proxy.score(loaded)
        else:
            outputs = score(loaded, mode=self._mode, size=self._size)
        scores = distributed.gather_rows(score_batch(self._significance, loaded, outputs), loaded.rows)
        known = self._controller.exact and distributed.size() == 1
        active, total = self._gate.decide(scores if known else scores.cpu())
        if self._queue is not None:
            self._since.append({key: float(self._gate.signals[key]) for key in AVERAGED})
        own = active[distributed.shard(len(active))]
        count = total if known else own.sum()
        rows = own.byte().argsort(descending=True, stable=True)[: int(count)]
        return loaded.take(rows.to(loaded.ids.device), int(total))

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Lets the proxy learn from a trained batch."""
        del outputs
        if self._proxy is not None:
            done = self._epoch + (self._batch - 1) / self.planned.batches
            self._proxy.show(batch, done / self.context.epochs)

    def signals(self) -> Mapping[str, Number]:
        """Returns the control signals of the last batch.

        With packing the shares are means over the batches that were gated since the last step.
        """
        signals: dict[str, Number] = {} if self._queue is None else {"picked": self._queue.picked}
        if self._target < 1:
            signals |= self._gate.signals
            for key in AVERAGED if self._since else ():
                signals[key] = sum(gated[key] for gated in self._since) / len(self._since)
        return signals

    def scored_share(self, target: float) -> float:
        """Returns one pass per offered row; less at a reduced size or by a proxy, estimated from its width."""
        if target >= 1:
            return 0.0
        return self._pixels * (1.0 if self._proxy is None else self._proxy.share(target))

    def least_share(self, rate: float) -> float:
        """Returns 1: active rows of several epochs may fill a batch."""
        del rate
        return 1.0

    def facts(self) -> Mapping[str, Any]:
        """Returns the controller's guarantee and the rates it held."""
        return self._gate.facts()
