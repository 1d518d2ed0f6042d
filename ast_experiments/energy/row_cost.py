"""The cost of a row, counted in FLOPs and by the nominal cost model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.nominal import nominal_savings, skipped_share


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of training or skipping one row.

    Attributes:
        flops: FLOPs of one sample at full size; None if they could not be counted.
        active: Nominal cost of a trained row.
        skipped: Nominal cost of a skipped row.
        by_size: Returns the FLOPs of one sample at a height and width in pixels; None if all have the full size.
        sizes: Height and width in pixels of the training images by epoch; empty if all have the full size.
    """

    flops: Flops | None = None
    active: float = 1.0
    skipped: float = 0.01
    by_size: Callable[[int], Flops | None] | None = None
    sizes: tuple[int, ...] = ()

    def train(self, size: int | None = None) -> int:
        """Returns the FLOPs of training a row of `size` pixels, None for full size; 0 if unknown."""
        flops = self.flops if size is None or self.by_size is None else self.by_size(size)
        return 0 if flops is None else flops.forward + flops.backward

    def offered(self, epoch: int) -> int:
        """Returns the FLOPs of training a row that is offered in an epoch, counted from 0; 0 if unknown."""
        return self.train(self.sizes[epoch] if self.sizes else None)

    @property
    def forward(self) -> int:
        """FLOPs of a forward pass of a row at full size; 0 if unknown."""
        return 0 if self.flops is None else self.flops.forward

    @property
    def by_epoch(self) -> tuple[float, ...]:
        """Cost of training a row in each epoch, as a share of that at full size; empty if that is 1 throughout."""
        full = self.train()
        return tuple(self.train(size) / full for size in self.sizes) if full else ()

    def row(self, ledger: Ledger, epoch: int) -> dict[str, float]:
        """Returns entries of the row of an epoch, counted from 0."""
        entries: dict[str, float] = {
            "energy/nominal_savings": self._nominal(ledger),
            "energy/skipped_share": skipped_share(ledger.trained, ledger.offered),
        }
        if self.sizes:
            entries["epoch/image_size"] = self.sizes[epoch]
        if self.flops is not None:
            entries |= {f"compute/{phase}_flops": count for phase, count in ledger.flops.items()}
            entries |= {f"compute/{name}": value for name, value in self._savings(ledger).items()}
        return entries

    def result(self, ledger: Ledger) -> dict[str, Any]:
        """Returns entries of result.json."""
        entries: dict[str, Any] = {
            "nominal_savings": self._nominal(ledger),
            "skipped_share": skipped_share(ledger.trained, ledger.offered),
        }
        if self.sizes:
            entries["image_size_by_epoch"] = list(self.sizes)
        if self.flops is not None:
            forward, backward = self.flops.forward, self.flops.backward
            entries["flops"] = {**ledger.flops, "forward_per_sample": forward, "backward_per_sample": backward}
            if self.sizes:
                entries["row_flops_by_epoch"] = list(self.by_epoch)
            entries |= {f"compute_{name}": value for name, value in self._savings(ledger).items()}
        return entries

    def _nominal(self, ledger: Ledger) -> float:
        return nominal_savings(ledger.trained, ledger.offered, self.active, self.skipped)

    def _savings(self, ledger: Ledger) -> dict[str, float]:
        """Returns the share of the FLOPs of training every offered row that was not needed.

        `savings` is what choosing saved, at the sizes of the epochs; `savings_by_size` is what training every offered
        row at these sizes would have saved of training it at full size.
        """
        if not ledger.offered:
            return {}
        whole, used = ledger.offered_flops, ledger.flops["score"] + ledger.flops["train"]
        savings = {"savings": 1 - used / whole}
        return savings | ({"savings_by_size": 1 - whole / (ledger.offered * self.train())} if self.sizes else {})
