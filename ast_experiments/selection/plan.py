"""The plan of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Plan:
    """One epoch, decided before anything is loaded.

    Attributes:
        ids: Samples to load in this order, int64, shape (m,).
        offered: Rows the epoch chose from; the denominator of the activation rate.
        load_batch: Rows a loaded batch holds.
        weights: Loss weights aligned with `ids`, float32, shape (m,), or None for all ones.
        keep_short: Whether a last batch of fewer than `load_batch` rows is loaded too.
        lr_scale: Factor on the learning rate for this epoch.
        offered_by_batch: Rows offered by the time each batch is loaded, int64, shape (batches,), or None for evenly.
        trace: Control signals by batch, each of shape (batches,); keys are those of the step log
            (`control/threshold`, ...), and `picked`: how many of the rows offered since the batch before were picked,
            where that is not what the batch holds. Values that are not known in advance are left out.
    """

    ids: np.ndarray
    offered: int
    load_batch: int
    weights: np.ndarray | None = None
    keep_short: bool = False
    lr_scale: float = 1.0
    offered_by_batch: np.ndarray | None = None
    trace: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Number of batches that the plan loads."""
        full, rest = divmod(len(self.ids), self.load_batch)
        return full + bool(rest and self.keep_short)
