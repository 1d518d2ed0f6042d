"""Nominal savings under the published cost model: a unitless formula of the activation rate, never joules.

Source: https://github.com/oluwafemidiakhoa/adaptive-sparse-training, where a trained sample costs 1 and a skipped
sample 0.01.
"""

from __future__ import annotations


def nominal_savings(trained: float, offered: float, active_cost: float = 1.0, skipped_cost: float = 0.01) -> float:
    """Computes 1 - cost / cost of training every row; with the published costs, 0.99 (1 - rate).

    Args:
        trained: Rows trained.
        offered: Rows offered; 0 gives a saving of 0.
        active_cost: Cost of a trained row.
        skipped_cost: Cost of a skipped row.
    """
    if not offered:
        return 0.0
    cost = trained * active_cost + (offered - trained) * skipped_cost
    return 1.0 - cost / (offered * active_cost)


def skipped_share(trained: float, offered: float) -> float:
    """Computes 1 - rate, which the published headlines call energy savings."""
    return 1.0 - trained / offered if offered else 0.0
