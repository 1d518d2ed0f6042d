"""The files that a run writes about itself: config.yaml and result.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_experiments.config.schema import Config
from ast_experiments.core.errors import UserError
from ast_experiments.core.files import short_path, write_atomic
from ast_experiments.runs import result as results
from ast_experiments.runs.identity import config_hash
from ast_experiments.runs.record import read_result


class RunDirectory:
    """A run directory. Nothing is written before `begin`, so that a refused resume leaves it as it was.

    Args:
        folder: Created by the caller.
        config: Of the run.

    Attributes:
        folder: As given.
        before: Result of an earlier part of the run; empty if there is none.
        begun: Whether this part of the run has written its config.

    Raises:
        UserError: If the directory holds a run of another config.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self._config = folder, config
        self.before: Mapping[str, Any] = read_result(folder) or {}
        self.begun = False
        if self.before.get("config_hash", config_hash(config)) != config_hash(config):
            raise UserError(f"{folder} holds a run of another config; type another hydra.run.dir, or none")

    def finished_line(self) -> str:
        """Returns what a finished run reached, in one line; empty if it is not finished: then it is not final."""
        if self.before.get("status") != "finished":
            return ""
        reached = self.before.get("final_accuracy")
        accuracy = "" if reached is None else f": {reached:.2f} % accuracy"
        return f"{short_path(self.folder)} is finished{accuracy}; nothing to do"

    def begin(self, result: Mapping[str, Any]) -> None:
        """Writes the config, and the result so far with status `running`."""
        save_config(self._config, self.folder)
        results.write(self.folder, {**result, "status": "running"})
        self.begun = True

    def finish(self, result: dict[str, Any]) -> None:
        """Writes the result. A part that failed before it began does not overwrite the result of earlier steps."""
        if not self.begun and self.before.get("steps", 0):
            return
        if not self.begun:
            save_config(self._config, self.folder)
        results.write(self.folder, result)


def save_config(config: Config, folder: Path) -> None:
    """Writes config.yaml."""
    from omegaconf import OmegaConf

    write_atomic(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config))))


def now() -> str:
    """Returns the current time in ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
