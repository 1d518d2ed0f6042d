"""The global random streams, as part of a checkpoint.

Only dropout, mixing and the like use them. The data order and the choice of samples are drawn from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class RandomStreams:
    """State of the global generators of torch, Python and NumPy, and of the training device.

    Args:
        device: Training device; its generator counts too where it is CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of all generators."""
        name, keys, position, has_gauss, gauss = np.random.get_state()
        state: dict[str, Any] = {
            "torch": torch.get_rng_state(),
            "python": random.getstate(),
            "numpy": (str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
        }
        if self._device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self._device)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        torch.set_rng_state(state["torch"])
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        if self._device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self._device)


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Restores the random streams on exit, so that trial work leaves the run's draws as they were."""
    streams = RandomStreams(device)
    before = streams.state_dict()
    try:
        yield
    finally:
        streams.load_state_dict(before)
