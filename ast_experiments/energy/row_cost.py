"""The cost of a row, counted in FLOPs and by the nominal cost model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.nominal import nominal_savings, skipped_share


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of training or skipping one row.

    Attributes:
        flops: FLOPs of one sample; None if they could not be counted.
        active: Nominal cost of a trained row.
        skipped: Nominal cost of a skipped row.
    """

    flops: Flops | None = None
    active: float = 1.0
    skipped: float = 0.01

    @property
    def train(self) -> int:
        """FLOPs of training a row; 0 if unknown."""
        return 0 if self.flops is None else self.flops.forward + self.flops.backward

    @property
    def forward(self) -> int:
        """FLOPs of a forward pass of a row; 0 if unknown."""
        return 0 if self.flops is None else self.flops.forward

    def row(self, ledger: Ledger) -> dict[str, float]:
        """Returns entries of an epoch row."""
        entries: dict[str, float] = {
            "energy/nominal_savings": self._nominal(ledger),
            "energy/skipped_share": skipped_share(ledger.trained, ledger.offered),
        }
        if self.flops is not None:
            entries |= {f"compute/{phase}_flops": count for phase, count in ledger.flops.items()}
            if ledger.offered:
                entries["compute/savings"] = self._counted(ledger)
        return entries

    def result(self, ledger: Ledger) -> dict[str, Any]:
        """Returns entries of result.json."""
        entries: dict[str, Any] = {
            "nominal_savings": self._nominal(ledger),
            "skipped_share": skipped_share(ledger.trained, ledger.offered),
        }
        if self.flops is not None:
            forward, backward = self.flops.forward, self.flops.backward
            entries["flops"] = {**ledger.flops, "forward_per_sample": forward, "backward_per_sample": backward}
            if ledger.offered:
                entries["compute_savings"] = self._counted(ledger)
        return entries

    def _nominal(self, ledger: Ledger) -> float:
        return nominal_savings(ledger.trained, ledger.offered, self.active, self.skipped)

    def _counted(self, ledger: Ledger) -> float:
        """Share of the FLOPs of training every offered row that choosing and training did not need."""
        return 1 - (ledger.flops["score"] + ledger.flops["train"]) / (ledger.offered * self.train)
