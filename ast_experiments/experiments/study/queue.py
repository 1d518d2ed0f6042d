"""The state of a study: which runs are finished, which come next, and which decisions can be made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from ast_experiments.core.errors import UserError
from ast_experiments.experiments.runner import Job
from ast_experiments.experiments.study import baselines
from ast_experiments.experiments.study.arms import DENSE, Arm, arm_config, run_config, trial_config
from ast_experiments.experiments.study.journal import read_journal
from ast_experiments.experiments.study.plan import TRIAL_SEED, StudyPlan, StudyRun
from ast_experiments.runs.record import read_result

if TYPE_CHECKING:
    from ast_experiments.comparison.runs import Run
    from ast_experiments.config.schema import Config

LR_FACTOR = 2.0  # between neighbouring learning rates of the grid

Item = TypeVar("Item")


class StudyQueue:
    """The runs of a study in order, as its directory records them.

    Args:
        plan: Written after each decision.
        folder: The study's directory.

    Attributes:
        failed: Runs that failed since the start, with the error.
    """

    def __init__(self, plan: StudyPlan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.failed: dict[StudyRun, str] = {}
        self._configs: dict[tuple[Any, ...], Config] = {}
        self._results: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, Run | None] = {}

    def config(self, arm: Arm) -> Config:
        """Returns the checked config of an arm."""
        key = (arm.method, arm.overrides, bool(arm.baseline_for))
        if key not in self._configs:
            self._configs[key] = arm_config(self.plan.study.common, arm)
        return self._configs[key]

    def job(self, run: StudyRun) -> Job:
        """Returns the job that makes a run."""
        purposes = [f"baseline={purpose}" for purpose in run.arm.baseline_for]
        common = self.plan.study.common
        config = run_config(
            self.config(run.arm),
            study=self.plan.study.name,
            seed=run.seed,
            lr=self.plan.lrs.get(run.arm.label) if run.lr is None else run.lr,
            tags=purposes if run.lr is None else [*purposes, "trial"],
            console=any(override.startswith("tracking.console=") for override in common),
        )
        config = config if run.lr is None else trial_config(config)
        return Job(run.title, self.folder / run.path, config, (*common, *run.arm.overrides))

    # --- finished and pending runs

    def result(self, run: StudyRun) -> dict[str, Any]:
        """Returns the content of a run's result.json; empty if there is none."""
        if run.path not in self._results:
            self._results[run.path] = read_result(self.folder / run.path)
        return self._results[run.path]

    def reload(self, run: StudyRun) -> None:
        """Reads the result of a run again when it is next needed."""
        self._results.pop(run.path, None)

    def finished(self, run: StudyRun) -> bool:
        """Tells whether a run has finished."""
        return self.result(run).get("status") == "finished"

    def runs(self) -> list[StudyRun]:
        """Returns all runs known so far, in order.

        With the first seed: the arms of the request, then their baselines, each after its trials. Then seed by seed,
        with the arms in another order each time.
        """
        first, *others = self.plan.study.seeds
        runs: list[StudyRun] = []
        for arms in (self.plan.study.arms, self.plan.baselines):
            runs += [run for turn in zip(*map(self._trials, arms), strict=True) for run in turn]
            runs += [StudyRun(arm, first) for arm in arms if self._lr_known(arm)]
        for turn, seed in enumerate(others, start=1):
            ready = [arm for arm in self.plan.arms if self._lr_known(arm)]
            runs += [StudyRun(arm, seed) for arm in rotate(ready, turn, len(others) + 1)]
        return runs

    def pending(self) -> list[StudyRun]:
        """Returns the runs that can start now, in order; excludes those that failed since the start."""
        wanted = [run for run in self.runs() if run.lr is None or run.arm.label not in self.plan.lrs]
        if self._matching():  # a baseline's tags name every arm that it serves
            baselines = {arm.label for arm in self.plan.baselines}
            wanted = [run for run in wanted if run.arm.label not in baselines]
        return [run for run in wanted if not self.finished(run) and run not in self.failed]

    def batch(self) -> list[StudyRun]:
        """Returns what can start together: while decisions are open, only the runs that they depend on."""
        pending = self.pending()
        undecided = self._matching() or any(not self._lr_known(arm) for arm in self.plan.arms)
        first = [run for run in pending if run.lr is not None or run.seed == self.plan.study.seeds[0]]
        return first if undecided and first else pending

    def named(self, path: str) -> StudyRun:
        """Returns the run of a path below the study's directory.

        Raises:
            UserError: If there is none.
        """
        found = next((run for run in self.runs() if run.path == path), None)
        if found is None:
            raise UserError(f"{self.folder} has no run {path}; type ast-bench {self.folder}")
        return found

    def _trials(self, arm: Arm) -> list[StudyRun]:
        grid = lr_grid(self.config(arm).recipe.lr, self.plan.study.lr_trials)
        return [StudyRun(arm, TRIAL_SEED, lr) for lr in grid]

    def _lr_known(self, arm: Arm) -> bool:
        return not self.plan.study.lr_trials or arm.label in self.plan.lrs

    def done(self) -> int:
        """Counts the runs that have finished."""
        return sum(map(self.finished, self.runs()))

    def remaining(self) -> tuple[int, float | None]:
        """Counts the runs that remain, undecided baselines included, and estimates their seconds if possible."""
        study = self.plan.study
        labels = [run.arm.label for run in self.pending()]
        for arm in self.plan.arms:
            if not self._lr_known(arm):
                labels += [arm.label] * len(study.seeds)
        for arm in study.with_baselines:
            if arm.label not in self.plan.matched:
                count = baselines.expected(self.config(arm))
                labels += [arm.label] * count * (len(study.seeds) + study.lr_trials)
        seconds = self._seconds_by_arm()
        if not seconds:
            return len(labels), None
        mean = fmean(seconds.values())
        return len(labels), sum(seconds.get(label, mean) for label in labels)

    def _seconds_by_arm(self) -> dict[str, float]:
        """Returns the mean wall time of an arm's finished runs."""
        found: dict[str, list[float]] = {}
        for entry in read_journal(self.folder):
            if entry["event"] == "finished" and "took_s" in entry:
                found.setdefault(entry["arm"], []).append(entry["took_s"])
        return {label: fmean(values) for label, values in found.items()}

    # --- decisions

    def decide(self) -> list[str]:
        """Makes and saves every decision that the finished runs allow. Returns a line about each.

        Raises:
            UserError: If the requested unit of cost was not measured.
        """
        lines = [line for arm in self.plan.arms if (line := self._choose_lr(arm))]
        methods = self.plan.study.with_baselines
        for arm in methods:
            if arm.label in self.plan.matched:
                continue
            if any(map(self._awaited, (DENSE, arm))):
                break  # baselines are shared, so methods are matched in their order
            lines += self._match_baselines(arm)
        if not methods:  # the comparison still needs its unit
            lines += [line for arm in self.plan.study.methods[:1] for line in self._choose_unit(arm)]
        if lines:
            self.plan.write(self.folder)
        return lines

    def _matching(self) -> bool:
        """Tells whether a method still gets its baselines after its run with the first seed."""
        unmatched = [arm for arm in self.plan.study.with_baselines if arm.label not in self.plan.matched]
        return any(self._awaited(each) for arm in unmatched for each in (DENSE, arm))

    def _awaited(self, arm: Arm) -> bool:
        """Tells whether the run of an arm with the first seed is still to end."""
        run = StudyRun(arm, self.plan.study.seeds[0])
        return not self.finished(run) and run not in self.failed

    def _choose_lr(self, arm: Arm) -> str:
        """Chooses the learning rate whose trial is most accurate; of equal ones the nearest to the recipe's."""
        if self._lr_known(arm):
            return ""
        trials, recipe_lr = self._trials(arm), self.config(arm).recipe.lr
        finished = [run for run in trials if self.finished(run)]
        if not finished or any(run not in self.failed for run in trials if run not in finished):
            return ""
        lrs = [run.lr for run in trials if run.lr is not None]
        accuracy = {run.lr: self.result(run)["final_accuracy"] for run in finished}
        best = min(
            (lr for lr in lrs if lr in accuracy), key=lambda lr: (-accuracy[lr], abs(math.log(lr / recipe_lr)), lr)
        )
        self.plan.lrs[arm.label] = best
        edge = ", at the edge of the grid" if len(lrs) > 2 and best in (lrs[0], lrs[-1]) else ""
        return f"{arm.label}: lr {best:g} of {', '.join(f'{lr:g}' for lr in lrs)}{edge}"

    def _choose_unit(self, method: Arm) -> list[str]:
        """Chooses the unit of cost by the runs of dense and a method, once both have finished."""
        runs = self._finished_runs(method)
        if self.plan.cost is not None or not runs:
            return []
        self.plan.cost, self.plan.why = baselines.choose_unit(self.plan.study.cost, runs)
        return [f"costs are counted in {baselines.UNITS[self.plan.cost]}: {self.plan.why}"]

    def _match_baselines(self, method: Arm) -> list[str]:
        runs = self._finished_runs(method)
        if not runs:
            return []
        lines = self._choose_unit(method)
        assert self.plan.cost is not None
        matched = baselines.match_baselines(self.plan, method, runs, self.config)
        self.plan.matched[method.label] = matched
        return [*lines, baselines.describe_match(method.label, matched, baselines.UNITS[self.plan.cost])]

    def _finished_runs(self, method: Arm) -> list[Run]:
        """Returns a run of dense and one of a method whose costs are known; empty while one is still to end."""
        units = [self.plan.cost] if self.plan.cost else []
        runs = [run for arm in (DENSE, method) if (run := self._finished_run(arm, units)) is not None]
        return runs if len(runs) == 2 else []

    def _finished_run(self, arm: Arm, units: Sequence[str]) -> Run | None:
        """Returns an arm's run with the first seed whose cost is known in these units; None while one may still end."""
        for run in (StudyRun(arm, seed) for seed in self.plan.study.seeds):
            if run in self.failed:
                continue
            if not self.finished(run):
                return None
            if run.path not in self._runs:
                self._runs[run.path] = baselines.load_run(self.folder / run.path)
            loaded = self._runs.get(run.path)
            if loaded is not None and all(unit in loaded.figures for unit in units):
                return loaded
        return None


def lr_grid(lr: float, trials: int) -> list[float]:
    """Returns learning rates to try: a geometric grid with `lr` in its middle, or just below."""
    return [float(f"{lr * LR_FACTOR ** (i - (trials - 1) // 2):.6g}") for i in range(trials)]


def rotate(arms: Sequence[Item], turn: int, turns: int) -> list[Item]:
    """Orders the arms for one of several turns, so that each arm runs early, in the middle and late."""
    first = round(turn * len(arms) / turns)
    return [*arms[first:], *arms[:first]]
