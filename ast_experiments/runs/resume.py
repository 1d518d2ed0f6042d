"""Continues the run of a directory from its last checkpoint, with the config that is saved there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ast_experiments.config.checks import check
from ast_experiments.config.compose import register_resolvers
from ast_experiments.config.schema import Config
from ast_experiments.config.validate import validate
from ast_experiments.core.errors import ConfigError, DataError, UserError
from ast_experiments.core.yaml_files import read_yaml
from ast_experiments.runs.directory import RunDirectory
from ast_experiments.runs.identity import config_hash
from ast_experiments.runs.ownership import owned_run
from ast_experiments.runs.run import execute

logger = logging.getLogger(__name__)

CONFIGS = ("config.yaml", ".hydra/config.yaml")
"""Files with a run's config. A run that was killed at once has only the second, which is not resolved."""


def resume(folder: Path, config: Config) -> None:
    """Continues a run; does nothing if it has finished.

    Args:
        folder: The run directory.
        config: Of the run, from `saved_config`.
    """
    check(config)
    if line := RunDirectory(folder, config).finished_line():
        print(line)
        return
    with owned_run(folder):
        continue_run(config, folder, _overrides(folder))


def _overrides(folder: Path) -> list[str]:
    """Returns what was typed, for the record; nothing if the file is missing or damaged."""
    file = folder / ".hydra" / "overrides.yaml"
    try:
        return [str(override) for override in read_yaml(file)] if file.is_file() else []
    except DataError:
        return []


def continue_run(config: Config, folder: Path, overrides: Sequence[str]) -> None:
    """Executes a run in its directory, with log records in train.log and warnings on the terminal."""
    logging.basicConfig(
        filename=folder / "train.log",
        level=logging.INFO,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        force=True,
    )
    console = logging.StreamHandler()
    console.setLevel(logging.WARNING)
    console.setFormatter(logging.Formatter("warning: %(message)s"))
    logging.getLogger("ast_experiments").handlers = [console]
    execute(config, folder.resolve(), overrides)


def saved_config(folder: Path, changes: Sequence[str] = ()) -> Config:
    """Returns the config of a run directory, with changes.

    Args:
        folder: The run directory.
        changes: Overrides of settings that do not change the results, such as `hardware.max_hours=8.5`.

    Raises:
        UserError: If it is not a run directory, or its config is damaged.
        ConfigError: If a change would change the results.
    """
    from omegaconf import OmegaConf

    wrong = next((change for change in changes if "=" not in change), None)
    if wrong is not None:
        raise ConfigError(f"{wrong}: cannot be parsed; expected key=value")
    register_resolvers()
    saved, config = _read_config(folder)
    if not changes:
        return config
    merged: Any = OmegaConf.merge(saved, _parsed(changes))
    before, config = config, validate(merged)
    if config_hash(config) != config_hash(before):
        raise ConfigError(f"{' '.join(changes)}: changes the results of the run; type ast-train to start another run")
    return config


def _read_config(folder: Path) -> tuple[Any, Config]:
    """Reads the config of a run directory from the first of its files that is whole, as a container and checked."""
    damaged: list[str] = []
    for path in (folder / name for name in CONFIGS):
        if not path.exists():
            continue
        try:
            saved = read_yaml(path)
            config = validate(saved)
        except (DataError, ConfigError) as error:
            first = str(error).splitlines()[0]
            damaged.append(first if isinstance(error, DataError) else f"{path} cannot be used ({first})")
            continue
        if damaged:
            logger.warning("%s; the config is taken from %s", damaged[0], path)
        return saved, config
    if damaged:
        raise UserError(f"{damaged[0]}; restore the file, or start a new run with ast-train")
    raise UserError(f"{folder} is not a run directory (no config.yaml); type ast-resume outputs/DATASET/RUN")


def _parsed(changes: Sequence[str]) -> Any:
    """Parses changes one by one.

    Raises:
        ConfigError: About the first that cannot be parsed.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    parsed: Any = OmegaConf.create()
    for change in changes:
        try:
            parsed = OmegaConf.merge(parsed, OmegaConf.from_dotlist([change]))
        except (YAMLError, OmegaConfBaseException, ValueError) as error:
            message = f"{change}: cannot be parsed; expected key=value, with quotes around special characters"
            raise ConfigError(message) from error
    return parsed
