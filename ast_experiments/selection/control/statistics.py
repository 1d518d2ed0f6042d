"""The measured share of rows that a gate let through, to compare with the controller's guarantee."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ast_experiments.selection.control.controller import Controller
from ast_experiments.selection.numeric import Number


class RateStatistics(NamedTuple):
    """Sums over the windows of a run, from which the mean share and the mean target follow.

    Each window has weight 1; with an exact gate, a weight of its rows.

    Attributes:
        windows: Windows under control.
        weight: Their total weight.
        share: Sum of weight x share let through.
        target: Sum of weight x target.
    """

    windows: int = 0
    weight: float = 0.0
    share: Number = 0.0
    target: float = 0.0

    def add(self, controller: Controller[Any], active: Number, offered: float, target: float) -> RateStatistics:
        """Returns the statistics after a window in which the gate let `active` of `offered` rows through."""
        weight = offered if controller.exact else 1.0
        return RateStatistics(
            self.windows + 1,
            self.weight + weight,
            self.share + weight * (active / offered),
            self.target + weight * target,
        )

    def add_all(
        self, controller: Controller[Any], active: np.ndarray, offered: np.ndarray, target: float
    ) -> RateStatistics:
        """Returns the same for many windows at once, shapes (windows,)."""
        weights = offered if controller.exact else np.ones(len(offered))
        weight = float(weights.sum())
        return RateStatistics(
            self.windows + len(offered),
            self.weight + weight,
            self.share + float((weights * (active / offered)).sum()),
            self.target + weight * target,
        )

    def facts(self, controller: Controller[Any]) -> dict[str, str | int | float | None]:
        """Returns the guarantee, its bound and the measured means, for result.json.

        Reads from the device if the counts are there.
        """
        means = {"gate_share": None, "gate_target": None, "bound": None}
        if self.windows:
            means = {
                "gate_share": float(self.share) / self.weight,
                "gate_target": self.target / self.weight,
                "bound": controller.guarantee_bound(self.windows, self.weight),
            }
        return {"promise": controller.guarantee, "windows": self.windows, **means}
