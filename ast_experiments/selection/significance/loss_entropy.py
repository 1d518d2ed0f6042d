"""Loss and entropy of the prediction as significance."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_experiments.core.ranges import NonNegative


def loss_entropy(
    losses: Tensor,
    logits: Tensor,
    *,
    loss_weight: NonNegative = 0.7,
    entropy_weight: NonNegative = 0.3,
) -> Tensor:
    """Returns the weighted sum of loss and predictive entropy, both raw, in nats. The published two-stage form."""
    p = torch.softmax(logits.float(), dim=1)
    entropy = -(p * torch.log(p + 1e-8)).sum(dim=1)
    return loss_weight * losses + entropy_weight * entropy
