"""Adaptive sparse training on fresh scores: every loaded batch is scored, then gated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.batch_queue import Packing
from ast_experiments.selection.control.controller import AVERAGED, NO_SCORES, Controller, State
from ast_experiments.selection.control.statistics import RateStatistics
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import Number, generator
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.proxy_model import ProxyNet
from ast_experiments.selection.significance import Significance

ORDER, FALLBACK, GATE = 1, 2, 3
RECENT = 4096
UNMIXABLE = (
    "method.scoring=masked chooses by the losses of the pass that it trains, in which the images are mixed already; "
    "type method.scoring=gather or method.scoring=stale"
)


class Fresh:
    """Scores every row of every batch and trains those that pass the gate.

    `gather` scores with a forward pass of its own and trains the active rows in a second one. It reads the scores back
    to the host once a batch, because the number of active rows decides the shape of the second pass; not in one
    process with an exact count. With `packing` they wait until they fill a batch, and a batch without active rows
    needs no fallback. The scoring pass can be made cheaper: with smaller images, or by a narrow proxy network.

    `masked` makes one forward pass and multiplies the losses of inactive rows by zero, so it saves no work; it never
    waits for the device, except with a gate that walks over rows one by one.

    Loss weights are scaled such that the loss is the mean over the active rows, on all ranks, in both. The ranks of a
    data-parallel run exchange their scores, and all of them gate the whole batch.

    Args:
        controller: Moves the threshold, once a batch.
        significance: Scores the rows.
        execution: `gather` or `masked`.
        packing: Whether active rows wait for a full batch; None says yes, but for the published laws, whose gates and
            fallbacks are made for training something of every batch.
        score_mode: Mode of the network in the scoring pass. `train` is what was published: dropout acts and
            BatchNorm statistics move; `eval` leaves them alone.
        score_size: Pixels that images are shrunk to for scoring; None takes them as they are.
        score_net: The run's `own` network scores, or a `proxy`.
        proxy_width: Share of the channels of the run's network that the proxy has.
        proxy_arch: An architecture of timm as proxy instead.
        proxy_every: Of so many trained batches the proxy learns from one.
    """

    def __init__(
        self,
        controller: Controller[Any],
        significance: Significance,
        *,
        execution: Literal["gather", "masked"] = "gather",
        packing: bool | None = None,
        score_mode: Literal["train", "eval"] = "eval",
        score_size: int | None = None,
        score_net: Literal["own", "proxy"] = "own",
        proxy_width: float = 0.25,
        proxy_arch: str | None = None,
        proxy_every: int = 4,
    ) -> None:
        self._controller, self._significance, self._gather = controller, significance, execution == "gather"
        self._packing = self._gather and (not controller.trains_every_batch if packing is None else packing)
        self._mode, self._size = score_mode, score_size
        proxied = score_net == "proxy"
        self._proxy = ProxyNet(proxy_width, proxy_arch, proxy_every, score_size) if proxied else None
        self._state: State | None = None
        self._statistics = RateStatistics()
        self._signals: dict[str, Number] = {}
        self._since: list[dict[str, float]] = []  # with packing, what was gated since the last step
        self._pixels = 1.0

    def prepare(self, context: Context) -> None:
        """Make room for waiting rows and for recent scores, which some controllers scale their gains by.

        Raises:
            ConfigError: If images would not be smaller for scoring.
        """
        self._context = context
        self._recent = torch.full((RECENT,), torch.nan, device=context.device)
        self._epoch, self._target, self._batch, self._batches, self._renewed = 0, 1.0, 0, 0, True
        self._queue = Packing(context.batch_size) if self._packing else None
        if self._proxy is not None:
            self._proxy.prepare(context)
        if self._size is not None:
            full = context.fetch(torch.zeros(1, dtype=torch.int64), 0).images.shape[-1]
            if self._size >= full:
                raise ConfigError(
                    f"method.score_size: {self._size} is not less than the images' {full} pixels; "
                    f"type method.score_size={full // 2}"
                )
            self._pixels = (self._size / full) ** 2

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples in a new order; the choice is made batch by batch."""
        c = self._context
        if epoch != self._epoch or target != self._target:
            self._batch, self._renewed = 0, False
        self._epoch, self._target = epoch, target
        ids = generator(c.seed, ORDER, epoch).permutation(c.samples)
        plan = Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=True)
        self._batches = plan.batches
        return plan

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """With `gather`, the active rows; with `masked` or in dense epochs, all of them."""
        self._batch += 1
        dense = self._target >= 1
        rows = loaded if dense or not self._gather else self._active(loaded, score)
        if self._queue is None:
            if rows.rows:
                yield rows
            return
        for batch in self._queue.pass_on(rows, self._epoch, flush=dense and self._batch == self._batches):
            yield batch
            self._since.clear()

    def _active(self, loaded: Batch, score: Scorer) -> Batch:
        """This rank's active rows."""
        if self._proxy is not None:
            outputs = self._proxy.score(loaded)
        else:
            outputs = score(loaded, mode=self._mode, size=self._size)
        scores = distributed.gather_rows(self._significance(outputs.losses, outputs.logits, loaded.images), loaded.rows)
        known = self._controller.exact and distributed.size() == 1
        active, total = self._decide(scores if known else scores.cpu())
        own = active[distributed.shard(len(active))]
        count = total if known else own.sum()
        rows = own.byte().argsort(descending=True, stable=True)[: int(count)]
        return loaded.take(rows.to(loaded.ids.device), int(total))

    def weigh(self, batch: Batch, outputs: Outputs) -> Tensor | None:
        """With `masked`, zero for inactive rows."""
        if self._target >= 1 or self._gather:
            return batch.weights
        scores = distributed.gather_rows(self._significance(outputs.losses, outputs.logits, batch.images), batch.rows)
        active = self._decide(scores)[0].to(outputs.losses.dtype)
        weights = active[distributed.shard(len(active))] * (len(active) / active.sum().clamp(min=1))
        return weights if batch.weights is None else weights * batch.weights

    def _decide(self, scores: Tensor) -> tuple[Tensor, Number]:
        """Gate a batch (n,), let the controller observe it; returns the mask (n,) and how many rows it holds."""
        c, control = self._context, self._controller
        state = self._state
        n, index = len(scores), self._batch - 1
        if control.needs_scores:
            if state is None or not self._renewed:
                seen = self._recent[~self._recent.isnan()]
                state = control.begin_epoch(state, (seen if len(seen) else scores).cpu().numpy(), self._target)
            fits = scores[:RECENT].to(self._recent.device, torch.float32)
            first = index * c.batch_size
            self._recent[torch.arange(first, first + len(fits), device=fits.device) % RECENT] = fits
        elif state is None:
            state = control.begin_epoch(None, NO_SCORES, self._target)
        self._renewed = True
        passed = control.gate(state, scores, self._target, generator(c.seed, GATE, self._epoch, index))
        active, total, fell_back = passed.mask, passed.active, 0.0
        if control.fallback.rows and (self._queue is None or control.counts_fallback):
            keys = generator(c.seed, FALLBACK, self._epoch, index).random(n, dtype="float32")
            keys = torch.from_numpy(keys).to(scores.device, non_blocking=True)
            active, used = control.fallback.apply(passed.mask, scores, keys)
            total, fell_back = active.sum(), used.float()
        self._state = control.observe(
            passed.state, self._number(total if control.counts_fallback else passed.active), n, self._target
        )
        self._statistics = self._statistics.add(control, self._number(passed.active), n, self._target)
        self._signals = {
            "control/threshold": passed.threshold,
            "control/gate_share": passed.active / n,
            "control/fallback": fell_back,
            **control.signals(self._state),
        }
        if self._queue is not None:
            self._since.append({key: float(self._signals[key]) for key in AVERAGED})
        return active, total

    def _number(self, count: Number) -> Number:
        """A count as the laws take it: a plain number with `gather`, which has its scores on the host."""
        if not isinstance(count, Tensor):
            return count
        # The laws accumulate over a whole run: float64 where the device has it.
        return (
            count.item() if self._gather else count.to(torch.float32 if count.device.type == "mps" else torch.float64)
        )

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """The proxy may learn from what was trained."""
        del outputs
        if self._proxy is not None:
            done = self._epoch + (self._batch - 1) / self._batches
            self._proxy.show(batch, done / self._context.epochs)

    def signals(self) -> Mapping[str, Number]:
        """Threshold, smoothed rate, gate share, terms, saturation and fallback of the last batch.

        With packing the three shares are means over the batches that were gated since the last step.
        """
        signals: dict[str, Number] = {} if self._queue is None else {"picked": self._queue.picked}
        if self._target < 1:
            signals |= self._signals
            for key in AVERAGED if self._since else ():
                signals[key] = sum(gated[key] for gated in self._since) / len(self._since)
        return signals

    def scored_share(self, target: float) -> float:
        """One pass for each row offered with `gather`; less at a reduced size or by a proxy, as its width tells."""
        if not self._gather or target >= 1:
            return 0.0
        return self._pixels * (1.0 if self._proxy is None else self._proxy.share(target))

    def facts(self) -> Mapping[str, Any]:
        """What the controller promises, and what it kept."""
        return self._statistics.facts(self._controller)

    def state_dict(self) -> dict[str, Any]:
        """Controller state, recent scores, waiting rows, proxy; valid in the middle of an epoch."""
        return {
            "control": None if self._state is None else _on_host(self._state),
            "statistics": _on_host(self._statistics),
            "recent": self._recent.cpu().clone(),
            "batch": self._batch,
            "epoch": self._epoch,
            "target": self._target,
            "renewed": self._renewed,
            "since": [dict(gated) for gated in self._since],
            "queue": {} if self._queue is None else self._queue.state_dict(),
            "proxy": {} if self._proxy is None else self._proxy.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        device = self._context.device
        self._state = None if state["control"] is None else self._controller.restore(_moved(state["control"], device))
        self._statistics = RateStatistics(**_moved(state["statistics"], device))
        self._recent.copy_(state["recent"])
        self._batch, self._epoch = state["batch"], state["epoch"]
        self._target, self._renewed = state["target"], state["renewed"]
        self._since = [dict(gated) for gated in state["since"]]
        if self._queue is not None:
            self._queue.load_state_dict(state["queue"], self._context.fetch)
        if self._proxy is not None:
            self._proxy.load_state_dict(state["proxy"])


def _on_host(values: State | RateStatistics) -> dict[str, Any]:
    return _moved(values._asdict(), torch.device("cpu"))


def _moved(values: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """0-d tensors stay tensors: the laws round differently on plain numbers."""
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
