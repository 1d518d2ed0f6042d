"""Jobs of a sweep under a Hydra launcher (joblib, submitit, SLURM), in processes that import only this module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.config.compose import PACKAGED, Source, adapted, register_resolvers
from ast_experiments.config.naming import job_name
from ast_experiments.config.preflight import Sweep
from ast_experiments.config.validate import validate
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.runner import claimed, print_failure
from ast_experiments.experiments.sweep import run_one

if TYPE_CHECKING:
    from omegaconf import DictConfig

register_resolvers()


def launch(sweep: Sweep, overrides: Sequence[str], source: Source = PACKAGED) -> None:
    """Runs the jobs of a sweep through its launcher.

    Args:
        sweep: Checked.
        overrides: As on the command line.
        source: The primary config.
    """
    from ast_experiments.config.hydra_app import launch_jobs

    # Workers cannot compute the directories again: they would name the sweep after a launch of their own.
    folder = str(sweep.folder).replace("'", r"\'")
    jobs = [[*adapted(each, source), f"hydra.sweep.subdir='{job_name(each)}'"] for each in sweep.jobs]
    launch_jobs(jobs, [*overrides, f"hydra.sweep.dir='{folder}'"], job, source)


def job(cfg: DictConfig) -> float | None:
    """Runs one job in the process that the launcher chose.

    Returns:
        Its final accuracy in percent; None if it failed.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder, sweep = Path(hydra.runtime.output_dir), Path(hydra.sweep.dir).resolve()
    overrides = [str(override) for override in hydra.overrides.task]
    try:
        config = validate(cfg)
    except ConfigError as error:
        print_failure(" ".join(overrides), str(error), folder)
        return None
    title = " ".join(overrides)
    with claimed(folder, title) as free:
        return run_one(config, folder, overrides, sweep, title=title) if free else None
