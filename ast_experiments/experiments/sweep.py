"""Sweeps: runs the jobs, and prints how the sweep stands before, between and after them.

The directory of a job follows from its overrides, so that a sweep finds its finished jobs again. All state is read
from files, because jobs may run in other processes, on other machines, and at other times.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.config.compose import PACKAGED, Source, compose
from ast_experiments.config.groups import LAUNCHERS
from ast_experiments.config.naming import job_name
from ast_experiments.config.preflight import Sweep
from ast_experiments.config.run_dir import run_directory
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.process import is_main_process
from ast_experiments.core.text import rough_duration
from ast_experiments.experiments.progress import live_progress
from ast_experiments.experiments.runner import Job, Outcome, claimed, print_failure, run_job
from ast_experiments.runs.record import read_result

if TYPE_CHECKING:
    from ast_experiments.config.schema import Config

POLL_S = 0.5

logger = logging.getLogger(__name__)


def run_sweep(sweep: Sweep, overrides: Sequence[str], source: Source = PACKAGED) -> None:
    """Runs the jobs of a sweep one after the other in this process. A job that fails does not stop the others.

    Args:
        sweep: Checked.
        overrides: As on the command line; Hydra's own settings among them hold for every job.
        source: The primary config.
    """
    from ast_experiments.analysis.leaderboard import parse_overrides, varied_keys

    settings = [override for override in overrides if override.startswith(("hydra.", "hydra/"))]
    given = [parse_overrides(job) for job in sweep.jobs]
    varied = varied_keys(given)
    said = False
    for i, (job, config) in enumerate(zip(sweep.jobs, sweep.configs, strict=True)):
        folder = sweep.folder / job_name(job)
        own = " ".join(f"{key}={given[i][key]}" for key in varied if key in given[i]) or folder.name
        composed = compose([*job, *settings], hydra=True, source=source)
        with claimed(folder, " ".join(job)) as free:
            if free:
                finished = read_result(folder).get("status") == "finished"
                with nullcontext() if finished else run_directory(composed, folder):
                    run_one(config, folder, job, sweep.folder, title=f"[{i + 1}/{len(sweep.jobs)}] {own}")
                said = said or _say_few_steps(config, folder, own)


def run_one(config: Config, folder: Path, overrides: Sequence[str], sweep: Path, *, title: str) -> float | None:
    """Runs one job, prints one line on how it went, and rewrites the sweep's files.

    Args:
        config: Checked.
        folder: Run directory; its log is already open.
        overrides: As typed, for the record.
        sweep: Directory of the sweep.
        title: Begins the line.

    Returns:
        The final accuracy in percent; None if the job failed.
    """
    quiet = dataclasses.replace(config.tracking, console=False)
    config = dataclasses.replace(config, group=config.group or sweep.name, tracking=quiet)
    with live_progress(title, folder, None, quiet=not is_main_process()):
        outcome = run_job(Job(" ".join(overrides), folder, config, overrides), logs=False)
    if is_main_process() and outcome.error is None:
        print(f"{title}: {_described(outcome)}", flush=True)
        if not outcome.skipped:
            _report(sweep)
    return outcome.result.get("final_accuracy")


def _described(outcome: Outcome) -> str:
    """Returns how a job went, as one line."""
    accuracy, rate = (outcome.result.get(key) for key in ("final_accuracy", "mean_activation_rate"))
    found = [f"{accuracy:.2f} %"] if accuracy is not None else []
    found += [f"rate {rate:.3f}"] if rate is not None else []
    return ", ".join([*found, "finished already" if outcome.skipped else f"in {rough_duration(outcome.seconds)}"])


def _say_few_steps(config: Config, folder: Path, name: str) -> bool:
    """Says whether a job has few training steps, once it has recorded the size of its data; returns whether it did."""
    from ast_experiments.runs.trackers import few_steps

    samples = read_result(folder).get("train_samples")
    remark = few_steps(config, samples) if samples and is_main_process() else ""
    if remark:
        print(f"note: {name}: {remark}", flush=True)
    return bool(remark)


def begin(sweep: Sweep) -> None:
    """Prints how many jobs there are, and how many have finished.

    Raises:
        ConfigError: If a job's directory holds a run of another config.
    """
    from ast_experiments.runs.identity import config_hash

    for overrides, config in zip(sweep.jobs, sweep.configs, strict=True):
        expected = config_hash(config)
        folder = sweep.folder / job_name(overrides)
        if read_result(folder).get("config_hash", expected) != expected:
            raise ConfigError(f"{folder} holds a run of another config; type another name for the sweep, group=NAME")
    done = sum(status == "finished" for status in statuses(sweep).values())
    finished = f", {done} of them finished already" if done else ""
    print(f"{len(sweep.jobs)} {'job' if len(sweep.jobs) == 1 else 'jobs'} in {sweep.folder}{finished}", flush=True)


def conclude(sweep: Sweep) -> bool:
    """Prints the leaderboard and writes the sweep's files. Returns whether all jobs have finished."""
    from ast_experiments.analysis.gains.page import write_sweep
    from ast_experiments.analysis.leaderboard import leaderboard, print_leaderboard

    rows = leaderboard(sweep.folder) if sweep.folder.is_dir() else []
    if rows:
        print_leaderboard(rows)
        print(*write_sweep(sweep.folder), sep="\n", flush=True)
    if sweep.launcher != "basic":  # whose jobs ran in this process
        jobs = zip(sweep.jobs, sweep.configs, strict=True)
        any(_say_few_steps(config, sweep.folder / job_name(job), job_name(job)) for job, config in jobs)
    unfinished = [status for status in statuses(sweep).values() if status != "finished"]
    if unfinished:
        print(
            f"{len(unfinished)} of {len(sweep.jobs)} jobs did not finish; type the same command to continue",
            file=sys.stderr,
        )
    return not unfinished


def statuses(sweep: Sweep) -> dict[str, str]:
    """Returns the status of each job by its directory's name; "not started" if it has no result."""
    names = [job_name(overrides) for overrides in sweep.jobs]
    return {name: read_result(sweep.folder / name).get("status", "not started") for name in names}


@contextmanager
def report_failures(sweep: Sweep) -> Iterator[None]:
    """Prints the failures of jobs whose launcher hides their output, as soon as their results appear."""
    if LAUNCHERS.get(sweep.launcher) != "submitit":
        yield
        return
    ended, since = threading.Event(), time.time()
    watcher = threading.Thread(target=_watch, args=(sweep, ended, since), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(sweep: Sweep, ended: threading.Event, since: float) -> None:
    reported: set[str] = set()
    last = False
    while not last:
        last = ended.wait(POLL_S)  # look once more after the end
        for overrides in sweep.jobs:
            folder = sweep.folder / job_name(overrides)
            result = read_result(folder)
            new = result and folder.name not in reported and (folder / "result.json").stat().st_mtime >= since
            if new and result.get("status") == "failed":
                reported.add(folder.name)
                print_failure(" ".join(overrides), result.get("error", ""), folder)


def _report(sweep: Path) -> None:
    """Rewrites the sweep's files; if that fails, the sweep goes on."""
    from ast_experiments.analysis.gains.page import write_sweep

    try:
        write_sweep(sweep)
    except Exception as error:
        logger.info("the sweep's report could not be written", exc_info=True)
        print(f"the sweep's report could not be written: {error}", file=sys.stderr)
