"""What a sweep adds to its runs: finished jobs are skipped, failures told at once, a report written after every job.

A job's directory follows from its overrides, so that a sweep which is started again finds what it has done. All of it
is read from files: jobs may run in other processes, on other machines, and at other times.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.config.compose import LAUNCHERS, Sweep, register_resolvers, typed
from ast_experiments.config.naming import job_name
from ast_experiments.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ast_experiments.config.schema import Config

OTHER_CONFIG = "{folder} holds a run of another config; give the sweep another name, group=NAME"
TOP = 5
WATCH_S = 0.5

logger = logging.getLogger(__name__)
register_resolvers()  # launchers send `job` to other processes, which import nothing but this module


def job(cfg: DictConfig) -> float | None:
    """One job, inside Hydra, in whatever process the launcher chose.

    Returns:
        Its final accuracy in percent; None if it failed, which was written down and told.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder, sweep = Path(hydra.runtime.output_dir), Path(hydra.sweep.dir).resolve()
    overrides = [str(override) for override in hydra.overrides.task]
    result: Mapping[str, Any] = {}
    try:
        config = typed(cfg)
        config = dataclasses.replace(config, group=config.group or sweep.name)
        with _taken(folder):
            before = _before(config, folder)
            if before.get("status") == "finished":
                if speaks():
                    print(f"finished already: {folder.name}", flush=True)
                    _complete(config, folder)
                return before.get("final_accuracy")
            from ast_experiments.runs.run import execute

            result = execute(config, folder, overrides)
    except Exception as error:
        logger.info("the job failed", exc_info=True)  # below a warning: the terminal gets one line
        if speaks():
            _tell(overrides, f"{type(error).__name__}: {error}", folder)
    if speaks():
        _report(sweep)
    return result.get("final_accuracy")


def _complete(config: Config, folder: Path) -> None:
    """Write the report of a run that was killed after its result."""
    from ast_experiments.analysis.report import write_report

    if config.tracking.report and not (folder / "report.html").is_file():
        write_report(folder)


def _before(config: Config, folder: Path) -> Mapping[str, Any]:
    """What the job has left here at another time; empty if nothing.

    Raises:
        UserError: If it was of another config.
    """
    from ast_experiments.runs.build import config_hash

    before = _result(folder)
    if before.get("config_hash", config_hash(config)) != config_hash(config):
        raise UserError(OTHER_CONFIG.format(folder=folder))
    return before


def speaks() -> bool:
    """Whether this process is the one that talks to the user: rank 0 under torchrun."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _taken(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a run directory. Of the ranks of one run, the first one does.

    Raises:
        UserError: If another one is in it.
    """
    from filelock import FileLock, Timeout

    from ast_experiments.core import distributed

    lock = FileLock(folder / ".lock", timeout=0)
    with suppress(Timeout):
        if distributed.rank() == 0:
            lock.acquire()
    try:
        if not distributed.broadcast_object(lock.is_locked):
            raise UserError(f"{folder} is in the hands of another process; wait for that one")
        yield
    finally:
        lock.release()


def begin(sweep: Sweep) -> None:
    """Say what is about to be done.

    Raises:
        ConfigError: If the directory holds jobs of other configs.
    """
    for overrides, expected in zip(sweep.jobs, sweep.hashes, strict=True):
        folder = sweep.folder / job_name(overrides)
        if _result(folder).get("config_hash", expected) != expected:
            raise ConfigError(OTHER_CONFIG.format(folder=folder))
    done = sum(status == "finished" for status in statuses(sweep).values())
    told = f", {done} of them finished already" if done else ""
    print(f"{len(sweep.jobs)} jobs in {sweep.folder}{told}", flush=True)


def conclude(sweep: Sweep) -> bool:
    """Show the sweep as it stands and what to do about jobs without an end; whether all have finished."""
    from ast_experiments.analysis.gains.page import write_sweep
    from ast_experiments.analysis.leaderboard import leaderboard, print_leaderboard

    rows = leaderboard(sweep.folder) if sweep.folder.is_dir() else []
    if rows:
        print_leaderboard(rows)
        print(*write_sweep(sweep.folder), sep="\n", flush=True)
    open_jobs = [status for status in statuses(sweep).values() if status != "finished"]
    if open_jobs:
        print(f"{len(open_jobs)} of {len(sweep.jobs)} jobs did not finish; the same command goes on", file=sys.stderr)
    return not open_jobs


def statuses(sweep: Sweep) -> dict[str, str]:
    """Status by name of each job, as their files tell it."""
    names = [job_name(overrides) for overrides in sweep.jobs]
    return {name: str(_result(sweep.folder / name).get("status", "not started")) for name in names}


@contextmanager
def watched(sweep: Sweep) -> Iterator[None]:
    """Tell of failures that launchers keep in log files of their own, as soon as they are written down."""
    if LAUNCHERS.get(sweep.launcher) != "submitit":
        yield
        return
    over, since = threading.Event(), time.time()
    watcher = threading.Thread(target=_watch, args=(sweep, over, since), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(sweep: Sweep, over: threading.Event, since: float) -> None:
    told: set[str] = set()
    last = False
    while not last:
        last = over.wait(WATCH_S)  # one more look after the end
        for overrides in sweep.jobs:
            folder = sweep.folder / job_name(overrides)
            result = _result(folder)
            fresh = result and (folder / "result.json").stat().st_mtime >= since and folder.name not in told
            if fresh and result.get("status") == "failed":
                told.add(folder.name)
                _tell(overrides, result.get("error", ""), folder)


def _result(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return {}


def _tell(overrides: Sequence[str], error: str, folder: Path) -> None:
    line = " ".join(error.split())
    log = os.path.relpath(folder / "train.log")
    print(f"error: {' '.join(overrides)}: {line}; see {log}", file=sys.stderr, flush=True)


def _report(sweep: Path) -> None:
    """The leaders, and the files of the sweep anew. That it fails is no reason to lose a job."""
    from ast_experiments.analysis.gains.page import write_sweep
    from ast_experiments.analysis.leaderboard import leaderboard, print_leaderboard

    try:
        print_leaderboard(leaderboard(sweep), top=TOP)
        write_sweep(sweep)
    except Exception as error:
        logger.info("the sweep's report could not be written", exc_info=True)
        print(f"the sweep's report could not be written: {error}", file=sys.stderr)
