"""The part that the published control laws share.

`sundew_report`, `sundew_comparison` and `sundew_two_stage` are the three laws that were published under the name
Adaptive Sparse Training, faults included. They are written from the public releases at
https://github.com/oluwafemidiakhoa/adaptive-sparse-training and differ in the rate they observe, in their anti-windup
and in their gate. In all of them the threshold integrates, so the "proportional" term acts as an integral and the
"integral" term as a double one. Use them to reproduce results. To hold a rate, use `PI`, `Quantile` or `TopK`.
"""

from __future__ import annotations

from torch import Tensor

from ast_experiments.selection.numeric import Number, clip, where

DECAY = 0.9


def accumulate(integral: Number, error: Number, inside: Tensor | bool, limit: float) -> Number:
    """Returns the next accumulated error; outside the bounds of the threshold it decays.

    Args:
        integral: Accumulated error.
        error: Error to add.
        inside: Whether the threshold lies within its bounds.
        limit: Bound on the accumulated error.
    """
    return where(inside, clip(integral + error, -limit, limit), DECAY * integral)
