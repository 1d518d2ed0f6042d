"""Copies log rows to TensorBoard."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.errors import ConfigError
from ast_experiments.tracking.rows import flat

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


def check_installed() -> None:
    """Checks that TensorBoard is installed, without importing it.

    Raises:
        ConfigError: If it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "tracking.tensorboard: TensorBoard is not installed; type uv sync --inexact --extra tensorboard, "
            "or tracking.tensorboard=false"
        )


class TensorboardTracker:
    """Writes the numbers of every row as scalars over steps, and those of a finished run as `result/...`.

    A resumed run writes a new file; TensorBoard hides what the earlier part wrote after its checkpoint.

    Args:
        folder: Directory of the event files; created with the first row.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None
        self._step = 0

    def log(self, row: Mapping[str, Any]) -> None:
        """Writes one row at its own step."""
        self._step = int(row["step"])
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(os.fspath(self.folder), purge_step=self._step, max_queue=1000, flush_secs=1)
        self._add({key: value for key, value in row.items() if key != "step"})

    def flush(self) -> None:
        """Does nothing: the writer's own thread writes every second."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Adds the numbers of a finished run and closes the file; safe to call twice."""
        if self._writer is None:
            return
        if result.get("status") == "finished":
            self._add({f"result/{key}": value for key, value in flat(result).items()})
        self._writer.close()
        self._writer = None

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: rows carry their own step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Does nothing: the first row determines the step from which earlier events are hidden."""

    def _add(self, values: Mapping[str, Any]) -> None:
        assert self._writer is not None
        for key, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(key, value, self._step)
