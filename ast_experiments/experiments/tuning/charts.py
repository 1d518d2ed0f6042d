"""Charts of a search: each objective by trial and by setting, and two objectives against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ast_experiments.analysis.draw import INKS, chart
from ast_experiments.experiments.tuning.objectives import Objective
from ast_experiments.experiments.tuning.search import SearchSession
from ast_experiments.experiments.tuning.space import Categorical, Dimension

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def complete(trial: FrozenTrial) -> bool:
    """Tells whether a trial reached its figures; a pruned one has only part of its curve."""
    return trial.state.name == "COMPLETE"


def draw_charts(session: SearchSession) -> list[tuple[str, str, str]]:
    """Draws the charts of the finished trials. Returns title, caption and SVG of each."""
    trials = [trial for trial in session.study.trials if complete(trial)]
    if not trials:
        return []
    goals = session.search.goals
    figures = np.array([trial.values for trial in trials])
    numbers = np.array([trial.number for trial in trials])
    best = {trial.number for trial in session.study.best_trials}
    marks = np.array([number in best for number in numbers])
    drawn = []
    if len(goals) > 1:

        def trade_off(axes: Any) -> None:
            _scatter(axes, figures[:, 0], figures[:, 1], marks, goals[0].axis, goals[1].axis)

        title = f"{goals[1].key} against {goals[0].key}"
        drawn.append((title, "Circled: none is worse in both.", chart(trade_off, "two")))
    for i, goal in enumerate(goals):
        y = figures[:, i]
        history = chart(lambda axes, y=y, goal=goal: _history(axes, numbers, y, marks, goal), f"course {i}")
        drawn.append((goal.key, "Each trial, and the best so far.", history))
        for j, each in enumerate(session.space):
            values = [trial.params[each.key] for trial in trials]
            by_value = chart(
                lambda axes, each=each, values=values, y=y, goal=goal: _by_value(axes, each, values, y, marks, goal),
                f"slice {i} {j}",
            )
            drawn.append((f"{goal.key} against {each.key}", "Circled: the best.", by_value))
    return drawn


def _history(axes: Any, numbers: np.ndarray, y: np.ndarray, marks: np.ndarray, goal: Objective) -> None:
    best_so_far = (np.maximum if goal.direction == "max" else np.minimum).accumulate(y)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.step(numbers, best_so_far, where="post", color=INKS["c1"], linewidth=1.4)
    _scatter(axes, numbers, y, marks, "trial", goal.axis)


def _by_value(
    axes: Any, dimension: Dimension, values: list[Any], y: np.ndarray, marks: np.ndarray, goal: Objective
) -> None:
    if isinstance(dimension, Categorical):
        choices = dimension.choices
        values = [choices.index(value) for value in values]
        axes.set_xticks(range(len(choices)), choices)
        axes.set_xlim(-0.5, len(choices) - 0.5)
    else:
        axes.set_xscale("log" if dimension.log else "linear")
    _scatter(axes, values, y, marks, dimension.key, goal.axis)


def _scatter(axes: Any, x: Any, y: np.ndarray, marks: np.ndarray, xlabel: str, ylabel: str) -> None:
    x = np.asarray(x)
    axes.scatter(x, y, s=14, color=INKS["c1"], linewidths=0)
    axes.scatter(x[marks], y[marks], s=60, facecolors="none", edgecolors=INKS["c2"], linewidths=1.4)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
