"""Adaptive sparse training on stale scores: the whole epoch is planned before a sample is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from ast_experiments.selection.control import Controller, ControlState
from ast_experiments.selection.gates import exact_count
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.planning import batch_trace, control_trace, explore, stream
from ast_experiments.selection.protocol import Context, Scorer
from ast_experiments.selection.scores import ScoreTable
from ast_experiments.selection.significance import Significance
from ast_experiments.selection.types import Batch, Outputs, Plan

ORDER, EXPLORE, GATE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Committed:
    """What one epoch hands to the next.

    Attributes:
        control: The controller's state; None before control begins.
        carried: Ids of picked rows that filled no batch, int64.
        owed: Fraction of a row owed by exact counts.
        owed_exploration: Fraction of a row owed by exploration.
    """

    control: ControlState | None = None
    carried: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    owed: float = 0.0
    owed_exploration: float = 0.0


class Stale:
    """Chooses from the score that each sample got when it was last trained.

    An epoch is one permutation of the samples. The `threshold` pick streams their scores through the controller,
    window by window, and adds an exact number of rows drawn uniformly from those that did not pass; `topk` takes the
    exact top share and is the reference. Picked rows make full batches only; those that fill none head the next
    epoch's plan and are not picked again in it. There is no scoring pass, and what is skipped is never loaded.

    Until every sample has a score, rows are drawn uniformly, those without a score first, and the controller waits.

    Args:
        controller: Moves the threshold; unused by `topk`.
        significance: Scores the trained rows.
        pick: `threshold` or `topk`.
        exploration: Share of the active rows that is drawn uniformly, in [0, 1].
        window: Rows that the controller sees at a time.
    """

    def __init__(
        self,
        controller: Controller,
        significance: Significance,
        *,
        pick: Literal["threshold", "topk"] = "threshold",
        exploration: float = 0.3,
        window: int = 32,
    ) -> None:
        self._controller, self._significance = controller, significance
        self._pick, self._exploration, self._window = pick, exploration, window
        self._now = self._next = Committed()

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context = context
        self._epoch = 0
        self.table = ScoreTable(context.samples, context.device)

    def plan(self, epoch: int, target: float) -> Plan:
        """Pick rows at the target rate, in full batches."""
        c, now = self._context, self._now
        self._epoch = epoch
        order = generator(c.seed, ORDER, epoch).permutation(c.samples)
        if len(now.carried):
            waiting = np.zeros(c.samples, dtype=bool)
            waiting[now.carried] = True
            order = order[~waiting[order]]
        if target >= 1:
            self._next = replace(now, carried=np.empty(0, dtype=np.int64))
            ids = np.concatenate([now.carried, order])
            return Plan(ids, offered=len(order), load_batch=c.batch_size, keep_short=True)
        unseen = self.table.unseen[order]
        read = None
        if unseen.any():
            mask, after = self._uniform(epoch, unseen, target)
        elif self._pick == "topk":
            mask, after = self._topk(epoch, order, target)
        else:
            mask, after, read = self._threshold(epoch, order, target)
        picked = np.flatnonzero(mask)
        queue = np.concatenate([now.carried, order[picked]])
        rows = len(queue) // c.batch_size * c.batch_size
        self._next = replace(after, carried=queue[rows:])
        positions, offered = batch_trace(picked, len(now.carried), c.batch_size, len(order))
        signals = {"picked": np.diff(np.searchsorted(picked, offered), prepend=0)}
        if read is not None and len(positions):
            signals |= read(positions)
        return Plan(
            queue[:rows],
            offered=len(order),
            load_batch=c.batch_size,
            offered_by_batch=offered,
            trace=signals,
        )

    def _uniform(self, epoch: int, unseen: np.ndarray, target: float) -> tuple[np.ndarray, Committed]:
        count, owed = exact_count(target, len(unseen), self._now.owed)
        first = np.argsort(generator(self._context.seed, EXPLORE, epoch).random(len(unseen)) - unseen)[:count]
        mask = np.zeros(len(unseen), dtype=bool)
        mask[first] = True
        return mask, replace(self._now, owed=owed)

    def _topk(self, epoch: int, order: np.ndarray, target: float) -> tuple[np.ndarray, Committed]:
        count, owed = exact_count(target, len(order), self._now.owed)
        extra, owed_exploration = exact_count(self._exploration, count, self._now.owed_exploration)
        ranked = np.argsort(-self.table.scores[order], kind="stable")
        rest = generator(self._context.seed, EXPLORE, epoch).permutation(ranked[count - extra :])
        mask = np.zeros(len(order), dtype=bool)
        mask[ranked[: count - extra]] = True
        mask[rest[:extra]] = True
        return mask, replace(self._now, owed=owed, owed_exploration=owed_exploration)

    def _threshold(
        self, epoch: int, order: np.ndarray, target: float
    ) -> tuple[np.ndarray, Committed, Callable[[np.ndarray], dict[str, np.ndarray]] | None]:
        c, now, control = self._context, self._now, self._controller
        explored = self._exploration * target
        gate_target = target - explored
        scores = self.table.scores[order]
        state = now.control or control.initial(gate_target)
        read: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None
        if gate_target <= 0:
            mask = np.zeros(len(order), dtype=bool)
        else:
            state = control.renew(state, scores, gate_target)
            run = stream(control, state, scores, self._window, gate_target, generator(c.seed, GATE, epoch))
            mask, state = run.mask, run.final

            read = partial(control_trace, control, run, self._window, explored=explored)

        rng = generator(c.seed, EXPLORE, epoch)
        drawn, owed = explore(mask, self._window, explored, now.owed_exploration, rng)
        return mask | drawn, replace(now, control=state, owed_exploration=owed), read

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Score the trained rows into the pending column."""
        self.table.record(batch.ids, self._significance(outputs.losses, outputs.logits, batch.images))

    def end_epoch(self, score: Scorer) -> None:
        """Commit scores, controller state and carried rows."""
        del score
        self.table.commit(self._epoch)
        self._now = self._next

    def state_dict(self) -> dict[str, Any]:
        """Score table, controller state, carried rows."""
        now = self._now
        return {
            "table": self.table.state_dict(),
            "control": None if now.control is None else now.control._asdict(),
            "carried": torch.from_numpy(now.carried.copy()),
            "owed": now.owed,
            "owed_exploration": now.owed_exploration,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.table.load_state_dict(state["table"])
        self._now = Committed(
            control=None if state["control"] is None else ControlState(**state["control"]),
            carried=state["carried"].numpy(),
            owed=state["owed"],
            owed_exploration=state["owed_exploration"],
        )
