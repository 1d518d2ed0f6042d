"""One run from config to result: trackers, status, report. Whatever happens, the run directory says so."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.core.errors import EvalOutOfMemory, Interrupted, OutOfMemory, UserError
from ast_experiments.runs import result as results
from ast_experiments.tracking.wandb import agent_run_id, disabled, end_service

if TYPE_CHECKING:
    from ast_experiments.tracking.callback import StopCallback
    from ast_experiments.training.stop import Stop

FINISH_S = 10.0  # that a tracker has to finish, beside the time that W&B has for its upload

logger = logging.getLogger(__name__)


def execute(
    config: Config, folder: Path, overrides: Sequence[str] = (), watch: StopCallback | None = None
) -> dict[str, Any]:
    """Run, or go on with, the experiment in a run directory.

    Args:
        config: Checked.
        folder: The run directory; a checkpoint in it is continued.
        overrides: What was typed, for the record.
        watch: Sees the log rows of a run in this process; a reason that it returns stops the run as a signal does.

    Returns:
        The result, as written to result.json.

    Raises:
        Exception: Whatever the run raised, after it was written down.
        Interrupted: If a signal stopped it; everything is saved.
    """
    from ast_experiments.config.resolve import describe_images
    from ast_experiments.training.hardware import check_processes
    from ast_experiments.training.stop import Stop

    count = check_processes(config.hardware.device, config.hardware.processes)
    if count > 1 and not distributed.launched():
        return _share(config, folder, overrides, count)
    distributed.init()
    if distributed.rank() > 0:
        return _follow(config, folder)
    before = results.read(folder) or {}
    result: dict[str, Any] = {
        "status": "failed",
        "run_id": before.get("run_id") or agent_run_id() or secrets.token_hex(4),
        "folder": str(folder),
        **results.describe(config),
        "overrides": list(overrides),
        "started": before.get("started") or _now(),
        "resumed": before.get("resumed", 0) + bool(before),
        **results.environment(),
    }
    _check_same(config, before, folder)
    if config.tracking.console:
        print(f"{result['method']} on {result['dataset']}, in {_relative({'': folder})['']}", flush=True)
        if line := describe_images(config):
            print(line, flush=True)
    with Stop(config.hardware.max_hours) as stop:
        kept = _kept(folder)
        # From now on the directory is a run that can be read, whatever happens to the process.
        _save(config, folder)
        results.write(folder, result | {"status": "running"})
        try:
            _execute(config, folder, result, stop, watch)
        except UserError:
            if before.get("steps", 0) > result.get("steps", 0):  # refused before it went on: what was done stays told
                _put_back(kept)
            raise
    return result


def _kept(folder: Path) -> dict[Path, bytes]:
    """The files that tell of the run so far."""
    files = (folder / name for name in ("config.yaml", results.NAME, "report.html"))
    return {file: file.read_bytes() for file in files if file.is_file()}


def _put_back(kept: Mapping[Path, bytes]) -> None:
    for file, content in kept.items():
        file.write_bytes(content)


def _share(config: Config, folder: Path, overrides: Sequence[str], count: int) -> dict[str, Any]:
    """The same by several processes, of which the first one writes."""
    from ast_experiments.runs.launcher import run_ranks

    before, kept = results.read(folder) or {}, _kept(folder)
    _check_same(config, before, folder)
    _save(config, folder)
    try:
        run_ranks(folder, overrides, count)
    finally:
        result = results.read(folder) or {}
        if before and result == before:
            _put_back(kept)
        if result.get("status") == "running":  # killed: it could not say so itself
            result |= {"status": "failed", "error": "a process of the run was killed"}
            results.write(folder, result)
    return result


def _check_same(config: Config, before: Mapping[str, Any], folder: Path) -> None:
    if before.get("config_hash", results.config_hash(config)) != results.config_hash(config):
        raise UserError(f"{folder} holds a run of another config; give another hydra.run.dir, or none")


def _save(config: Config, folder: Path) -> None:
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create(dataclasses.asdict(config)), folder / "config.yaml")


def _follow(config: Config, folder: Path) -> dict[str, Any]:
    """The same run on a rank that writes nothing."""
    from ast_experiments.runs.build import build_run
    from ast_experiments.tracking import Trackers
    from ast_experiments.training.hardware import algorithms
    from ast_experiments.training.stop import Stop

    logging.getLogger("ast_experiments").handlers.clear()  # the first process says it
    run = None
    with Stop(config.hardware.max_hours) as stop:
        try:
            run = build_run(config, folder, lambda facts: Trackers([]))
            run.stop = stop
            with algorithms(run.stepper.hardware):
                run.fit()
            return results.reached(run)
        except Exception as error:
            raise _explained(error, config, folder) from error
        finally:
            if run is not None:
                run.close()


def _execute(config: Config, folder: Path, result: dict[str, Any], stop: Stop, watch: StopCallback | None) -> None:
    """Build and fit; leaves in `result` what came of it."""
    from ast_experiments.runs.build import build_run
    from ast_experiments.tracking.callback import CallbackTracker
    from ast_experiments.training.hardware import algorithms

    trackers: list[Any] = []
    watcher = () if watch is None else (CallbackTracker(watch, stop.ask),)
    run = None
    try:
        run = build_run(config, folder, lambda facts: _trackers(config, folder, result, facts, trackers, watcher))
        run.stop = stop
        with algorithms(run.stepper.hardware):
            run.fit()
        result["status"] = "finished"
    except Interrupted as signal:
        result |= {"status": "interrupted", "error": f"stopped by {signal}"}
        raise Interrupted(f"{signal}; go on with: ast-resume {_relative({'': folder})['']}") from None
    except KeyboardInterrupt:
        result |= {"status": "interrupted", "error": "stopped at once by a second signal"}
        raise
    except Exception as error:
        explained = _explained(error, config, folder)
        told = explained if isinstance(explained, OutOfMemory) else error
        result["error"] = f"{type(told).__name__}: {told}"
        logger.info("the run failed", exc_info=True)  # below a warning: the terminal gets one line
        raise explained from (None if explained is error else error)
    except BaseException as error:
        result["error"] = f"{type(error).__name__}: {error}"
        logger.info("the run failed", exc_info=True)
        raise
    finally:
        if run is not None:
            result |= results.reached(run)
        _finish(config, folder, result, trackers)
        if run is not None:
            run.close()


def _explained(error: Exception, config: Config, folder: Path) -> Exception:
    """The error itself, or what to do about it in one line."""
    from ast_experiments.runs.build import method_of
    from ast_experiments.training.hardware import out_of_memory

    again = f"ast-resume {_relative({'': folder})['']}"
    if out_of_memory(error):
        recipe, scale = config.recipe, config.hardware.batch_scale
        rows, less = f"recipe.batch_size={recipe.batch_size}", f"recipe.batch_size={max(1, recipe.batch_size // 2)}"
        if isinstance(error, EvalOutOfMemory):
            rows, less = (f"recipe.eval_batch_size={n}" for n in (error.rows, max(1, error.rows // 2)))
        elif scale != 1:
            rows, less = f"{rows} hardware.batch_scale={scale:g}", f"hardware.batch_scale={scale / 2:g}"
        whole = config.hardware.auto_batch or method_of(config).trains_every_row
        resume = "" if whole else f"go on with: {again} hardware.auto_batch=true, or "
        return OutOfMemory(f"out of memory with {rows}; {resume}start a new run with {less}")
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        said = str(error).splitlines()[0].partition(".")[0]
        return UserError(
            f"{said}: that is what becomes of it where memory runs out; "
            f"go on with fewer of them: {again} hardware.workers=1"
        )
    if isinstance(error, OSError):
        return UserError(f"{folder}: {error}; when that is mended type {again}")
    return error


def _finish(config: Config, folder: Path, result: dict[str, Any], trackers: list[Any]) -> None:
    """Write the result, then the report; then let the trackers go. One that fails does not keep the others from it."""
    from ast_experiments.analysis.control import control_quality
    from ast_experiments.analysis.report import write_report
    from ast_experiments.runs.record import read_run

    def quality() -> None:
        record = read_run(folder)
        found = control_quality(record.steps, record.epochs)
        if found is not None:
            result["control"] = dataclasses.asdict(found)

    result["finished"] = _now()
    for tracker in trackers:
        _attempt(tracker.flush, "the record could not be written to its end")
    _attempt(quality, "control quality could not be computed")
    _attempt(lambda: results.write(folder, result), "result.json could not be written")
    if config.tracking.report:
        _attempt(lambda: write_report(folder), "the report could not be written")
    for tracker in trackers:
        _attempt(lambda tracker=tracker: tracker.finish(result), "a tracker could not be closed")


def _attempt(action: Callable[[], object], complaint: str) -> None:
    try:
        action()
    except Exception as error:
        logger.info(complaint, exc_info=True)
        print(f"{complaint}: {error}", file=sys.stderr)


def _trackers(
    config: Config, folder: Path, result: dict[str, Any], facts: dict[str, Any], made: list[Any], watcher: Sequence[Any]
) -> Any:
    from ast_experiments.tracking import Trackers
    from ast_experiments.tracking.background import BackgroundTracker
    from ast_experiments.tracking.jsonl import JsonlTracker

    result |= facts
    results.write(folder, result | {"status": "running"})
    if config.tracking.console and (told := _batches(config, **facts["batch"])):
        print(told, flush=True)
    metrics = folder / "metrics.jsonl"
    trackers: list[Any] = [JsonlTracker(metrics)]
    paths: dict[str, Any] = {}
    if config.tracking.report:
        paths["report"] = folder / "report.html"
    paths |= {"metrics": metrics, "result": folder / results.NAME}
    if config.tracking.wandb != "disabled":
        wandb = _quietly(lambda: _wandb(config, folder, result))
        if wandb is not None:
            result["wandb"] = {"id": wandb.run_id, "mode": wandb.mode, "directory": str(wandb.directory or "")}
            paths["W&B"] = wandb.url or wandb.directory
            trackers.append(
                BackgroundTracker(wandb, timeout=config.tracking.wandb_timeout_s + FINISH_S, give_up=end_service)
            )
    if config.tracking.tensorboard:
        from ast_experiments.tracking.tensorboard import TensorboardTracker

        paths["TensorBoard"] = folder / "tensorboard"
        trackers.append(BackgroundTracker(TensorboardTracker(paths["TensorBoard"]), timeout=FINISH_S))
    if config.tracking.console:
        from ast_experiments.tracking.console import ConsoleTracker

        title = f"{result['method']} on {result['dataset']}"
        trackers.append(ConsoleTracker(config.recipe.epochs, title, paths=_relative(paths)))
    made.append(Trackers([*trackers, *watcher]))
    return made[0]


def _batches(config: Config, *, rows: int, at_once: int, processes: int, lr: float) -> str:
    """What the hardware makes of the recipe's batches; empty where it takes them as they are."""
    told = []
    if rows != config.recipe.batch_size:
        told.append(f"(recipe.batch_size={config.recipe.batch_size}) at a learning rate of {lr:.4g}")
    if processes > 1:
        told.append(f"shared by {processes} processes")
    if at_once < rows // processes:
        told.append(f"{at_once} rows at once, their gradients added up; BatchNorm sees the parts")
    return f"batches of {rows} rows {', '.join(told)}" if told else ""


def _wandb(config: Config, folder: Path, result: dict[str, Any]) -> Any:
    from ast_experiments.tracking.wandb import WandbTracker
    from ast_experiments.training import checkpoint

    if disabled(config.tracking.wandb):
        return None
    labels = (result["dataset"], result["model"], result["method"], result["scoring"], result["controller"])
    return WandbTracker(
        folder,
        mode=config.tracking.wandb,
        project=config.tracking.project,
        entity=config.tracking.entity,
        group=config.group,
        job_type="train",
        tags=[label for label in (*labels, *config.tags) if label],
        name=f"{folder.name}",
        config=dataclasses.asdict(config) | {"overrides": result["overrides"]},
        run_id=result["run_id"],
        artifacts=[folder / "checkpoints" / checkpoint.NAME] if config.tracking.artifacts else (),
        timeout=config.tracking.wandb_timeout_s,
    )


def _quietly(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        logger.info("W&B is left out", exc_info=True)
        print(f"W&B is left out ({type(error).__name__}: {error}); metrics.jsonl is complete", file=sys.stderr)
        return None


def _relative(paths: dict[str, Any]) -> dict[str, Any]:
    def shorten(path: Any) -> Any:
        try:
            return Path(path).relative_to(Path.cwd())
        except (TypeError, ValueError):
            return path

    return {label: shorten(path) for label, path in paths.items()}


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
