"""Running a study: one run after another in one process, until nothing is left."""

from __future__ import annotations

import dataclasses
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ast_experiments.core.errors import ConfigError, Interrupted, UserError
from ast_experiments.experiments.progress import duration, watching
from ast_experiments.experiments.study.plan import DENSE, Arm
from ast_experiments.experiments.study.queue import Agenda
from ast_experiments.experiments.study.state import Job, note

WARM_STEPS = 4
TOLD = ("final_accuracy", "mean_activation_rate", "rows_trained", "seconds", "flops", "energy", "resumed")


def check(agenda: Agenda) -> None:
    """Compose and check every run, and see that the data are there; nothing is written.

    Raises:
        ConfigError: About the first run that is wrong.
        DataError: If the data are not there.
        UserError: If a run was made with other settings.
    """
    from ast_experiments.config import compose
    from ast_experiments.runs.build import build_dataset, config_hash

    # The rates of baselines to come are not known yet; any rate will do to check the rest.
    for arm in [*agenda.plan.arms, Arm("rs2", "rs2", ("method.rate=0.5",), ("rs2:",))]:
        config = agenda.config(arm)
        if config.max_steps is not None:
            raise ConfigError("max_steps: a study compares whole runs; type recipe.epochs=N")
        compose.check(config)
    build_dataset(agenda.config(DENSE))
    for job in agenda.jobs():
        made_with = agenda.result(job).get("config_hash")
        if made_with not in (None, config_hash(agenda.job_config(job))):
            raise UserError(
                f"{agenda.folder / job.place} was made with other settings (a file of conf/ has changed); "
                "restore it, or give another name="
            )


def conduct(agenda: Agenda) -> None:
    """Run all that is left; a run that fails is told of and passed over.

    Raises:
        Interrupted: On a signal, when everything is saved.
        UserError: If costs are wanted in a unit that was not measured, or the device no longer answers.
    """
    try:
        _warm_up(agenda)
        while True:
            for text in agenda.decide():
                print(text, flush=True)
            todo = agenda.todo()
            if not todo:
                return
            _run(agenda, todo[0])
    except (Interrupted, KeyboardInterrupt) as signal:
        done, left = sum(map(agenda.finished, agenda.jobs())), agenda.left()[0] + len(agenda.failed)
        reason = str(signal).partition(";")[0] or "stopped"
        raise Interrupted(
            f"{reason}; {done} of {done + left} runs are done; go on with: ast-bench {agenda.folder}"
        ) from None


def _run(agenda: Agenda, job: Job) -> None:
    from ast_experiments.runs.run import execute

    place = agenda.folder / job.place
    place.mkdir(parents=True, exist_ok=True)
    left, seconds = agenda.left()
    done = sum(map(agenda.finished, agenda.jobs())) + len(agenda.failed)
    head = f"[{done + 1}/{done + left}] {job.title}"
    note(agenda.folder, "started", job)
    begun = time.monotonic()
    error: dict[str, str] = {}
    try:
        with logged(place), watching(head, place, seconds, quiet=agenda.verbose):
            execute(agenda.job_config(job), place.resolve(), [*agenda.plan.study.common, *job.arm.overrides])
    except (Exception, SystemExit) as raised:
        text = str(raised) if isinstance(raised, UserError) else f"{type(raised).__name__}: {raised}"
        error["error"] = agenda.failed[job] = text
        print(f"{head}: failed: {text}; see {place / 'train.log'}", file=sys.stderr, flush=True)
    agenda.forget(job)
    took = time.monotonic() - begun
    result = agenda.result(job)
    facts = {key: result[key] for key in TOLD if key in result}
    note(agenda.folder, "failed" if error else "finished", job, took_s=round(took, 3), **error, **facts)
    if not error:
        print(f"{head}: {result['final_accuracy']:.2f} % in {duration(took)}{_rest(agenda)}", flush=True)
    clean_up()


def _rest(agenda: Agenda) -> str:
    left, seconds = agenda.left()
    return f"; about {duration(seconds)} left" if left and seconds is not None else ""


def _warm_up(agenda: Agenda) -> None:
    """Some steps that nobody counts, so that the first run does not pay for the start of libraries and device."""
    if not agenda.todo():
        return
    from ast_experiments.runs.run import execute

    config = agenda.config(DENSE)
    config = dataclasses.replace(
        config,
        max_steps=WARM_STEPS,
        dataset=dataclasses.replace(config.dataset, val_rows=config.recipe.batch_size),
        tracking=dataclasses.replace(config.tracking, console=False, wandb="disabled", report=False),
        energy=dataclasses.replace(config.energy, idle_seconds=0.0),
    )
    # What is wrong with it is wrong with the runs too, and they tell.
    with tempfile.TemporaryDirectory() as folder, logged(Path(folder)), suppress(Exception):
        execute(config, Path(folder))


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """What is logged meanwhile goes to train.log of a run, and nowhere else."""
    handler = logging.FileHandler(folder / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def clean_up() -> None:
    """Free what the last run held.

    Raises:
        UserError: If the device no longer answers: no other run would come to anything in this process.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError as error:
            raise UserError(f"the GPU no longer answers this process ({error}); start the study again") from error
