"""Adaptive sparse training on stale scores: the whole epoch is planned before a sample is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection import sampling
from ast_experiments.selection.batching import Carry
from ast_experiments.selection.control.controller import Controller, State
from ast_experiments.selection.control.gates import exact_count
from ast_experiments.selection.control.statistics import RateStatistics
from ast_experiments.selection.control.stream import control_trace, gate_stream
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.control.windows import Windows, explore
from ast_experiments.selection.history import ScoreTable
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.significance import Significance

ORDER, EXPLORE, GATE, PICK = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Committed:
    """What one epoch hands to the next.

    Attributes:
        control: The controller's state; None before control begins.
        owed: Fraction of a row owed by exact counts.
        owed_exploration: Rows owed by exploration.
        statistics: Measured share so far.
    """

    control: State | None = None
    owed: float = 0.0
    owed_exploration: float = 0.0
    statistics: RateStatistics = field(default_factory=RateStatistics)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the offered rows an epoch trains.

    Attributes:
        mask: Bool, shape (rows,).
        after: What is committed with it.
        weights: Loss weights of all rows, shape (rows,); None means all ones.
        signals: Control signals, if there was control, given the position of each batch's last row, shape (batches,).
    """

    mask: np.ndarray
    after: Committed
    weights: np.ndarray | None = None
    signals: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None


class Stale:
    """Chooses from the score that each sample got when it was last trained.

    An epoch is one permutation of the samples. The `threshold` pick streams their scores through the controller,
    window by window, and adds an exact number of rows drawn uniformly from those that did not pass. The other picks
    take an exact share of the whole epoch: `topk`, the reference, its highest scores; `proportional` draws rows in
    proportion to score ** temperature. Both add uniform rows likewise.

    With `reweight` the chance p of each row to be picked is known, and its loss is weighted with rate / p
    (Horvitz-Thompson), so that the expected gradient is that of training on everything. The uniform share is part of
    the chance: no weight is above 1 / exploration.

    Picked rows make full batches only; those that fill none head the next epoch's plan and are not picked again in
    it. There is no scoring pass, and what is skipped is never loaded. Until every sample has a score, rows are drawn
    uniformly, those without a score first, and the controller waits.

    Args:
        controller: Moves the threshold; only used by that pick.
        significance: Scores the trained rows.
        pick: `threshold`, `topk` or `proportional`.
        exploration: Share of the active rows that is drawn uniformly, in [0, 1].
        window: Rows that the controller sees at a time.
        temperature: Exponent of `proportional`.
        reweight: Whether `proportional` weighs the losses.
    """

    def __init__(
        self,
        controller: Controller[Any],
        significance: Significance,
        *,
        pick: Literal["threshold", "topk", "proportional"] = "threshold",
        exploration: float = 0.3,
        window: int = 32,
        temperature: float = 1.0,
        reweight: bool = False,
    ) -> None:
        self._controller: Controller[Any] = controller if pick == "threshold" else TopK()
        self._significance = significance
        self._pick, self._exploration, self._window = pick, exploration, window
        self._temperature, self._reweight = temperature, reweight
        self._carry = Carry()
        self._now = self._next = Committed()

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context = context
        self._epoch = 0
        self.table = ScoreTable(context.samples, context.device)

    def plan(self, epoch: int, target: float) -> Plan:
        """Pick rows at the target rate, in full batches."""
        c, self._epoch = self._context, epoch
        order = self._carry.offered(generator(c.seed, ORDER, epoch).permutation(c.samples))
        if target >= 1:
            self._next = self._now
            return self._carry.plan(order, np.ones(len(order), dtype=bool), c.batch_size, whole=True)
        unseen = self.table.unseen
        if unseen.any() and unseen[order].any():
            choice = self._uniform(unseen[order], target)
        elif self._pick == "threshold":
            choice = self._threshold(order, target)
        else:
            choice = self._exact(self.table.scores[order], target)
        weights = choice.weights
        if self._reweight and weights is None:
            weights = np.ones(len(order))
        self._next = choice.after
        plan = self._carry.plan(order, choice.mask, c.batch_size, weights, whole=False)
        if choice.signals is None or not plan.batches or plan.offered_by_batch is None:
            return plan
        return replace(plan, trace={**plan.trace, **choice.signals(np.maximum(plan.offered_by_batch - 1, 0))})

    def _random(self, purpose: int) -> np.random.Generator:
        return generator(self._context.seed, purpose, self._epoch)

    def _uniform(self, unseen: np.ndarray, target: float) -> Choice:
        count, owed = exact_count(target, len(unseen), self._now.owed)
        mask = sampling.top_k(unseen + self._random(EXPLORE).random(len(unseen)), count)
        return Choice(mask, replace(self._now, owed=owed))

    def _exact(self, scores: np.ndarray, target: float) -> Choice:
        now, rows = self._now, len(scores)
        count, owed = exact_count(target, rows, now.owed)
        extra, owed_exploration = exact_count(self._exploration, count, now.owed_exploration)
        weights = None
        if self._reweight:
            chances = sampling.inclusion_probabilities(scores, self._temperature, count, self._exploration)
            mask = sampling.systematic_sample(chances, count, self._random(PICK))
            owed_exploration = now.owed_exploration
            weights = count / rows / chances
        else:
            if self._pick == "topk":
                mask = sampling.top_k(scores, count - extra)
            else:
                mask = sampling.proportional_sample(scores, self._temperature, count - extra, self._random(PICK))
            mask = sampling.add_uniform(mask, extra, self._random(EXPLORE))
        picked = int(np.count_nonzero(mask))
        statistics, owed = now.statistics.add(self._controller, picked, rows, target), owed + count - picked
        return Choice(mask, replace(now, owed=owed, owed_exploration=owed_exploration, statistics=statistics), weights)

    def _threshold(self, order: np.ndarray, target: float) -> Choice:
        explored = self._exploration * target
        choice = Choice(np.zeros(len(order), dtype=bool), self._now)
        if target > explored:
            choice = self._gated(self.table.scores[order], target - explored, explored)
        drawn, owed = explore(choice.mask, self._window, explored, self._now.owed_exploration, self._random(EXPLORE))
        return replace(choice, mask=choice.mask | drawn, after=replace(choice.after, owed_exploration=owed))

    def _gated(self, scores: np.ndarray, target: float, explored: float) -> Choice:
        now, control = self._now, self._controller
        state = control.begin_epoch(now.control, scores, target, frozen=True)
        run = gate_stream(control, state, scores, self._window, target, self._random(GATE))
        statistics = now.statistics.add_all(control, run.active, Windows(len(scores), self._window).sizes, target)
        signals = partial(control_trace, control, run, self._window, explored=explored)
        return Choice(run.mask, replace(now, control=run.final, statistics=statistics), signals=signals)

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Score the trained rows into the pending column."""
        self.table.record(batch.ids, self._significance(outputs.losses, outputs.logits, batch.images))

    def end_epoch(self, score: Scorer) -> None:
        """Commit scores, controller state and carried rows."""
        del score
        self.table.commit(self._epoch)
        self._carry.commit()
        self._now = self._next

    def facts(self) -> Mapping[str, Any]:
        """What the controller promises, and what came of it."""
        return self._now.statistics.facts(self._controller)

    def state_dict(self) -> dict[str, Any]:
        """Score table, controller state, carried rows, statistics."""
        now = self._now
        return {
            "table": self.table.state_dict(),
            "control": None if now.control is None else now.control._asdict(),
            "carried": self._carry.state_dict(),
            "owed": now.owed,
            "owed_exploration": now.owed_exploration,
            "statistics": now.statistics._asdict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.table.load_state_dict(state["table"])
        self._carry.load_state_dict(state["carried"])
        self._now = Committed(
            control=None if state["control"] is None else self._controller.restore(state["control"]),
            owed=state["owed"],
            owed_exploration=state["owed_exploration"],
            statistics=RateStatistics(**state["statistics"]),
        )
