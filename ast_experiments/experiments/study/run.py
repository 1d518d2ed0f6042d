"""Runs a study: one run after another in this process, until none is left."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import suppress
from pathlib import Path

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.text import rough_duration
from ast_experiments.experiments.runner import log_to, previous_result, resumable, run_job
from ast_experiments.experiments.study.arms import DENSE, Arm
from ast_experiments.experiments.study.journal import append_event
from ast_experiments.experiments.study.plan import StudyRun
from ast_experiments.experiments.study.queue import StudyQueue

WARM_UP_STEPS = 4
JOURNALED = ("final_accuracy", "mean_activation_rate", "rows_trained", "seconds", "flops", "energy", "resumed")


def check_study(queue: StudyQueue) -> None:
    """Composes and checks every run, and looks for the data; writes nothing.

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
        check(config)
    _check_unit(queue)
    build_dataset(queue.config(DENSE))
    for run in queue.runs():
        previous_result(queue.job(run))


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


def run_study(queue: StudyQueue) -> None:
    """Runs everything that remains; a failed run is reported and skipped.

    Raises:
        Interrupted: On a signal, after everything is saved.
        UserError: If the requested unit of cost was not measured, or the GPU no longer answers.
    """
    with resumable(f"ast-bench {queue.folder}", lambda: _status(queue)):
        _warm_up(queue)
        while True:
            for line in queue.decide():
                print(line, flush=True)
            pending = queue.pending()
            if not pending:
                return
            _run(queue, pending[0])


def _status(queue: StudyQueue) -> str:
    done, left = queue.done(), queue.remaining()[0] + len(queue.failed)
    return f"{done} of {done + left} runs are done"


def _run(queue: StudyQueue, run: StudyRun) -> None:
    left, seconds = queue.remaining()
    done = queue.done() + len(queue.failed)
    job = queue.job(run)
    job = dataclasses.replace(job, title=f"[{done + 1}/{done + left}] {job.title}")
    append_event(queue.folder, "started", run)
    outcome = run_job(job, seconds_left=seconds)
    queue.reload(run)
    facts = {key: value for key, value in queue.result(run).items() if key in JOURNALED}
    facts["took_s"] = round(outcome.seconds, 3)
    if outcome.error is not None:
        queue.failed[run] = outcome.error
        append_event(queue.folder, "failed", run, error=outcome.error, **facts)
        return
    append_event(queue.folder, "finished", run, **facts)
    left, seconds = queue.remaining()
    rest = f"; about {rough_duration(seconds)} left" if left and seconds is not None else ""
    accuracy = outcome.result["final_accuracy"]
    print(f"{job.title}: {accuracy:.2f} % in {rough_duration(outcome.seconds)}{rest}", flush=True)


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
