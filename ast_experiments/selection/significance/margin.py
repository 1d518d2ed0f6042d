"""Significance of samples whose label is predicted with a small margin."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_experiments.core.batch import class_indices


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns 1 minus the margin: the probability of the label less that of the best other class; in [0, 2].

    0 is a certain and correct prediction, 1 a tie, 2 a certain and wrong one. The label of a row with soft labels is
    their most probable class.
    """
    own = class_indices(labels)[:, None]
    # The sum over the others, not 1 less the label's own probability, which rounds small scores to 0.
    others = torch.softmax(logits.float(), dim=1).scatter(1, own, 0.0)
    return others.sum(dim=1) + others.amax(dim=1)
