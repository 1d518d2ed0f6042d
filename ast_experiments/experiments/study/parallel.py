"""Runs a study several runs at once. This process decides and writes the journal; others make the runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.core.errors import Interrupted
from ast_experiments.experiments.pool import Pool
from ast_experiments.experiments.progress import live_line, position
from ast_experiments.experiments.study.log import StudyLog
from ast_experiments.experiments.study.plan import StudyRun
from ast_experiments.experiments.study.worker import StudyRuns

if TYPE_CHECKING:
    from omegaconf import DictConfig

POLL_S = 0.5
WORKER = "ast_experiments.experiments.study.worker"
ENDED = ("finished", "failed")


def run_in_processes(log: StudyLog) -> None:
    """Runs everything that remains, in worker processes. The next run in order starts as soon as a worker is free.

    Raises:
        Interrupted: On a signal, after every run is saved.
        UserError: If the requested unit of cost was not measured.
    """
    from ast_experiments.training.stop import Stop

    queue = log.queue
    quiet = any(override.startswith("tracking.console=") for override in queue.plan.study.common)
    pool: Pool[StudyRun] = Pool(queue.folder, log.at_once, WORKER)
    with pool, Stop() as stop, live_line(lambda: _line(log, pool), quiet=quiet):
        reason = None
        while True:
            if reason is None:
                log.decide()
                _start(log, pool)
            if not pool.running:
                break
            for ended in pool.wait(POLL_S):
                if ended.interrupted is not None:
                    reason = reason or _ask(pool, ended.interrupted)
                else:
                    log.ended(ended.run, ended.seconds, ended.error)
            if stop.received is not None and reason is None:
                reason = _ask(pool, stop.received)
        if reason is not None:
            raise Interrupted(reason)


def _start(log: StudyLog, pool: Pool[StudyRun]) -> None:
    running = pool.running
    for run in [run for run in log.queue.pending() if run not in running][: pool.free]:
        ended, total = log.counts()
        log.started(run)
        title = f"[{ended + len(pool.running) + 1}/{total}] {run.title}"
        pool.start(run, {"run": run.path, "title": title})


def _ask(pool: Pool[StudyRun], reason: str) -> str:
    pool.interrupt()
    return reason


def _line(log: StudyLog, pool: Pool[StudyRun]) -> str:
    runs = [f"{run.title}: {position(log.queue.folder / run.path)}" for run in pool.running]
    return " | ".join([*runs, *filter(None, [log.rest()])])


def run_with_launcher(log: StudyLog, overrides: Sequence[str]) -> None:
    """Runs everything that remains as jobs of a Hydra launcher: first what decisions depend on, then the rest.

    Args:
        log: Of the study.
        overrides: Of the launcher.

    Raises:
        Interrupted: If jobs were stopped; they are saved.
        UserError: If the requested unit of cost was not measured.
    """
    from ast_experiments.config.hydra_app import launch_jobs

    queue = log.queue
    # The job reads its config from the plan; what Hydra composes is not used and not written.
    folder = str(queue.folder.resolve()).replace("'", r"\'")
    common = [*overrides, f"hydra.sweep.dir='{folder}'", "hydra.output_subdir=null"]
    while True:
        log.decide()
        batch = queue.batch()
        if not batch:
            return
        for run in batch:
            log.started(run)
        with _watched(log, batch) as open_runs:
            launch_jobs([[f"hydra.sweep.subdir='{run.path}'"] for run in batch], common, study_job)
        for run in open_runs:
            if queue.result(run).get("status") == "interrupted":
                raise Interrupted(str(queue.result(run).get("error", "stopped")).removeprefix("stopped by "))
            log.ended(run, 0.0, "its job ended without a result")


def study_job(cfg: DictConfig) -> None:
    """Makes one run in the process that the launcher chose."""
    del cfg
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    StudyRuns(Path(hydra.sweep.dir)).run(hydra.sweep.subdir, logs=False)


@contextmanager
def _watched(log: StudyLog, batch: Sequence[StudyRun]) -> Iterator[list[StudyRun]]:
    """Journals each run of a batch when its result appears. Yields the runs that have no result, once it has ended."""
    before = {run: log.queue.result(run).get("finished") for run in batch}
    open_runs = list(batch)
    ended = threading.Event()

    def watch() -> None:
        last = False
        while not last:
            last = ended.wait(POLL_S)  # look once more after the end
            for run in list(open_runs):
                log.queue.reload(run)
                result = log.queue.result(run)
                if result.get("status") in ENDED and result.get("finished") != before[run]:
                    open_runs.remove(run)
                    seconds = sum(result.get("seconds", {}).values())
                    failed = result["status"] == "failed"
                    log.ended(run, seconds, result.get("error", "failed") if failed else None)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield open_runs
    finally:
        ended.set()
        watcher.join()
