"""Checks every job of a command line before anything starts or is written."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ast_experiments.config.checks import check
from ast_experiments.config.compose import PACKAGED, Source, compose, split_jobs
from ast_experiments.config.groups import GROUPS, REMOTE_LAUNCHERS
from ast_experiments.config.naming import job_name, launch_id, override_key
from ast_experiments.config.validate import first_line, validate
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from ast_experiments.config.schema import Config


UNSUPPORTED = ("hydra.callbacks", "hydra/callbacks", "hydra.job.chdir", "hydra.job.env_set", "hydra.sweep.subdir")
"""Settings of Hydra that would have no effect."""
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
SWEEPER = "basic"
"""The choice of `hydra/sweeper`: every combination of the listed values."""


class Sweep(NamedTuple):
    """The jobs of a sweep.

    Attributes:
        folder: Directory of the sweep.
        jobs: Overrides of each job.
        launcher: Choice of `hydra/launcher`; "basic" runs the jobs in this process, one after the other.
        configs: Config of each job, checked.
    """

    folder: Path
    jobs: list[list[str]]
    launcher: str
    configs: list[Config]


def preflight(overrides: Sequence[str], multirun: bool, source: Source = PACKAGED) -> Sweep | None:
    """Checks every job of a command line.

    Args:
        overrides: As on the command line.
        multirun: Whether `-m` was given.
        source: The primary config.

    Returns:
        The sweep if it is one, else None.

    Raises:
        ConfigError: About the first job with a wrong setting.
    """
    _check_keys(overrides)
    jobs = split_jobs(overrides, source)
    cfg = compose(jobs[0], hydra=True, source=source)
    _check_sweeper(str(cfg.hydra.runtime.choices["hydra/sweeper"]))
    _check_hydra(cfg)
    if not multirun and not str(cfg.hydra.get("mode")).endswith("MULTIRUN"):
        _check_job(validate(_without_hydra(cfg) if len(jobs) == 1 else compose(overrides, source=source)))
        return None
    launcher = str(cfg.hydra.runtime.choices["hydra/launcher"])
    check_launcher(launcher)
    jobs = split_jobs([*_swept_by(cfg), *overrides], source)
    configs = [validate(compose(job, source=source)) for job in jobs]
    for config in configs:
        _check_job(config, remote=launcher in REMOTE_LAUNCHERS)
    jobs = [[override for override in job if not override.startswith(("hydra.", "hydra/"))] for job in jobs]
    _check_names(jobs)
    return Sweep(_folder(str(cfg.hydra.sweep.dir), jobs), jobs, launcher, configs)


def _check_job(config: Config, remote: bool = False) -> None:
    from ast_experiments.data.find import check_folder

    check(config, remote=remote)
    if not remote:
        check_folder(config.dataset.name, getattr(config.dataset, "root", None))


def _without_hydra(cfg: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key != "hydra"])


def check_launcher(name: str) -> None:
    """Refuses the launcher of this package whose library is missing; Hydra itself does not find the others.

    Raises:
        ConfigError: If Ray is not installed.
    """
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise ConfigError("hydra/launcher=ray: is not installed; type uv sync --inexact --extra ray")


def _swept_by(cfg: Any) -> list[str]:
    """Returns the overrides that a choice of `sweep` adds."""
    from omegaconf import OmegaConf

    sweeper: Any = OmegaConf.to_container(cfg.hydra.sweeper)
    return [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]


def _folder(composed: str, jobs: Sequence[Sequence[str]]) -> Path:
    """Names a sweep without a group by its jobs, not by its launch, so that the same command finds it again."""
    digest = hashlib.sha256("\n".join(sorted(map(job_name, jobs))).encode()).hexdigest()[:8]
    return Path(composed.replace(launch_id(), digest))


def _check_keys(overrides: Sequence[str]) -> None:
    """Refuses keys that cannot be set."""
    for override in overrides:
        key = override_key(override)
        if key == "hydra/sweeper":
            _check_sweeper(override.partition("=")[2])
        if key.startswith(UNSUPPORTED):
            raise ConfigError(f"{key}: is not supported; leave it out")
        group = key.removesuffix(".name")
        if key.endswith(".name") and group in GROUPS:
            raise ConfigError(f"{key}: is read-only; type {group}=NAME to select another choice")


def _check_sweeper(name: str) -> None:
    """Refuses a sweeper that would have no effect."""
    if name != SWEEPER:
        raise ConfigError(
            f"hydra/sweeper={name}: is not supported, only {SWEEPER} is, which runs every combination of the listed "
            "values; leave it out, or search with ast-tune key=LOW..HIGH trials=N"
        )


def _check_hydra(cfg: Any) -> None:
    """Refuses settings of Hydra, of a file as well, that have no effect or cannot be used."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if cfg.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir: is not supported: paths are those of the current directory; leave it out")
    try:
        logging_settings: Any = OmegaConf.to_container(cfg.hydra.job_logging)
        folders = {key: OmegaConf.select(cfg, key) for key in FOLDERS}
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error)) from error
    for key, folder in folders.items():
        if not isinstance(folder, str) or not folder or "\0" in folder:
            raise ConfigError(f"{key}: {folder!r} is wrong; type {key}=FOLDER")
    for place, level in _levels(logging_settings):
        if logging.getLevelNamesMapping().get(str(level)) is None and not isinstance(level, int):
            names = ", ".join(logging.getLevelNamesMapping())
            raise ConfigError(f"hydra.job_logging{place}: {level!r} is no level; there are: {names}")


def _levels(settings: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the place and the value of each level of logging settings."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key == "level":
            yield f"{place}.{key}", value
        yield from _levels(value, f"{place}.{key}")


def _check_names(jobs: Sequence[Sequence[str]]) -> None:
    """Refuses jobs that would share a directory."""
    named: dict[str, Sequence[str]] = {}
    for job in jobs:
        name = job_name(job)
        if name in named:
            first, second = (" ".join(each) or "the plain job" for each in (named[name], job))
            raise ConfigError(
                f"{first} and {second}: two jobs of one sweep differ in nothing that changes a run; "
                "list each value once, and sweep over no setting of tracking, group or tags"
            )
        named[name] = job
