"""The selection interface: a base class with one hook to write and no-op defaults for the rest.

In a data-parallel run every rank has a method of its own. `plan` decides for all ranks: rank 0 makes the plan and sends
the others their rows (`planned_on_rank_0`), or every rank makes the same one. A loaded batch holds this rank's part of
a planned batch; `Batch.rows` counts the rows of all ranks. The sample history is merged over the ranks at the end of
each epoch. Anything else a method learns it has to exchange itself, with the functions of `core.distributed`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from inspect import signature
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.batching import Carry, Remainder
from ast_experiments.selection.context import Context, RunSettings, Scorer
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.numeric import Number, generator
from ast_experiments.selection.parts import Part
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.rate_schedule import ScheduleName

NO_HOLDOUT = """\
needs samples held out from training, but there are none; type holdout=0.1, in the runs that it is compared with too"""
ORDER = 1
"""Key of the random stream that orders an epoch."""


class Method(ABC):
    """Decides which samples are trained. A subclass must write `plan` and may write any other hook.

    The settings of a method are the keyword arguments of its constructor, with annotated ranges and with defaults. An
    argument named `controller` or `significance` receives the chosen one. Everything else that the run has to know is
    declared by class attributes.

    Attributes:
        rate: Default target rate; None for a method without a target rate, which then gets no rate schedule or budget.
        rate_schedule: Default rate schedule.
        warmup_epochs: Default number of leading epochs that train every sample.
        scoring: When the scores that it chooses by are measured, for results: `stale`, in the last visit of a sample;
            `fresh`, in an extra pass over the loaded batch (`gather` and `masked` in AST's published forms); None if it
            chooses without scores.
        uniform: Whether the choice never depends on the samples, so that the method is a control.
        keeps_history: Whether the run records a score for each trained row.
        waits_for_scores: Whether rows are drawn uniformly until every sample has a score.
        needs_holdout: Whether samples must be held out from training.
        planned_on_rank_0: Whether rank 0 plans for all ranks. Only for a method whose `score` uses nothing that `plan`
            has set: other ranks call neither `plan` nor `rescore`, and keep no history. A method that writes `select`,
            `weigh`, `observe`, `signals` or `end_epoch` is planned on every rank all the same.
        trains_every_row: Whether every loaded row goes through the training pass, so that a low rate saves no work.
        fills_batches: Whether rows that it chooses from loaded batches wait until they fill one.
        unmixable: Why the method does not work with `mixup`, `cutmix` or `soft_labels`, by setting.
        uses_controller: Whether the chosen controller takes part; only asked if the constructor has one.
        averaged: Signals that a log row averages over its steps. It shows the last value of the others.
        saved: Attributes to keep in checkpoints: numbers, strings or tensors.
        context: The run; set before `prepare`.
        planned: The plan of the epoch; set by `plan`, for the other hooks.
        carry: Picked rows that filled no batch, for a method whose picks are what they are (`selection/batching.py`).
        remainder: Rows that `full_batches` left over, for a method that chooses how many rows it picks.
    """

    rate: ClassVar[float | None] = 0.4
    rate_schedule: ClassVar[ScheduleName] = "constant"
    warmup_epochs: ClassVar[int] = 0
    scoring: ClassVar[str | None] = "stale"
    uniform: ClassVar[bool] = False
    keeps_history: ClassVar[bool] = True
    waits_for_scores: ClassVar[bool] = False
    needs_holdout: ClassVar[bool] = False
    planned_on_rank_0: ClassVar[bool] = False
    trains_every_row: ClassVar[bool] = False
    unmixable: ClassVar[Mapping[str, str]] = {}
    uses_controller: bool = True
    fills_batches: bool = True
    averaged: ClassVar[frozenset[str]] = frozenset()
    saved: ClassVar[tuple[str, ...]] = ()

    context: Context
    planned: Plan
    carry: Carry
    remainder: Remainder

    # --- Hooks

    @abstractmethod
    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Decides an epoch (counted from 0) at a target rate in (0, 1].

        A pure function of the seed, the epoch, the target, the history and the committed parts: planning an epoch
        again gives the same plan.

        An epoch at a target rate of 1 trains every sample, by a plan that the run makes itself. Only a method with a
        `select` or `weigh` of its own is asked for that plan too, and these hooks must then pass on every row.
        """

    def check(self, run: RunSettings) -> None:
        """Raises `ConfigError` if the settings do not go with those of the run; called before anything is built."""
        del run

    def prepare(self) -> None:  # noqa: B027
        """Makes what the run needs, once, before the first epoch; `self.context` is set."""

    def select(self, loaded: Batch, score: Scorer) -> Iterable[Batch]:
        """Turns a loaded batch into the batches to train: none, one or several."""
        del score
        return (loaded,)

    def weigh(self, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Returns loss weights (n,) given the outputs of the training pass, or None for all ones."""
        del outputs
        return batch.weights

    def score(self, batch: Batch, outputs: Outputs) -> Tensor:
        """Returns the scores (n,) that the history keeps of a batch; losses and logits are detached."""
        del batch
        return outputs.losses

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Learns from a batch that was trained or scored again; losses and logits are detached."""
        del batch, outputs

    def signals(self) -> Mapping[str, Number]:
        """Returns signals of the last step for the log; 0-d tensors are read later."""
        return {}

    def rescore(self, epoch: int, history: SampleHistory) -> np.ndarray:
        """Returns samples (k,) to score at the end of an epoch, by forward passes that are charged."""
        del epoch, history
        return np.empty(0, dtype=np.int64)

    def end_epoch(self, epoch: int) -> None:
        """Ends an epoch, after history and parts are committed."""
        del epoch

    def scored_share(self, target: float) -> float:
        """Returns the cost of choosing at a target rate, in forward passes of the network per offered row."""
        del target
        return 0.0

    def least_share(self, rate: float) -> float:
        """Returns the smallest share of the samples that an epoch must train, at a lowest target rate of `rate`."""
        return rate

    def facts(self) -> Mapping[str, Any]:
        """Returns what result.json says of the selection; plain values."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that a resumed run needs: the parts, and the attributes named by `saved`."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts()}
        for name in self.saved:
            value = getattr(self, name)
            state[name] = value.cpu().clone() if isinstance(value, Tensor) else deepcopy(value)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name, part in self.parts():
            part.load_state_dict(state[name])
        for name in self.saved:
            value = state[name]
            setattr(self, name, value.to(self.context.device) if isinstance(value, Tensor) else value)

    # --- Helpers, not to be overridden

    @classmethod
    def looks_at_batches(cls) -> bool:
        """Returns whether it chooses rows of loaded batches, or weighs them."""
        return cls.select is not Method.select or cls.weigh is not Method.weigh

    @classmethod
    def refuse_unused(cls, setting: str, **given: Any) -> None:
        """Refuses settings that differ from their defaults although another setting rules them out.

        Args:
            setting: What rules them out, as typed.
            given: The settings by name.

        Raises:
            ConfigError: About the first that differs.
        """
        for name, value in given.items():
            default = signature(cls).parameters[name].default
            if value != default:
                raise ConfigError(
                    f"method.{name}: not used by {setting}; "
                    f"type method.{name}={'null' if default is None else str(default).lower()}"
                )

    def bind(self, context: Context) -> None:
        """Ties the method to a run."""
        self.context = context
        self.carry = Carry(context.batch_size)
        self.remainder = Remainder(context.batch_size)
        self.prepare()

    def parts(self) -> list[tuple[str, Part]]:
        """Returns the parts among the attributes, with their names."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Part)]

    def random(self, *key: int) -> np.random.Generator:
        """Returns a random stream that depends on the seed and the key alone, e.g. (purpose, epoch)."""
        return generator(self.context.seed, *key)

    def permutation(self, epoch: int, dtype: type[np.integer[Any]] = np.int64) -> np.ndarray:
        """Returns all samples in an order drawn for the epoch, the same in any `dtype`, shape (samples,)."""
        return self.random(ORDER, epoch).permutation(np.arange(self.context.samples, dtype=dtype))

    def full_batches(self, share: float) -> int:
        """Returns a number of rows in full batches; over the epochs their mean is `share` of the samples."""
        return self.remainder.full_batches(share, self.context.samples)

    def train(self, ids: np.ndarray, *, keep_short: bool = False) -> Plan:
        """Returns the plan that trains the samples `ids` (m,) in this order.

        Args:
            ids: The samples.
            keep_short: Whether a last batch that is not full is trained too.
        """
        c = self.context
        return Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=keep_short)

    def train_all(self, epoch: int) -> Plan:
        """Returns the plan that trains every sample: leftover rows first, then the others in a random order."""
        order = self.carry.offered(self.permutation(epoch))
        return self.carry.plan(order, np.ones(len(order), dtype=bool), whole=True)
