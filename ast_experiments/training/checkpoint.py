"""Checkpoints: written whole or not at all."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ast_experiments.core.errors import UserError

VERSION = 1
NAME = "last.pt"


def save(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write a checkpoint beside the last one and put it in its place; a kill leaves one or the other.

    Args:
        folder: Made if missing.
        state: Tensors, numbers, strings, and containers of these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, unfinished = folder / NAME, folder / f"{NAME}.tmp"
    with unfinished.open("wb") as file:
        torch.save({"version": VERSION, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def load(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint, on the CPU; None if there is none.

    Raises:
        UserError: If it was written by another version of the format.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["version"] != VERSION:
        raise UserError(f"{path} has checkpoint format {state['version']}; this version reads format {VERSION}")
    return state


def random_state(device: torch.device) -> dict[str, Any]:
    """The global random streams. Only dropout and the like use them; the data order and every choice do not."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
