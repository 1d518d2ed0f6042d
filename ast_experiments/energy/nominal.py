"""Nominal savings: what the published cost model says. Unitless, a formula of the rate; never joules.

Source: the accounting of https://github.com/oluwafemidiakhoa/adaptive-sparse-training, where a trained sample costs 1
and a skipped one 0.01 of it.
"""

from __future__ import annotations


def nominal_savings(trained: float, offered: float, active_cost: float = 1.0, skipped_cost: float = 0.01) -> float:
    """1 - cost / cost of training every row; 0.99 (1 - rate) with the published costs.

    Args:
        trained: Rows trained.
        offered: Rows offered; 0 saves nothing.
        active_cost: Of a trained row.
        skipped_cost: Of a skipped row.
    """
    if not offered:
        return 0.0
    cost = trained * active_cost + (offered - trained) * skipped_cost
    return 1.0 - cost / (offered * active_cost)


def skipped_share(trained: float, offered: float) -> float:
    """1 - rate: what the published headlines call energy savings."""
    return 1.0 - trained / offered if offered else 0.0
