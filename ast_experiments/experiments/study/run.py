"""Runs a study, until no run is left: one after another in this process, or several at once elsewhere."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import suppress
from pathlib import Path

from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.runner import log_to, previous_result, resumable, run_job
from ast_experiments.experiments.study.arms import DENSE, Arm
from ast_experiments.experiments.study.engines import Engine
from ast_experiments.experiments.study.log import StudyLog
from ast_experiments.experiments.study.plan import StudyRun
from ast_experiments.experiments.study.queue import StudyQueue

WARM_UP_STEPS = 4


def check_study(queue: StudyQueue, remote: bool = False) -> int:
    """Composes and checks every run, and looks for the data; writes nothing.

    Args:
        queue: Of the study.
        remote: Whether the runs are made on other machines, so that this one's devices do not matter.

    Returns:
        Number of training samples.

    Raises:
        ConfigError: About the first run that is wrong.
        DataError: If the data set is missing.
        UserError: If a run was made with other settings.
    """
    from ast_experiments.config.checks import check
    from ast_experiments.runs.build import build_dataset

    # Future baselines have unknown rates; any rate serves to check the other settings.
    for arm in [*queue.plan.arms, Arm("rs2", "rs2", ("method.rate=0.5",), ("rs2:",))]:
        config = queue.config(arm)
        if config.max_steps is not None:
            raise ConfigError("max_steps: a study compares whole runs; type recipe.epochs=N")
        check(config, remote)
    if not remote:
        _check_unit(queue)
    samples = len(build_dataset(queue.config(DENSE)).train)
    for run in queue.runs():
        previous_result(queue.job(run))
    return samples


def _check_unit(queue: StudyQueue) -> None:
    """Refuses a study in joules on a machine without a meter.

    Raises:
        ConfigError: If nothing can measure joules here.
    """
    if queue.plan.study.cost != "joules":
        return
    import torch

    from ast_experiments.energy.build import METER_SETTINGS, build_meter
    from ast_experiments.training.hardware import check_device

    config = queue.config(DENSE)
    settings = {key: getattr(config.energy, key) for key in METER_SETTINGS}
    meter = build_meter(torch.device(check_device(config.hardware.device)), **settings)
    measures = meter.measures
    meter.close()
    if not measures:
        raise ConfigError("cost=joules: nothing measures joules on this machine; type cost=flops, seconds or samples")


def run_study(queue: StudyQueue, engine: Engine | None = None) -> None:
    """Runs everything that remains; a failed run is reported and skipped.

    Args:
        queue: Of the study.
        engine: How the runs are made; by default one after another.

    Raises:
        Interrupted: On a signal, after everything is saved.
        UserError: If the requested unit of cost was not measured, or the GPU no longer answers.
    """
    from ast_experiments.experiments.study.parallel import run_in_processes, run_with_launcher

    engine = engine or Engine()
    log = StudyLog(queue, engine.at_once)
    log.catch_up()
    with resumable(f"ast-bench {queue.folder}{engine.typed}", log.status):
        if engine.launcher:
            run_with_launcher(log, engine.launcher)
        elif engine.jobs > 1:
            run_in_processes(log)
        else:
            _one_by_one(log)


def _one_by_one(log: StudyLog) -> None:
    _warm_up(log.queue)
    while True:
        log.decide()
        pending = log.queue.pending()
        if not pending:
            return
        _run(log, pending[0])


def _run(log: StudyLog, run: StudyRun) -> None:
    ended, total = log.counts()
    job = log.queue.job(run)
    job = dataclasses.replace(job, title=f"[{ended + 1}/{total}] {job.title}")
    log.started(run)
    outcome = run_job(job, seconds_left=log.seconds_left())
    log.ended(run, outcome.seconds, outcome.error)


def _warm_up(queue: StudyQueue) -> None:
    """Runs a few untimed steps, so that start-up cost is not charged to the first run."""
    if not queue.pending():
        return
    from ast_experiments.runs.run import execute

    config = queue.config(DENSE)
    config = dataclasses.replace(
        config,
        max_steps=WARM_UP_STEPS,
        dataset=dataclasses.replace(config.dataset, val_rows=config.recipe.batch_size),
        tracking=dataclasses.replace(config.tracking, console=False, wandb="disabled", report=False),
        energy=dataclasses.replace(config.energy, idle_seconds=0.0),
    )
    # An error would stop the real runs too, and they report it.
    with tempfile.TemporaryDirectory() as folder, log_to(Path(folder)), suppress(Exception):
        execute(config, Path(folder))
