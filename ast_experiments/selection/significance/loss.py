"""The loss as significance."""

from __future__ import annotations

from torch import Tensor


def loss(losses: Tensor) -> Tensor:
    """Returns the per-sample loss itself."""
    return losses
