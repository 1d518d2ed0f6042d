"""Adaptive sparse training on stale scores: the whole epoch is planned before a sample is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from torch import Tensor

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Share
from ast_experiments.selection import sampling
from ast_experiments.selection.control.controller import AVERAGED, Controller, State
from ast_experiments.selection.control.gates import exact_count
from ast_experiments.selection.control.statistics import RateStatistics
from ast_experiments.selection.control.stream import control_trace, gate_stream
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.control.windows import Windows, explore
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.label_trust import LabelTrust
from ast_experiments.selection.method import Method
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.significance import Significance, score_batch

EXPLORE, GATE, PICK = 2, 3, 4

REPEATED = 0.4
"""Share of repeated rows from which on all rows are drawn uniformly."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What one epoch hands to the next.

    Attributes:
        control: The controller's state; None before control begins.
        remainder: Fraction of a row left over by exact counts.
        exploration_remainder: Fraction of a row left over by exploration.
        statistics: Measured share so far.
    """

    control: State | None = None
    remainder: float = 0.0
    exploration_remainder: float = 0.0
    statistics: RateStatistics = field(default_factory=RateStatistics)


class Commits(Staged[Committed]):
    """What the epochs hand on, in the form of checkpoints.

    Args:
        controller: Knows the type of its state.
    """

    def __init__(self, controller: Controller[Any]) -> None:
        super().__init__(Committed())
        self._controller = controller

    def state_dict(self) -> dict[str, Any]:
        """Returns controller state, remainders and statistics."""
        now = self.now
        return {
            "control": None if now.control is None else now.control._asdict(),
            "remainder": now.remainder,
            "exploration_remainder": now.exploration_remainder,
            "statistics": now.statistics._asdict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        control = None if state["control"] is None else self._controller.restore(state["control"])
        statistics = RateStatistics(**state["statistics"])
        self.now = self.next = Committed(**{**state, "control": control, "statistics": statistics})


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


class AST(Method):
    """Chooses from the score that each sample got when it was last trained.

    An epoch is one permutation of the samples. The `threshold` pick streams their scores through the controller,
    window by window, and adds an exact number of rows drawn uniformly from those that did not pass. The other picks
    take an exact share of the whole epoch: `topk`, the reference, its highest scores; `proportional` draws rows in
    proportion to score ** temperature. Both add uniform rows likewise.

    With `reweight` the chance p of each row to be picked is known, and its loss is weighted with rate / p
    (Horvitz-Thompson), so that the expected gradient is that of training on everything. The uniform share is part of
    the chance: no weight is above 1 / exploration.

    Picked rows make full batches only. Leftover rows head the next epoch's plan and are not picked again in it. There
    is no scoring pass, and skipped rows are never loaded. Until every sample has a score, rows are drawn uniformly,
    those without a score first, and the controller waits.

    Args:
        controller: Moves the threshold; only used by that pick.
        significance: Scores the trained rows.
        pick: `threshold`, `topk` or `proportional`.
        exploration: Share of the active rows that is drawn uniformly, in [0, 1].
        window: Rows that the controller sees at a time.
        temperature: Exponent of `proportional`.
        reweight: Whether `proportional` weighs the losses.
        noise_robust: Whether wrong labels are allowed for (`LabelTrust`): a score is scaled with the chance that the
            label is right, and the more labels are wrong, the more rows are drawn uniformly.
        repeat_robust: Whether more rows are drawn uniformly the more rows repeat others: few different images are then
            trained many times, where choosing by the loss has cost accuracy.
    """

    rate_schedule = "auto"
    waits_for_scores = True
    planned_on_rank_0 = True
    averaged = AVERAGED

    def __init__(
        self,
        controller: Controller[Any],
        significance: Significance,
        *,
        pick: Literal["threshold", "topk", "proportional"] = "threshold",
        exploration: Share = 0.3,
        window: Annotated[int, Ge(1), Le(4096)] = 32,
        temperature: Annotated[float, Ge(0), Le(10)] = 1.0,
        reweight: bool = False,
        noise_robust: bool = True,
        repeat_robust: bool = True,
    ) -> None:
        if reweight and pick != "proportional":
            raise ConfigError(
                f"method.reweight: needs the chance of every row to be picked, which method.pick={pick} does not know; "
                "type method.pick=proportional or method.reweight=false"
            )
        if reweight and exploration == 0:
            raise ConfigError(
                "method.exploration: with method.reweight=true no weight is above 1 / exploration, so it may not be 0; "
                "type e.g. method.exploration=0.1"
            )
        if pick != "threshold":
            self.refuse_unused(f"method.pick={pick}", window=window)
        if pick != "proportional":
            self.refuse_unused(f"method.pick={pick}", temperature=temperature)
        self.uses_controller = pick == "threshold"
        self._controller: Controller[Any] = controller if self.uses_controller else TopK()
        self._significance = significance
        self._pick, self._exploration, self._window = pick, exploration, window
        self._temperature, self._reweight = temperature, reweight
        self.trust = LabelTrust() if noise_robust else None
        self._repeat_robust, self._repeated = repeat_robust, 0.0

    def prepare(self) -> None:
        """Starts without control, and counts the rows that repeat others."""
        self.committed = Commits(self._controller)
        self._repeated = self.context.repeated_share() if self._repeat_robust else 0.0

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Picks rows at the target rate, in full batches."""
        self._epoch = epoch
        order = self.carry.offered(self.permutation(epoch, np.int32))  # half of the memory; ids of a plan are int64
        unseen, scores = history.unseen, history.scores[order]
        if unseen.any() and unseen[order].any():
            choice = self._uniform(unseen[order], target)
        elif self._pick == "threshold":
            choice = self._threshold(scores, target)
        else:
            choice = self._exact(scores, target)
        weights = choice.weights
        if self._reweight and weights is None:
            weights = np.ones(len(order))
        self.committed.next = choice.after
        plan = self.carry.plan(order, choice.mask, weights, whole=False)
        if choice.signals is None or not plan.batches or plan.offered_by_batch is None:
            return plan
        return replace(plan, trace={**plan.trace, **choice.signals(np.maximum(plan.offered_by_batch - 1, 0))})

    def _stream(self, purpose: int) -> np.random.Generator:
        return self.random(purpose, self._epoch)

    def _uniform(self, unseen: np.ndarray, target: float) -> Choice:
        count, remainder = exact_count(target, len(unseen), self.committed.now.remainder)
        losses = np.where(unseen, np.nan, 0.0)
        mask = sampling.choose_by_loss(losses, count, self._stream(EXPLORE))
        return Choice(mask, replace(self.committed.now, remainder=remainder))

    @property
    def _uniform_share(self) -> float:
        """Share of the active rows that is drawn uniformly: all if a fifth of the labels is wrong, or 40 % repeat."""
        doubt = 0.0 if self.trust is None else self.trust.doubt
        return max(self._exploration, doubt, min(1.0, self._repeated / REPEATED))

    def _exact(self, scores: np.ndarray, target: float) -> Choice:
        now, rows = self.committed.now, len(scores)
        count, remainder = exact_count(target, rows, now.remainder)
        extra, exploration_remainder = exact_count(self._uniform_share, count, now.exploration_remainder)
        weights = None
        if self._reweight:
            mask, weights = sampling.choose_with_weights(
                scores, count, self._stream(PICK), temperature=self._temperature, uniform=self._uniform_share
            )
            exploration_remainder = now.exploration_remainder
        else:
            mask = sampling.choose_by_loss(
                scores,
                count,
                self._stream(PICK),
                temperature=None if self._pick == "topk" else self._temperature,
                uniform=extra,
                uniform_rng=self._stream(EXPLORE),
            )
        picked = int(np.count_nonzero(mask))
        statistics, remainder = now.statistics.add(self._controller, picked, rows, target), remainder + count - picked
        return Choice(
            mask,
            replace(now, remainder=remainder, exploration_remainder=exploration_remainder, statistics=statistics),
            weights,
        )

    def _threshold(self, scores: np.ndarray, target: float) -> Choice:
        explored = self._uniform_share * target
        choice = Choice(np.zeros(len(scores), dtype=bool), self.committed.now)
        if target > explored:
            choice = self._gated(scores, target - explored, explored)
        drawn, remainder = explore(
            choice.mask, self._window, explored, self.committed.now.exploration_remainder, self._stream(EXPLORE)
        )
        return replace(choice, mask=choice.mask | drawn, after=replace(choice.after, exploration_remainder=remainder))

    def _gated(self, scores: np.ndarray, target: float, explored: float) -> Choice:
        now, control = self.committed.now, self._controller
        state = control.begin_epoch(now.control, scores, target, frozen=True)
        run = gate_stream(control, state, scores, self._window, target, self._stream(GATE))
        statistics = now.statistics.add_all(control, run.active, Windows(len(scores), self._window).sizes, target)
        signals = partial(control_trace, control, run, self._window, explored=explored)
        return Choice(run.mask, replace(now, control=run.final, statistics=statistics), signals=signals)

    def score(self, batch: Batch, outputs: Outputs) -> Tensor:
        """Returns the significance of the trained rows, scaled with the chance that their labels are right."""
        scores = score_batch(self._significance, batch, outputs)
        chance = None if self.trust is None else self.trust.of(outputs.logits, batch.labels)
        return scores if chance is None else scores * chance

    def facts(self) -> Mapping[str, Any]:
        """Returns the controller's guarantee, the rates it held, repeated rows, and what is drawn uniformly by now."""
        facts = dict(self.committed.now.statistics.facts(self._controller))
        if self._repeat_robust:
            facts["repeated_share"] = self._repeated
        if self.trust is not None or self._repeat_robust:
            facts["uniform_share"] = self._uniform_share
        return facts
