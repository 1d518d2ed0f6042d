"""One run from config to result. Whatever stops it, the run directory says so."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.core.errors import Interrupted, LostProcess, OutOfMemory
from ast_experiments.core.files import short_path
from ast_experiments.runs import result as results
from ast_experiments.runs.control_quality import control_quality
from ast_experiments.runs.directory import RunDirectory, now
from ast_experiments.runs.neighbours import Neighbours, neighbours
from ast_experiments.runs.record import read_result, read_run
from ast_experiments.tracking.wandb import agent_run_id
from ast_experiments.training.checkpoint_file import settle

if TYPE_CHECKING:
    from ast_experiments.tracking import Trackers
    from ast_experiments.tracking.callback import StopCallback
    from ast_experiments.training.loop import Trainer
    from ast_experiments.training.stop import Stop

AT_ONCE = "stopped at once by a second Ctrl-C"

logger = logging.getLogger(__name__)


def execute(
    config: Config, folder: Path, overrides: Sequence[str] = (), watch: StopCallback | None = None
) -> dict[str, Any]:
    """Runs the experiment in a run directory, from its last checkpoint if it has one.

    Args:
        config: Validated and checked.
        folder: The run directory.
        overrides: Overrides that the user typed, for the record.
        watch: Called with each log row in this process; if it returns a reason, the run saves and stops.

    Returns:
        The result, as written to result.json.

    Raises:
        Exception: The error that stopped the run, after it was recorded.
        Interrupted: If a signal stopped the run; everything is saved.
    """
    from ast_experiments.training.hardware import check_processes
    from ast_experiments.training.stop import Stop

    count = check_processes(config.hardware.device, config.hardware.processes)
    if count > 1 and not distributed.launched():
        return _run_ranks(config, folder, overrides, count)
    distributed.init()
    if distributed.rank() > 0:
        return _run_rank(config, folder)
    run = Execution(RunDirectory(folder, config), config, overrides)
    with Stop(config.hardware.max_hours) as stop:
        run.run(stop, watch)
    return run.result


class Execution:
    """One part of a run, from its start or its last checkpoint to its end or an interruption.

    Args:
        directory: The run directory.
        config: Of the run.
        overrides: Overrides that the user typed.

    Attributes:
        result: The content of result.json.
    """

    def __init__(self, directory: RunDirectory, config: Config, overrides: Sequence[str]) -> None:
        self._directory, self._config, self._folder = directory, config, directory.folder
        before = directory.before
        self.result: dict[str, Any] = {
            "status": "failed",
            "run_id": before.get("run_id") or agent_run_id() or secrets.token_hex(4),
            "folder": str(self._folder),
            **results.describe(config),
            "overrides": list(overrides),
            "started": before.get("started") or now(),
            "resumed": before.get("resumed", 0) + bool(before),
            **results.environment(),
        }
        if before.get("shared"):
            self.result["shared"] = before["shared"]
        self._trackers: Trackers | None = None
        self._unwritable = False  # a file could not be written: the others are tried, but not complained about
        self._neighbours: Neighbours | None = None
        self._open = ExitStack()

    def run(self, stop: Stop, watch: StopCallback | None) -> None:
        """Builds and fits; records the result, whether or not that succeeds."""
        from ast_experiments.runs.build import build_run
        from ast_experiments.runs.errors import explain  # now: nothing can be imported once a disk is full
        from ast_experiments.tracking.callback import CallbackTracker
        from ast_experiments.training.hardware import algorithms

        callbacks = () if watch is None else (CallbackTracker(watch, stop.ask),)
        trainer: Trainer | None = None
        try:
            trainer = build_run(self._config, self._folder, lambda facts: self._begin(facts, callbacks))
            trainer.stop = stop
            with algorithms(trainer.stepper.hardware):
                trainer.fit()
            self.result["status"] = "finished"
        except BaseException as error:
            raise self._failed(error, explain) from (error if isinstance(error, Exception) else None)
        finally:
            if trainer is not None:
                self.result |= results.reached(trainer)
            self._finish(trainer)
            if trainer is not None:
                trainer.close()
            self._open.close()

    def _write_samples(self, trainer: Trainer) -> None:
        """Writes samples.npz, and samples.json for the page."""
        from ast_experiments.runs.gallery import write_gallery

        tracking = self._config.tracking
        trainer.samples.write(self._folder)
        if size := tracking.pictures if tracking.report or tracking.wandb_samples else 0:
            write_gallery(self._folder, trainer.samples.columns(), trainer.dataset, size)

    def _begin(self, facts: dict[str, Any], callbacks: Sequence[Any]) -> Trackers:
        """Writes the first files, now that everything is built, and creates the trackers."""
        from ast_experiments.config.resolve import describe_images
        from ast_experiments.runs.trackers import busy_cores, describe_batches, describe_run, few_steps, make_trackers

        self.result |= facts
        gpu = facts["hardware"].get("gpu_uuid")
        self._neighbours = self._open.enter_context(neighbours([gpu] if gpu else []))
        self._note_shared()
        self._directory.begin(self.result)
        if self._config.tracking.console:
            title = f"{self.result['method']} on {self.result['dataset']}, in {short_path(self._folder)}"
            lines = [title, describe_images(self._config), *describe_run(self._config, self.result)]
            lines.append(describe_batches(self._config, **facts["batch"]))
            lines += [few_steps(self._config, facts["train_samples"]), busy_cores(facts["hardware"])]
            print(*filter(None, lines), sep="\n", flush=True)
        self._trackers = make_trackers(self._config, self._folder, self.result, callbacks)
        return self._trackers

    def _failed(self, error: BaseException, explain: Callable[[Exception, Config, Path], Exception]) -> BaseException:
        """Notes an error in the result; returns the error to raise."""
        if isinstance(error, Interrupted):
            self.result |= {"status": "interrupted", "error": f"stopped by {error}"}
            return Interrupted(f"{error}; resume with: ast-resume {short_path(self._folder)}")
        if isinstance(error, KeyboardInterrupt):
            self.result |= {"status": "interrupted", "error": AT_ONCE}
            return KeyboardInterrupt(f"{AT_ONCE}; resume with: ast-resume {short_path(self._folder)}")
        explained = explain(error, self._config, self._folder) if isinstance(error, Exception) else error
        recorded = explained if isinstance(explained, OutOfMemory | LostProcess) else error
        self.result["error"] = f"{type(recorded).__name__}: {recorded}"
        self._unwritable = isinstance(error, OSError)
        logger.info("the run failed", exc_info=error)  # below a warning: the terminal shows one line
        return explained

    def _finish(self, trainer: Trainer | None) -> None:
        """Writes the result and closes the trackers; a failure of one does not stop the rest."""
        self.result["finished"] = now()
        self._attempt(self._note_shared, "other runs on this machine could not be noticed")
        trackers = self._trackers
        if trackers is not None:
            self._attempt(trackers.flush, "the record could not be completed")
        self._attempt(self._add_control_quality, "control quality could not be computed")
        self._attempt(self._write_result, "result.json could not be written")
        if trainer is not None and trainer.progress.epoch:
            self._attempt(partial(self._write_samples, trainer), "the table of samples could not be written")
        if trackers is not None:
            self._attempt(lambda: trackers.finish(self.result), "a tracker could not be closed")

    def _write_result(self) -> None:
        try:
            self._directory.finish(self.result)
        except OSError:  # the checkpoint before the last one may be all that is left to give
            settle(self._folder / "checkpoints")
            self._directory.finish(self.result)

    def _attempt(self, action: Callable[[], object], complaint: str) -> None:
        try:
            action()
        except Exception as error:
            logger.info(complaint, exc_info=True)
            if not self._unwritable:
                with suppress(OSError):  # the terminal has gone
                    print(f"{complaint}: {error}", file=sys.stderr)

    def _note_shared(self) -> None:
        """Records whether other runs have used the same cores or GPU."""
        if self._neighbours is not None and (found := self._neighbours.shared()):
            self.result["shared"] = sorted({*self.result.get("shared", ()), *found})

    def _add_control_quality(self) -> None:
        if self._directory.begun:
            record = read_run(self._folder)
            quality = control_quality(record.steps, record.epochs)
            if quality is not None:
                self.result["control"] = dataclasses.asdict(quality)


def _run_ranks(config: Config, folder: Path, overrides: Sequence[str], count: int) -> dict[str, Any]:
    """Runs an experiment in `count` processes, of which rank 0 writes."""
    from ast_experiments.runs.launcher import run_ranks

    RunDirectory(folder, config)
    ended = {"status": "failed", "error": "a process of the run was killed"}
    try:
        run_ranks(config, folder, overrides, count)
    except KeyboardInterrupt as error:
        ended = {"status": "interrupted", "error": AT_ONCE}
        raise KeyboardInterrupt(f"{AT_ONCE}; resume with: ast-resume {short_path(folder)}") from error
    except Interrupted as error:
        ended = {"status": "interrupted", "error": f"stopped by {str(error).partition(';')[0]}"}
        raise
    finally:
        result = dict(read_result(folder) or {})
        if result.get("status") == "running":  # rank 0 could not record the end
            result |= ended
            results.write(folder, result)
    return result


def _run_rank(config: Config, folder: Path) -> dict[str, Any]:
    """Runs an experiment on a rank that writes nothing."""
    from ast_experiments.runs.build import build_run
    from ast_experiments.runs.errors import explain
    from ast_experiments.tracking import Trackers
    from ast_experiments.training.hardware import algorithms
    from ast_experiments.training.stop import Stop

    logging.getLogger("ast_experiments").handlers.clear()  # rank 0 shows warnings
    trainer: Trainer | None = None
    with Stop(config.hardware.max_hours) as stop:
        try:
            trainer = build_run(config, folder, lambda facts: Trackers([]))
            trainer.stop = stop
            with algorithms(trainer.stepper.hardware):
                trainer.fit()
            return results.reached(trainer)
        except Exception as error:
            raise explain(error, config, folder) from error
        finally:
            if trainer is not None:
                trainer.close()
