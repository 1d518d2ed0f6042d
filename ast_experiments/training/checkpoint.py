"""Checkpoints: when one is due, what it holds, and whose it is. `training/checkpoint_file.py` has the files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from ast_experiments.core import distributed
from ast_experiments.core.errors import UserError
from ast_experiments.training.checkpoint_file import NAME, VERSION, load, save, settle

__all__ = ["NAME", "VERSION", "Checkpointer", "Stateful", "load", "save"]

SHARE = 0.02  # largest share of a run's time that checkpoints at the ends of short epochs take


class Stateful(Protocol):
    """A part of a run that a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Returns tensors, numbers, strings and containers of these."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Restores what `state_dict` returned."""
        ...


class Checkpointer:
    """Decides when a checkpoint is due, and saves and loads the run's parts.

    In a data-parallel run all ranks call its methods together; rank 0 writes.

    Args:
        folder: The run directory.
        fingerprint: Identifies config and data; a checkpoint with another one is refused.
        every_s: Maximum seconds between checkpoints.
    """

    def __init__(self, folder: Path, fingerprint: str = "", every_s: float = 60.0) -> None:
        self._run, self._folder, self._fingerprint, self._every_s = folder, folder / "checkpoints", fingerprint, every_s
        self._saved = time.monotonic()
        self._save_s = 0.0
        self._loaded: dict[str, Any] | None = None

    def due(self) -> bool:
        """Returns whether the maximum time between checkpoints has passed."""
        return distributed.broadcast_object(time.monotonic() - self._saved >= self._every_s)

    def due_at_epoch_end(self) -> bool:
        """Returns whether to save at the end of an epoch: always, unless epochs are short and saving takes long."""
        patience = min(self._every_s, self._save_s / SHARE)
        return distributed.broadcast_object(time.monotonic() - self._saved >= patience)

    def save(self, parts: Mapping[str, Stateful], rank_parts: Mapping[str, Stateful], **more: Any) -> None:
        """Writes a checkpoint.

        Args:
            parts: Parts that are equal on all ranks.
            rank_parts: Parts whose state differs by rank.
            more: Further entries.
        """
        begin = time.monotonic()
        state = {name: part.state_dict() for name, part in parts.items()}
        own = {name: part.state_dict() for name, part in rank_parts.items()}
        state |= {"fingerprint": self._fingerprint, "ranks": distributed.gather_objects(own), **more}
        if distributed.rank() == 0:
            save(self._folder, state)
        self._saved = time.monotonic()
        self._save_s = self._saved - begin

    def check(self) -> None:
        """Reads the last checkpoint, if there is one, and checks that it belongs to this run.

        Raises:
            UserError: If the checkpoint belongs to another config, other data or another number of processes.
        """
        self._loaded = load(self._folder)
        if self._loaded is None:
            return
        if self._loaded["fingerprint"] != self._fingerprint:
            raise UserError(
                f"the checkpoint in {self._run} was written with another config or other data; "
                "restore them, or start a new run with ast-train"
            )
        ranks = len(self._loaded["ranks"])
        if ranks != distributed.size():
            raise UserError(
                f"the checkpoint in {self._run} was written by {ranks} processes, not {distributed.size()}; "
                f"type: ast-resume {self._run} hardware.processes={ranks}"
            )

    def load(self, parts: Mapping[str, Stateful], rank_parts: Mapping[str, Stateful]) -> dict[str, Any] | None:
        """Restores the parts from the last checkpoint; returns its entries, or None if there is no checkpoint.

        Raises:
            UserError: As `check`.
        """
        if self._loaded is None:
            self.check()
        state, self._loaded = self._loaded, None
        if state is None:
            return None
        own = state["ranks"][distributed.rank()]
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            for name, part in rank_parts.items():
                if name in own or name != "samples":  # a checkpoint of an earlier version has no table of samples
                    part.load_state_dict(own[name])
        except torch.OutOfMemoryError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(
                f"the checkpoint in {self._run} does not fit this version of the code ({reason}); resume with the "
                "version that wrote it, or start a new run with ast-train"
            ) from error
        return state

    def settle(self) -> None:
        """Removes the previous checkpoint of a run that has ended, if the last one is whole."""
        if distributed.rank() == 0:
            settle(self._folder)
