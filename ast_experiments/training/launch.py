"""One run from config to result: trackers, status, report. Whatever happens, the run directory says so."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments import ranks
from ast_experiments.config import Config
from ast_experiments.errors import Interrupted, UserError
from ast_experiments.training import result as results

if TYPE_CHECKING:
    from ast_experiments.training.signals import Stop

logger = logging.getLogger(__name__)


def execute(config: Config, folder: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run, or go on with, the experiment in a run directory.

    Args:
        config: Checked.
        folder: The run directory; a checkpoint in it is continued.
        overrides: What was typed, for the record.

    Returns:
        The result, as written to result.json.

    Raises:
        Exception: Whatever the run raised, after it was written down.
        Interrupted: If a signal stopped it; everything is saved.
    """
    from omegaconf import OmegaConf

    from ast_experiments.training.signals import Stop

    ranks.join()
    if ranks.rank() > 0:
        return _follow(config, folder)
    before = results.read(folder) or {}
    result: dict[str, Any] = {
        "status": "failed",
        "run_id": before.get("run_id") or secrets.token_hex(4),
        "folder": str(folder),
        **results.describe(config),
        "overrides": list(overrides),
        "started": before.get("started") or _now(),
        "resumed": before.get("resumed", 0) + bool(before),
        **results.environment(),
    }
    if before.get("config_hash", result["config_hash"]) != result["config_hash"]:
        raise UserError(f"{folder} holds a run of another config; give another hydra.run.dir, or none")
    if config.tracking.console:
        print(f"{result['method']} on {result['dataset']}, in {_relative({'': folder})['']}", flush=True)
    with Stop() as stop:
        # From now on the directory is a run that can be read, whatever happens to the process.
        OmegaConf.save(OmegaConf.create(dataclasses.asdict(config)), folder / "config.yaml")
        results.write(folder, result | {"status": "running"})
        _execute(config, folder, result, stop)
    return result


def _follow(config: Config, folder: Path) -> dict[str, Any]:
    """The same run on a rank that writes nothing."""
    from ast_experiments.tracking import Trackers
    from ast_experiments.training.build import build_run
    from ast_experiments.training.hardware import algorithms
    from ast_experiments.training.signals import Stop

    with Stop() as stop:
        run = build_run(config, folder, lambda facts: Trackers([]))
        run.stop = stop
        try:
            with algorithms(run.stepper.hardware):
                run.fit()
            return results.reached(run)
        finally:
            run.meter.close()


def _execute(config: Config, folder: Path, result: dict[str, Any], stop: Stop) -> None:
    """Build and fit; leaves in `result` what came of it."""
    from ast_experiments.training.build import build_run
    from ast_experiments.training.hardware import algorithms

    trackers: list[Any] = []
    run = None
    try:
        run = build_run(config, folder, lambda facts: _trackers(config, folder, result, facts, trackers))
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
    except OSError as error:
        result["error"] = f"{type(error).__name__}: {error}"
        logger.error("the run failed\n%s", traceback.format_exc())
        raise UserError(f"{folder}: {error}; when that is mended type ast-resume {folder}") from error
    except BaseException as error:
        result["error"] = f"{type(error).__name__}: {error}"
        logger.error("the run failed\n%s", traceback.format_exc())
        raise
    finally:
        if run is not None:
            result |= results.reached(run)
            run.meter.close()
        _finish(config, folder, result, trackers)


def _finish(config: Config, folder: Path, result: dict[str, Any], trackers: list[Any]) -> None:
    """Write the result, then the report; then let the trackers go. One that fails does not keep the others from it."""
    from ast_experiments.analysis.control import control_quality
    from ast_experiments.analysis.report import write_report
    from ast_experiments.analysis.runs import read_run

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
        logger.exception(complaint)
        print(f"{complaint}: {error}", file=sys.stderr)


def _trackers(config: Config, folder: Path, result: dict[str, Any], facts: dict[str, Any], made: list[Any]) -> Any:
    from ast_experiments.tracking import Trackers
    from ast_experiments.tracking.jsonl import JsonlTracker

    result |= facts
    results.write(folder, result | {"status": "running"})
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
            trackers.append(wandb)
    if config.tracking.console:
        from ast_experiments.tracking.console import ConsoleTracker

        title = f"{result['method']} on {result['dataset']}"
        trackers.append(ConsoleTracker(config.recipe.epochs, title, paths=_relative(paths)))
    made.append(Trackers(trackers))
    return made[0]


def _wandb(config: Config, folder: Path, result: dict[str, Any]) -> Any:
    from ast_experiments.tracking.wandb import WandbTracker, resolve_mode

    if resolve_mode(config.tracking.wandb) == "disabled":
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
    )


def _quietly(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        logger.warning("W&B is left out: %s: %s", type(error).__name__, error)
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
