"""Where a study stands: what is done, what is to be done next, and what can be decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ast_experiments.experiments.study import decide
from ast_experiments.experiments.study.matching import lr_grid, rotated
from ast_experiments.experiments.study.plan import DENSE, Arm, config_of, run_config
from ast_experiments.experiments.study.state import TRIAL_SEED, Job, Plan, read_journal

if TYPE_CHECKING:
    from ast_experiments.comparison.runs import Run
    from ast_experiments.config.schema import Config


class Agenda:
    """The runs of a plan, in order, as the study's directory shows them.

    Args:
        plan: Written after each decision.
        folder: The study's directory.

    Attributes:
        failed: What failed since the start, and why.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.failed: dict[Job, str] = {}
        self._configs: dict[tuple[Any, ...], Config] = {}
        self._results: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, Run | None] = {}

    def config(self, arm: Arm) -> Config:
        """The checked config of an arm."""
        key = (arm.method, arm.overrides, bool(arm.serves))
        if key not in self._configs:
            self._configs[key] = config_of(self.plan.study.common, arm)
        return self._configs[key]

    def job_config(self, job: Job) -> Config:
        """The config of a run."""
        purposes = [f"baseline={purpose}" for purpose in job.arm.serves]
        return run_config(
            self.config(job.arm),
            study=self.plan.study.name,
            seed=job.seed,
            lr=self.plan.lrs.get(job.arm.label) if job.lr is None else job.lr,
            tags=purposes if job.lr is None else [*purposes, "trial"],
            console=self.verbose,
        )

    @property
    def verbose(self) -> bool:
        """Whether the runs are asked to speak for themselves."""
        return any(override.startswith("tracking.console=") for override in self.plan.study.common)

    # --- what is done, and what is to be done

    def result(self, job: Job) -> dict[str, Any]:
        """result.json of a run; empty if there is none."""
        from ast_experiments.runs import result as results

        if job.place not in self._results:
            self._results[job.place] = results.read(self.folder / job.place) or {}
        return self._results[job.place]

    def forget(self, job: Job) -> None:
        """Read the result of a run anew when it is asked for."""
        self._results.pop(job.place, None)

    def finished(self, job: Job) -> bool:
        """Whether a run came to its end."""
        return self.result(job).get("status") == "finished"

    def jobs(self) -> list[Job]:
        """All runs that are known, in order.

        With the first seed the arms that are asked for, then their baselines, trials before each; then seed by seed,
        the arms in another order each time.
        """
        first, *others = self.plan.study.seeds
        jobs: list[Job] = []
        for arms in (self.plan.study.arms, self.plan.baselines):
            jobs += [job for turn in zip(*map(self._trials, arms), strict=True) for job in turn]
            jobs += [Job(arm, first) for arm in arms if self._ready(arm)]
        for turn, seed in enumerate(others, start=1):
            ready = [arm for arm in self.plan.arms if self._ready(arm)]
            jobs += [Job(arm, seed) for arm in rotated(ready, turn, len(others) + 1)]
        return jobs

    def _ready(self, arm: Arm) -> bool:
        return not self.plan.study.lr_trials or arm.label in self.plan.lrs

    def todo(self) -> list[Job]:
        """What can be run now, in order, without what failed since the start."""
        wanted = [job for job in self.jobs() if job.lr is None or job.arm.label not in self.plan.lrs]
        return [job for job in wanted if not self.finished(job) and job not in self.failed]

    def _trials(self, arm: Arm) -> list[Job]:
        grid = lr_grid(self.config(arm).recipe.lr, self.plan.study.lr_trials)
        return [Job(arm, TRIAL_SEED, lr) for lr in grid]

    def left(self) -> tuple[int, float | None]:
        """How many runs are left, those to come by a decision included, and their seconds if that can be told."""
        study = self.plan.study
        labels = [job.arm.label for job in self.todo()]
        for arm in self.plan.arms:
            if not self._ready(arm):
                labels += [arm.label] * len(study.seeds)
        for arm in self._methods():
            if arm.label not in self.plan.matched:
                baselines = 1 if arm.method == "rs2" else 2
                labels += [arm.label] * baselines * (len(study.seeds) + study.lr_trials)
        seconds = self._seconds()
        if not seconds:
            return len(labels), None
        usual = fmean(seconds.values())
        return len(labels), sum(seconds.get(label, usual) for label in labels)

    def _seconds(self) -> dict[str, float]:
        """What a run takes, by arm, as far as some were finished."""
        found: dict[str, list[float]] = {}
        for entry in read_journal(self.folder):
            if entry["event"] == "finished":
                found.setdefault(entry["arm"], []).append(entry["took_s"])
        return {label: fmean(values) for label, values in found.items()}

    # --- deciding

    def _methods(self) -> list[Arm]:
        return [arm for arm in self.plan.study.arms if arm.method != "dense"]

    def decide(self) -> list[str]:
        """Decide what can be decided; returns what there is to say about it.

        Raises:
            UserError: If costs are wanted in a unit that was not measured.
        """
        said = [line for arm in self.plan.arms if (line := self._choose_lr(arm))]
        for arm in self._methods():
            if arm.label not in self.plan.matched:
                said += self._match(arm)
        if said:
            self.plan.write(self.folder)
        return said

    def _choose_lr(self, arm: Arm) -> str:
        if self._ready(arm):
            return ""
        trials = self._trials(arm)
        if not all(self.finished(job) or job in self.failed for job in trials):
            return ""
        best = decide.best_lr(trials, self._results, self.config(arm).recipe.lr)
        if best is None:
            return ""
        self.plan.lrs[arm.label] = best
        edge = ", at the edge of the grid" if len(trials) > 2 and best in (trials[0].lr, trials[-1].lr) else ""
        return f"{arm.label}: lr {best:g} of {', '.join(f'{job.lr:g}' for job in trials)}{edge}"

    def _match(self, method: Arm) -> list[str]:
        kinds = [self.plan.cost] if self.plan.cost else []
        dense, own = (self._source(arm, kinds) for arm in (DENSE, method))
        if dense is None or own is None:
            return []
        said = []
        if self.plan.cost is None:
            self.plan.cost, self.plan.why = decide.cost_kind(self.plan.study.cost, [dense, own])
            said.append(f"costs are counted in {decide.UNITS[self.plan.cost]}: {self.plan.why}")
        found = decide.match(self.plan, method, [dense, own], self.config)
        self.plan.matched[method.label] = found
        return [*said, decide.matched_line(method.label, found, decide.UNITS[self.plan.cost])]

    def _source(self, arm: Arm, kinds: Sequence[str]) -> Run | None:
        """The run that tells what an arm costs: the first that is finished."""
        for job in (Job(arm, seed) for seed in self.plan.study.seeds):
            if self.finished(job) and job.place not in self._runs:
                self._runs[job.place] = decide.read(self.folder / job.place)
            run = self._runs.get(job.place)
            if run is not None and all(kind in run.figures for kind in kinds):
                return run
        return None
