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
from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.runs.identity import config_hash
from ast_experiments.runs.record import read_result
from ast_experiments.runs.run import execute

CONFIGS = ("config.yaml", ".hydra/config.yaml")
"""Files with a run's config. A run that was killed at once has only the second, which is not resolved."""


def resume(folder: Path, changes: Sequence[str] = ()) -> None:
    """Continues a run; does nothing if it has finished.

    Args:
        folder: The run directory.
        changes: Overrides of settings that do not change the results, such as `hardware.max_hours=8.5`.

    Raises:
        UserError: If it is not a run directory.
        ConfigError: If a change would change the results.
    """
    from omegaconf import OmegaConf

    config = saved_config(folder, changes)
    check(config)
    before = read_result(folder) or {}
    if before.get("status") == "finished":
        print(f"{folder} is finished: {before.get('final_accuracy', float('nan')):.2f} % accuracy")
        return
    file = folder / ".hydra" / "overrides.yaml"
    overrides = OmegaConf.load(file) if file.is_file() else []
    continue_run(config, folder, [str(override) for override in overrides])


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

    Raises:
        UserError: If it is not a run directory.
        ConfigError: If a change would change the results.
    """
    from omegaconf import OmegaConf

    file = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"{folder} is not a run directory (no config.yaml); type ast-resume outputs/DATASET/RUN")
    wrong = next((change for change in changes if "=" not in change), None)
    if wrong is not None:
        raise ConfigError(f"{wrong}: cannot be parsed; expected key=value")
    register_resolvers()
    saved: Any = OmegaConf.load(file)
    merged: Any = OmegaConf.merge(saved, OmegaConf.from_dotlist(list(changes)))
    config = validate(merged)
    if changes and config_hash(config) != config_hash(validate(saved)):
        raise ConfigError(f"{' '.join(changes)}: changes the results of the run; type ast-train to start another run")
    return config
