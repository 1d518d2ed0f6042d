"""Runs one job at a time in this process: the common part of sweeps, studies and searches.

The state of a job is in its run directory. A command that is typed again skips the jobs that have finished, resumes
those that were interrupted, and repeats those that failed.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.core.process import is_main_process
from ast_experiments.experiments.progress import live_progress
from ast_experiments.runs.ownership import owned_run
from ast_experiments.runs.record import read_result

if TYPE_CHECKING:
    from ast_experiments.config.schema import Config
    from ast_experiments.tracking.callback import StopCallback

LOG = "train.log"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One run to make.

    Attributes:
        title: Names the job in messages.
        folder: Run directory; created if missing.
        config: Checked.
        overrides: What the config was composed from, for the record.
    """

    title: str
    folder: Path
    config: Config
    overrides: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        result: Content of result.json; empty if the job failed or was stopped.
        seconds: Wall time.
        skipped: The job had finished before.
        error: Why it failed, in one line.
        stopped: Why its callback stopped it.
    """

    result: Mapping[str, Any]
    seconds: float = 0.0
    skipped: bool = False
    error: str | None = None
    stopped: str | None = None


def run_job(
    job: Job,
    *,
    callback: StopCallback | None = None,
    seconds_left: float | None = None,
    logs: bool = True,
) -> Outcome:
    """Runs or resumes a job, or skips it if it has finished. A failure is printed in one line and returned.

    Args:
        job: The job.
        callback: Sees every log row; a reason that it returns stops the run.
        seconds_left: Estimated time of all remaining jobs, for the progress line.
        logs: Own the run directory, write train.log and show a progress line; False if the caller does all this.

    Raises:
        Interrupted: On a signal, after everything is saved.
        UserError: If the GPU no longer answers.
    """
    begun = time.monotonic()
    reasons: list[str] = []

    def watch(row: Mapping[str, Any]) -> str | None:
        reason = None if callback is None else callback(row)
        if reason is not None:
            reasons.append(reason)
        return reason

    try:
        with owned_run(job.folder) if logs else nullcontext():
            before = previous_result(job)
            if before.get("status") == "finished":
                _complete_report(job)
                return Outcome(before, skipped=True)
            with _output(job, seconds_left) if logs else nullcontext():
                result = _execute(job, watch if callback else None)
            outcome = Outcome(result, time.monotonic() - begun)
    except Interrupted as stopped:
        if not reasons or not str(stopped).startswith(reasons[0]):
            raise
        outcome = Outcome({}, time.monotonic() - begun, stopped=reasons[0])
    except (Exception, SystemExit) as raised:
        if isinstance(raised, SystemExit) and not logs:  # a launcher ends the process to requeue the job
            raise
        text = str(raised) if isinstance(raised, UserError) else f"{type(raised).__name__}: {raised}"
        outcome = Outcome({}, time.monotonic() - begun, error=" ".join(text.split()))
        print_failure(job.title, outcome.error or "", job.folder)
    free_memory()
    return outcome


@contextmanager
def claimed(folder: Path, title: str) -> Iterator[bool]:
    """Owns a run directory for the length of a block; yields False, and says so, if another process is in it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(owned_run(folder))
        except UserError as error:
            print_failure(title, str(error), folder)
            yield False
            return
        yield True


def previous_result(job: Job) -> dict[str, Any]:
    """Returns the result that an earlier command left in the job's directory; empty if none.

    Raises:
        UserError: If it belongs to another config.
    """
    from ast_experiments.runs.identity import config_hash

    before = read_result(job.folder)
    if before.get("config_hash", config_hash(job.config)) != config_hash(job.config):
        raise UserError(f"{job.folder} holds a run of another config; restore that config, or type another name")
    return before


@contextmanager
def resumable(command: str, status: Callable[[], str]) -> Iterator[None]:
    """Turns an interruption into one line that says how far the jobs are and how to continue.

    Args:
        command: Continues the jobs.
        status: Returns how many jobs are done.

    Raises:
        Interrupted: If the block was interrupted.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as signal:
        reason = str(signal).partition(";")[0] or "stopped"
        raise Interrupted(f"{reason}; {status()}; resume with: {command}") from None


def print_failure(title: str, error: str, folder: Path) -> None:
    """Prints the error of a job and the path of its log, in one line; only in the main process."""
    if is_main_process():
        line = " ".join(error.split())
        print(f"error: {title}: {line}; see {os.path.relpath(folder / LOG)}", file=sys.stderr, flush=True)


@contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Sends log records to train.log of a run directory, and nowhere else."""
    handler = logging.FileHandler(folder / LOG, encoding="utf-8")
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


def free_memory() -> None:
    """Releases the memory that the last run held.

    Raises:
        UserError: If the GPU no longer answers; then no other job can run in this process.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError as error:
            raise UserError(f"the GPU no longer answers this process ({error}); type the same command again") from error


def _execute(job: Job, callback: StopCallback | None) -> dict[str, Any]:
    from ast_experiments.analysis.reporting import reporting
    from ast_experiments.runs.run import execute

    try:
        with reporting(job.folder, wanted=job.config.tracking.report and is_main_process()):
            return execute(job.config, job.folder.resolve(), job.overrides, callback)
    except Exception:
        logger.info("the job failed", exc_info=True)  # below a warning: the terminal shows one line
        raise


@contextmanager
def _output(job: Job, seconds_left: float | None) -> Iterator[None]:
    with log_to(job.folder), live_progress(job.title, job.folder, seconds_left, quiet=job.config.tracking.console):
        yield


def _complete_report(job: Job) -> None:
    """Writes the report of a run that was killed between its result and its report."""
    from ast_experiments.analysis.page import REPORT
    from ast_experiments.analysis.report import write_report

    if is_main_process() and job.config.tracking.report and not (job.folder / REPORT).is_file():
        write_report(job.folder)
