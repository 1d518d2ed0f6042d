"""Counts how many of the trained rows a regime altered, without reading the device before an epoch ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed


class AlteredRows:
    """Counts altered rows among those that are trained.

    Args:
        altered: Training rows by kind of alteration; bool, shape (samples,).
        device: Training device.
    """

    def __init__(self, altered: Mapping[str, np.ndarray], device: torch.device | str) -> None:
        self._kinds = list(altered)
        self._flags = torch.from_numpy(np.stack(list(altered.values()))).to(device)
        self._counts = torch.zeros(len(altered), dtype=torch.int64, device=device)

    def count(self, ids: Tensor, weights: Tensor | None) -> None:
        """Counts the rows `ids` (n,) of a trained batch; those of weight 0 do not count."""
        flags = self._flags[:, ids]
        self._counts += (flags if weights is None else flags & (weights > 0)).sum(1)

    def end_epoch(self, trained: float) -> dict[str, float]:
        """Returns entries of the epoch row, shares of the `trained` rows of all ranks, and starts again."""
        counts = distributed.all_reduce_sum(self._counts).tolist()
        self._counts.zero_()
        return {
            f"epoch/{kind}_share": count / trained for kind, count in zip(self._kinds, counts, strict=True) if trained
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the counts of the current epoch."""
        return {"counts": self._counts.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._counts.copy_(state["counts"])
