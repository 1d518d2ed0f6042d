"""A search and its directory: what is asked for, the trials, and one trial after another until there are enough."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.experiments.progress import duration, watching
from ast_experiments.experiments.study.run import clean_up, logged
from ast_experiments.experiments.tuning.objectives import CURVES, Goal
from ast_experiments.experiments.tuning.space import Dimension, config_of, overrides_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from ast_experiments.config.schema import Config

PLAN, RECORD, TRIALS = "search.json", "trials.log", "trials"
MEDIAN = "the search: on the wrong side of the median of its trials"
PATIENCE = 5  # trials that are never pruned, for there is too little to compare them with


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for.

    Attributes:
        name: Of the search.
        arguments: Ranges and overrides, as typed.
        goals: What is searched for.
        trials: How many, failed and pruned ones included.
        prune: Whether to end trials early whose validation curve lies below the median of those before.
    """

    name: str
    arguments: tuple[str, ...]
    goals: tuple[Goal, ...]
    trials: int
    prune: bool

    def write(self, folder: Path) -> None:
        """Write it whole or not at all."""
        unfinished = folder / f"{PLAN}.tmp"
        unfinished.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, folder / PLAN)


def read_search(folder: Path) -> Search | None:
    """The search of a directory, or None if there is none.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        goals = tuple(Goal(**goal) for goal in found["goals"])
        return Search(**found | {"arguments": tuple(found["arguments"]), "goals": goals})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / PLAN} cannot be read ({error}); give another name=, or move it away") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that works on the search.

    Raises:
        UserError: If another one does.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"another ast-tune works on {folder}; wait for it, or give another name=") from None


class Searching:
    """The trials of a search.

    Args:
        search: What is asked for.
        folder: Its directory.
        common: Overrides of every trial.
        space: What is searched.
    """

    def __init__(self, search: Search, folder: Path, common: list[str], space: list[Dimension]) -> None:
        import optuna
        from optuna.pruners import MedianPruner, NopPruner
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        self.search, self.folder, self.common, self.space = search, folder, common, space
        self.base = config_of(common, {each.key: each.ends[0] for each in space})
        self.curve = _curve(search, space)
        epochs = self.base.recipe.epochs
        self.study: Study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / RECORD))),
            study_name=search.name,
            load_if_exists=True,
            directions=[goal.direction for goal in search.goals],  # pyright: ignore[reportArgumentType]
            pruner=MedianPruner(PATIENCE, n_warmup_steps=epochs // 4 + 1) if self.curve else NopPruner(),
        )

    @property
    def left(self) -> int:
        """Trials that have no end yet."""
        trials = self.study.trials
        return max(self.search.trials - len(trials), 0) + sum(not trial.state.is_finished() for trial in trials)

    def run(self) -> Iterator[FrozenTrial]:
        """Make every trial that is left; yields each when it has ended.

        Raises:
            Interrupted: On a signal, when everything is saved.
            UserError: If runs have no such figure as the goal.
        """
        try:
            while (trial := self._next()) is not None:
                self._make(trial)
                yield self.study.trials[trial.number]
                clean_up()
        except (Interrupted, KeyboardInterrupt) as signal:
            reason = str(signal).partition(";")[0] or "stopped"
            done = len(self.study.trials) - sum(not trial.state.is_finished() for trial in self.study.trials)
            raise Interrupted(
                f"{reason}; {done} of {self.search.trials} trials are done; go on with: ast-tune {self.folder}"
            ) from None

    def place(self, trial: Trial | FrozenTrial) -> Path:
        """The run directory of a trial: that of the first one with the same values."""
        same = next((t for t in self.study.trials if t.params == trial.params), trial)
        return self.folder / TRIALS / f"{same.number:04d}"

    def values(self, trial: Trial | FrozenTrial) -> dict[str, str]:
        """Its values, as typed; a trial that has none yet gets them."""
        from optuna.trial import FixedTrial, Trial

        source = trial if isinstance(trial, Trial) else FixedTrial(trial.params)
        return {each.key: each.suggest(source) for each in self.space}  # pyright: ignore[reportArgumentType]

    def command(self, trial: FrozenTrial) -> list[str]:
        """What `ast-train` makes the same run from."""
        return overrides_of(self.common, self.values(trial))

    def _next(self) -> Trial | None:
        """The trial that has no end yet, else a new one; None if there are enough."""
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        trials = self.study.trials
        begun = next((trial for trial in trials if not trial.state.is_finished()), None)
        if begun is None and len(trials) >= self.search.trials:
            return None
        # Draws follow from seed and number, so that a search that was stopped goes on as if it had not been.
        number = len(trials) if begun is None else begun.number
        self.study.sampler = TPESampler(seed=int(np.random.SeedSequence([self.base.seed, number]).generate_state(1)[0]))
        return self.study.ask() if begun is None else Trial(self.study, begun._trial_id)

    def _make(self, trial: Trial) -> None:
        """Run a trial, or go on with it, and write down what came of it."""
        from optuna.trial import TrialState

        values = self.values(trial)
        place = self.place(trial)
        head = f"[{trial.number + 1}/{self.search.trials}] {shown(values)}"
        begun = time.monotonic()
        pruning = Pruning(trial, self.curve) if self.curve else None
        try:
            result = self._result(trial.number, place, values, pruning, head)
        except Interrupted as stopped:
            if pruning is None or not str(stopped).startswith(MEDIAN):
                raise
            self.study.tell(trial, state=TrialState.PRUNED)
            print(f"{head}: pruned after epoch {pruning.epoch}, {duration(time.monotonic() - begun)}", flush=True)
            return
        except (Exception, SystemExit) as error:
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._fail(trial, head, text, place)
            return
        figures = [goal.of(result) for goal in self.search.goals]
        known = [figure for figure in figures if figure is not None and math.isfinite(figure)]
        if len(known) < len(figures):
            self._fail(trial, head, "did not come to the figure that is searched for", place)
            return
        self.study.tell(trial, known)
        print(f"{head}: {self.told(known)}, {duration(time.monotonic() - begun)}", flush=True)

    def _result(
        self, number: int, place: Path, values: Mapping[str, str], pruning: Pruning | None, head: str
    ) -> Mapping[str, Any]:
        from ast_experiments.runs import result as results
        from ast_experiments.runs.run import execute

        config = self._config(number, values)
        before = results.read(place) or {}
        if before.get("status") == "finished":
            return before
        place.mkdir(parents=True, exist_ok=True)
        with logged(place), watching(head, place, None, quiet=config.tracking.console):
            return execute(config, place.resolve(), overrides_of(self.common, values), watch=pruning)

    def _config(self, number: int, values: Mapping[str, str]) -> Config:
        config = config_of(self.common, values)
        console = any(override.startswith("tracking.console=") for override in self.common) and config.tracking.console
        return dataclasses.replace(
            config,
            group=self.search.name,
            tags=[*config.tags, f"trial={number}"],
            tracking=dataclasses.replace(config.tracking, console=console),
        )

    def _fail(self, trial: Trial, head: str, text: str, place: Path) -> None:
        from optuna.trial import TrialState

        line = " ".join(text.split())
        trial.set_user_attr("error", line)
        self.study.tell(trial, state=TrialState.FAIL)
        print(f"{head}: failed: {line}; see {place / 'train.log'}", file=sys.stderr, flush=True)

    def told(self, figures: list[float]) -> str:
        """Figures with their names."""
        return ", ".join(f"{goal.key} {value:.5g}" for goal, value in zip(self.search.goals, figures, strict=True))


class Pruning:
    """Watches a run's validation curve and asks it to end where it lies on the wrong side of the median.

    Args:
        trial: The run's.
        curve: Key of the curve in epoch rows.

    Attributes:
        epoch: The epoch after which it asked; 0 if it did not.
    """

    def __init__(self, trial: Trial, curve: str) -> None:
        self._trial, self._curve = trial, curve
        self._known = set(trial.study.trials[trial.number].intermediate_values)
        self.epoch = 0

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Takes a log row; a reason to stop, or None."""
        value, epoch = row.get(self._curve), round(row.get("epoch", 0))
        if row.get("kind") != "epoch" or value is None:
            return None
        if epoch not in self._known:
            self._trial.report(value, epoch)
        if row.get("progress", 1) >= 1 or not self._trial.should_prune():
            return None
        self.epoch = epoch
        return MEDIAN


def shown(values: Mapping[str, str]) -> str:
    """Values for people: four digits, keys cut to their last part where that is clear."""
    ends = [key.rpartition(".")[2] for key in values]
    names = [end if ends.count(end) == 1 else key for key, end in zip(values, ends, strict=True)]
    return " ".join(f"{name}={_short(value)}" for name, value in zip(names, values.values(), strict=True))


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _curve(search: Search, space: list[Dimension]) -> str | None:
    """The curve that trials are pruned on; None if they cannot be."""
    comparable = not any(each.key in ("recipe.epochs", "eval_every") for each in space)
    return CURVES.get(search.goals[0].key) if search.prune and comparable and len(search.goals) == 1 else None
