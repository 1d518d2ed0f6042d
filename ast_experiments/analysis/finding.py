"""The main finding of a run and of a sweep, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ast_experiments.core.text import percent
from ast_experiments.selection.suspects import at_chance

EQUAL_COST = 0.01
"""Costs that differ by less, as a share, count as equal."""


def run_finding(figures: Mapping[str, Any]) -> str:
    """Says what a finished run reached and saved, and what it cannot show; empty for any other run.

    Args:
        figures: As `analysis.report.summary` returns them.
    """
    accuracy, saved, method = (figures.get(key) for key in ("final_accuracy", "compute_savings", "method"))
    if figures["status"] != "finished" or accuracy is None or method is None:
        return ""
    if at_chance(figures):
        return (
            f"{method} ends at {accuracy:.2f} % accuracy. The network has learned nothing yet: guessing among "
            f"{figures['classes']} equally frequent classes gives {percent(1 / figures['classes'])}. Train longer, or "
            f"try another learning rate."
        )
    if method == "dense":
        return f"dense ends at {accuracy:.2f} % accuracy: a reference for methods that train fewer rows."
    cost = ""
    if saved is not None:
        change = f"{percent(abs(saved))} {'fewer' if saved >= 0 else 'more'}"
        cost = f", with {change} training FLOPs than dense over the same epochs, validation not counted"
    return (
        f"{method} ends at {accuracy:.2f} % accuracy{cost}. A single run does not show whether "
        f"choosing helped: compare it with dense training and uniform draws at the same cost (ast-bench)."
    )


def sweep_finding(
    accuracies: Mapping[str, Sequence[float]], costs: Mapping[str, Sequence[float]] | None = None, unit: str = ""
) -> str:
    """Names the settings with the highest and the lowest mean accuracy; empty for fewer than two runs.

    Args:
        accuracies: Percent, one value per finished run, by the settings that the run has.
        costs: Costs of the same runs; None if not known.
        unit: Unit of the costs.
    """
    if sum(map(len, accuracies.values())) < 2:
        return ""
    if len(accuracies) == 1:
        return f"{_mean(*accuracies.values())}."
    means = {name: float(np.mean(values)) for name, values in accuracies.items()}
    highest, lowest = (choose(means, key=means.__getitem__) for choose in (max, min))
    if means[highest] == means[lowest]:
        return f"All settings reach the same accuracy, {means[highest]:.2f} %."
    found = []
    for end, name in (("Highest", highest), ("Lowest", lowest)):
        same = [other for other in means if accuracies[other] == accuracies[name]]
        dearest = end == "Highest" and same == [name] and _dearest(name, costs or {})
        cost = f"; it also cost the most, in {unit}" if dearest else ""
        found.append(f"{end}: {' and '.join(same)}, {_mean(accuracies[name])}{cost}.")
    if max(map(len, accuracies.values())) == 1:
        found.append("With one run each, small differences may be chance.")
    return " ".join(found)


def _dearest(name: str, costs: Mapping[str, Sequence[float]]) -> bool:
    """Returns whether a setting cost more than every other one, by more than `EQUAL_COST`."""
    means = {each: float(np.mean(values)) for each, values in costs.items()}
    others = [cost for each, cost in means.items() if each != name]
    return bool(others) and name in means and means[name] > (1 + EQUAL_COST) * max(others)


def _mean(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.2f} % accuracy"
    spread = f" on average, {min(values):.2f} to {max(values):.2f} over {len(values)} runs"
    return mean + (spread if len(values) > 1 else "")
