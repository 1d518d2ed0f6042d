"""Runs a search: Optuna chooses the values of each trial, and the common runner makes its run."""

from __future__ import annotations

import dataclasses
import math
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ast_experiments.core.errors import UserError
from ast_experiments.core.files import write_json
from ast_experiments.core.text import rough_duration
from ast_experiments.experiments.directory import checked, read_request
from ast_experiments.experiments.runner import Job, print_failure, resumable, run_job
from ast_experiments.experiments.tuning.objectives import CURVES, Objective
from ast_experiments.experiments.tuning.space import Dimension, trial_config, trial_overrides
from ast_experiments.experiments.tuning.storage import open_study

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from ast_experiments.config.schema import Config

REQUEST, RECORD, TRIALS = "search.json", "trials.log", "trials"
PRUNED = "the search: worse than the median trial"
UNPRUNED_TRIALS = 5  # the first ones, because a median of fewer says little


@dataclass(frozen=True, slots=True)
class Search:
    """What the user asked for.

    Attributes:
        name: Of the search.
        arguments: Search space and overrides, as typed.
        goals: The objectives.
        trials: Number of trials, failed and pruned ones included.
        prune: Stop trials early whose validation curve is worse than the median of earlier trials.
    """

    name: str
    arguments: tuple[str, ...]
    goals: tuple[Objective, ...]
    trials: int
    prune: bool

    def write(self, folder: Path) -> None:
        """Writes search.json, atomically."""
        write_json(folder / REQUEST, dataclasses.asdict(self))


def read_search(folder: Path) -> Search | None:
    """Reads the request of a search's directory. Returns None if there is none.

    Raises:
        UserError: If the file cannot be read.
    """
    return read_request(folder / REQUEST, _parse_search)


def _parse_search(found: dict[str, Any]) -> Search:
    # Version 0.1 wrote "side" for the direction.
    goals = tuple(Objective(goal["key"], goal.get("direction") or goal["side"]) for goal in found["goals"])
    return checked(Search, Search(**found | {"arguments": tuple(found["arguments"]), "goals": goals}))


class SearchSession:
    """The trials of a search, in Optuna's storage and in run directories.

    Args:
        search: The request.
        folder: The search's directory.
        common: Overrides that all trials share.
        space: The search space.
        owner: Whether this process owns the directory; False in a worker of its owner.

    Attributes:
        base: Config with the first value of every dimension.
        curve: Key of the validation curve that trials are pruned by; None if they are not pruned.
        study: Optuna's study.
    """

    def __init__(
        self, search: Search, folder: Path, common: list[str], space: list[Dimension], *, owner: bool = True
    ) -> None:
        import optuna
        from optuna.pruners import MedianPruner, NopPruner

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        self.search, self.folder, self.common, self.space = search, folder, common, space
        self.base = trial_config(common, {each.key: each.extremes[0] for each in space})
        self.curve = _curve(search, space)
        epochs = self.base.recipe.epochs
        self.study: Study = open_study(
            folder / RECORD,
            owner=owner,
            study_name=search.name,
            directions=[goal.optuna_direction for goal in search.goals],
            pruner=MedianPruner(UNPRUNED_TRIALS, n_warmup_steps=epochs // 4 + 1) if self.curve else NopPruner(),
        )

    @property
    def remaining(self) -> int:
        """Number of trials that have not ended, those not yet drawn included."""
        trials = self.study.trials
        return max(self.search.trials - len(trials), 0) + sum(not trial.state.is_finished() for trial in trials)

    def run(self) -> Iterator[FrozenTrial]:
        """Runs every remaining trial; yields each when it has ended.

        Raises:
            Interrupted: On a signal, after everything is saved.
            UserError: If results lack the figure of an objective, or the GPU no longer answers.
        """
        with resumable(f"ast-tune {self.folder}", self.status):
            while (trial := self.next_trial()) is not None:
                self.run_trial(trial)
                yield self.study.trials[trial.number]

    def status(self) -> str:
        """Says how far the search is."""
        trials = self.study.trials
        done = sum(trial.state.is_finished() for trial in trials)
        return f"{done} of {self.search.trials} trials are done"

    def path(self, trial: Trial | FrozenTrial) -> Path:
        """Returns the run directory of a trial; trials with the same values share that of the first."""
        same = next((t for t in self.study.trials if t.params == trial.params), trial)
        return self.folder / TRIALS / f"{same.number:04d}"

    def values(self, trial: Trial | FrozenTrial) -> dict[str, str]:
        """Returns the values of a trial, as typed; draws them if the trial is new."""
        from optuna.trial import FixedTrial, Trial

        source = trial if isinstance(trial, Trial) else FixedTrial(trial.params)
        return {each.key: each.suggest(source) for each in self.space}  # pyright: ignore[reportArgumentType]

    def command(self, trial: FrozenTrial) -> list[str]:
        """Returns the arguments with which `ast-train` makes the run of a trial."""
        return trial_overrides(self.common, self.values(trial))

    def describe(self, figures: list[float]) -> str:
        """Formats the figures of a trial with their names."""
        return ", ".join(
            f"{goal.key} {goal.told(value)}" for goal, value in zip(self.search.goals, figures, strict=True)
        )

    def next_trial(self, running: Collection[int] = ()) -> Trial | None:
        """Returns a trial that was interrupted, else a new one; None if there are enough.

        Args:
            running: Numbers of the trials that go on elsewhere.
        """
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        trials = self.study.trials
        waiting = (trial for trial in trials if not trial.state.is_finished() and trial.number not in running)
        open_trial = next(waiting, None)
        if open_trial is None and len(trials) >= self.search.trials:
            return None
        # Draws depend on the seed and the trial's number only, so an interrupted search continues unchanged.
        number = len(trials) if open_trial is None else open_trial.number
        self.study.sampler = TPESampler(
            seed=int(np.random.SeedSequence([self.base.seed, number]).generate_state(1)[0]), constant_liar=bool(running)
        )
        return self.study.ask() if open_trial is None else Trial(self.study, open_trial._trial_id)

    def run_trial(self, trial: Trial) -> None:
        """Runs or resumes a trial and records how it ended."""
        from optuna.trial import TrialState

        values = self.values(trial)
        title = f"[{trial.number + 1}/{self.search.trials}] trial {trial.number}: {format_values(values)}"
        try:
            config = self._config(trial.number, values)
        except UserError as error:  # values that are valid alone may contradict each other
            self.fail(trial, str(error))
            print(f"error: {title}: {error}", file=sys.stderr, flush=True)
            return
        job = Job(title, self.path(trial), config, trial_overrides(self.common, values))
        callback = PruningCallback(trial, self.curve) if self.curve else None
        outcome = run_job(job, callback=callback)
        took = rough_duration(outcome.seconds)
        if outcome.stopped is not None and callback is not None:
            self.study.tell(trial, state=TrialState.PRUNED)
            print(f"{title}: pruned after epoch {callback.epoch}, {took}", flush=True)
            return
        if outcome.error is not None:
            self.fail(trial, outcome.error)
            return
        figures = [goal.value(outcome.result) for goal in self.search.goals]
        known = [figure for figure in figures if figure is not None and math.isfinite(figure)]
        if len(known) < len(figures):
            error = "the run did not reach the figure that the search needs"
            self.fail(trial, error)
            print_failure(title, error, job.folder)
            return
        self.study.tell(trial, known)
        print(f"{title}: {self.describe(known)}, {took}", flush=True)

    def trial(self, number: int) -> Trial:
        """Returns a trial that was drawn, to be run or recorded."""
        from optuna.trial import Trial

        return Trial(self.study, self.study.trials[number]._trial_id)

    def _config(self, number: int, values: Mapping[str, str]) -> Config:
        config = trial_config(self.common, values)
        console = any(override.startswith("tracking.console=") for override in self.common) and config.tracking.console
        return dataclasses.replace(
            config,
            group=self.search.name,
            tags=[*config.tags, f"trial={number}"],
            tracking=dataclasses.replace(config.tracking, console=console),
        )

    def fail(self, trial: Trial, error: str) -> None:
        """Records a trial as failed, with the error."""
        from optuna.trial import TrialState

        trial.set_user_attr("error", error)
        self.study.tell(trial, state=TrialState.FAIL)


class PruningCallback:
    """Reports a run's validation curve to Optuna, and stops the run when Optuna prunes the trial.

    Args:
        trial: Of the run.
        curve: Key of the curve in epoch rows.

    Attributes:
        epoch: The epoch after which the run was stopped; 0 if it was not.
    """

    def __init__(self, trial: Trial, curve: str) -> None:
        self._trial, self._curve = trial, curve
        self._known = set(trial.study.trials[trial.number].intermediate_values)
        self.epoch = 0

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Takes a log row. Returns a reason to stop, or None."""
        value, epoch = row.get(self._curve), round(row.get("epoch", 0))
        if row.get("kind") != "epoch" or value is None:
            return None
        if epoch not in self._known:
            self._trial.report(value, epoch)
        if row.get("progress", 1) >= 1 or not self._trial.should_prune():
            return None
        self.epoch = epoch
        return PRUNED


def format_values(values: Mapping[str, str]) -> str:
    """Formats the values of a trial: four digits, and only the last part of a key if that is unambiguous."""
    names = short_names(list(values))
    return " ".join(f"{name}={_short(value)}" for name, value in zip(names, values.values(), strict=True))


def short_names(keys: list[str]) -> list[str]:
    """Cuts dotted keys to their last parts, except where two would become equal."""
    ends = [key.rpartition(".")[2] for key in keys]
    return [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _curve(search: Search, space: list[Dimension]) -> str | None:
    """Returns the curve that trials are pruned by; None if pruning is off or curves cannot be compared."""
    comparable = not any(each.key in ("recipe.epochs", "eval_every") for each in space)
    return CURVES.get(search.goals[0].key) if search.prune and comparable and len(search.goals) == 1 else None
