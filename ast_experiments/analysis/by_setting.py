"""Charts of a sweep's accuracy against the values of each setting that was swept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import (
    INKS,
    TOP,
    Floats,
    chart,
    legend,
    look,
    name_rows,
    short_name,
    short_ticks,
)
from ast_experiments.analysis.leaderboard import LeaderboardRow, told

FEW = 6
"""Maximum number of curves in a chart; more are averaged."""
LOG_SPAN = 10.0
"""Ratio of the ends of an axis from which it is logarithmic."""
TICK_SPACE = 0.09
"""Smallest distance between the labels of two values, as a share of the axis."""
ROW = 0.6
"""Share of a row's height that its curves take."""
LONG_NAME = 20
"""Characters of a row's name from which its axis has few ticks."""
ACCURACY = "accuracy, %"
# By the name of a setting, or by its last word. Others have no unit, or their name says it, such as `epochs`.
UNITS = {
    "rate": "rows trained / rows offered",
    "batch_size": "rows",
    "samples": "rows",
    "seconds": "s",
    "s": "s",
    "joules": "J",
}

Value = float | str
"""Value of a setting: a finite number, or a text."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy by the value of a setting, with the other settings fixed or averaged over.

    Attributes:
        label: Values of the other settings; empty if there is one curve.
        accuracies: Percent, one per run, by the value.
    """

    label: str
    accuracies: Mapping[Value, Sequence[float]]

    @property
    def repeated(self) -> bool:
        """Whether several runs share a value."""
        return any(len(runs) > 1 for runs in self.accuracies.values())

    def bars(self) -> tuple[Floats, Floats]:
        """Returns the mean of each value, shape (values,), and how far below and above it the runs lie, (2, values)."""
        means = np.array([np.mean(runs) for runs in self.accuracies.values()], dtype=np.float64)
        ends = np.array([(min(runs), max(runs)) for runs in self.accuracies.values()], dtype=np.float64).T
        return means, np.abs(ends - means)


def accuracy_charts(rows: Sequence[LeaderboardRow]) -> list[tuple[str, str, str]]:
    """Draws accuracy against each setting, apart from the seed, with several values among the finished runs.

    Args:
        rows: Rows of the leaderboard.

    Returns:
        Title, caption and SVG of each chart.
    """
    finished = [
        ({key: told(key, value) for key, value in row.overrides.items()}, row.final_accuracy)
        for row in rows
        if row.status == "finished" and row.final_accuracy is not None
    ]
    values = {key: {_value(own.get(key, "")) for own, _ in finished} for row in rows[:1] for key in row.overrides}
    varied = [key for key, found in values.items() if key != "seed" and len(found) > 1]
    drawn = []
    for key in varied:
        others = [other for other in varied if other != key]
        found = curves(finished, key, others)
        averaged = bool(others) and not found[0].label
        drawn.append((f"Accuracy against {key}", _caption(found, others if averaged else ()), _draw(key, found)))
    return drawn


def curves(runs: Sequence[tuple[Mapping[str, str], float]], key: str, others: Sequence[str]) -> list[Curve]:
    """Groups accuracies by the value of a setting: one curve for each value of the others, if these are few, else one.

    Args:
        runs: Settings and accuracy of each run.
        key: The setting.
        others: The other settings that vary.

    Returns:
        Curves in the order of their values; so are the values in a curve, numbers first.
    """
    found: dict[tuple[Value, ...], dict[Value, list[float]]] = {}
    for own, accuracy in runs:
        rest = tuple(_value(own.get(other, "")) for other in others)
        found.setdefault(rest, {}).setdefault(_value(own.get(key, "")), []).append(accuracy)
    if len(found) > FEW:
        return curves(runs, key, ())
    ends = [other.rpartition(".")[2] for other in others]
    return [
        Curve(
            ", ".join(f"{end} {_text(value)}" for end, value in zip(ends, rest, strict=True)),
            dict(sorted(accuracies.items(), key=lambda pair: _order(pair[0]))),
        )
        for rest, accuracies in sorted(found.items(), key=lambda pair: [*map(_order, pair[0])])
    ]


def _draw(key: str, found: Sequence[Curve]) -> str:
    values = sorted({value for curve in found for value in curve.accuracies}, key=_order)
    numbers = [value for value in values if isinstance(value, float)]
    label = short_name(key) + (f", {unit}" if (unit := _unit(key)) else "")
    if len(numbers) == len(values):
        return chart(lambda axes: _along_numbers(axes, numbers, found, label), key, 2.6)
    per_row = 0.14 + 0.16 * len(found)
    return chart(lambda axes: _by_row(axes, values, found, label), key, 0.8 + per_row * len(values))


def _along_numbers(axes: Any, values: Sequence[float], found: Sequence[Curve], label: str) -> None:
    """Draws accuracy over numbers: means as a curve, with the range of the runs and the runs themselves."""
    for i, curve in enumerate(found):
        drawn = look(i) | {"markersize": 5, "linewidth": 1.4, "label": _name(curve)}
        means, ends = curve.bars()
        if curve.repeated:
            axes.errorbar([*curve.accuracies], means, yerr=ends, elinewidth=0.8, **drawn)
        else:
            axes.plot([*curve.accuracies], means, **drawn)
    if values[0] > 0 and values[-1] >= LOG_SPAN * values[0]:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.margins(x=0.05)
    axes.set_xticks(*_ticks(axes, values))
    axes.set_xlabel(label)
    axes.set_ylabel(ACCURACY)
    _limit(axes.yaxis, 5)
    axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
    _runs(axes, found, lambda _, value: value)


def _by_row(axes: Any, values: Sequence[Value], found: Sequence[Curve], label: str) -> None:
    """Draws accuracy in a row for each value; the curves lie below each other within a row."""
    places = {value: row for row, value in enumerate(values)}

    def place(i: int, value: Value) -> float:
        return places[value] + (i - (len(found) - 1) / 2) * ROW / len(found)

    for i, curve in enumerate(found):
        means, ends = curve.bars()
        y = [place(i, value) for value in curve.accuracies]
        drawn = look(i) | {"markersize": 5, "linestyle": "none", "label": _name(curve)}
        if curve.repeated:
            axes.errorbar(means, y, xerr=ends, elinewidth=0.8, **drawn)
        else:
            axes.plot(means, y, **drawn)
    names = [_text(value) for value in values]
    name_rows(axes, names)
    axes.set_xlabel(ACCURACY)
    axes.set_ylabel(label)
    _limit(axes.xaxis, 5 if max(map(len, names)) < LONG_NAME else 3)
    _runs(axes, found, place, upright=False)


def _runs(axes: Any, found: Sequence[Curve], place: Any, *, upright: bool = True) -> None:
    """Draws the runs behind the means; the legend names the means alone, the data both."""
    if len(found) > 1 or found[0].repeated:
        legend(axes, 3)
    for i, curve in enumerate(found):
        if not curve.repeated:
            continue
        dots = [(place(i, value), each) for value, runs in curve.accuracies.items() for each in runs]
        across, accuracies = zip(*dots, strict=True)
        label = f"{curve.label}, single run" if curve.label else "single run"
        pair = (across, accuracies) if upright else (accuracies, across)
        axes.plot(*pair, ".", color=look(i)["color"], markersize=4, alpha=0.5, label=label)


def _name(curve: Curve) -> str:
    return short_name(curve.label) or ("mean" if curve.repeated else "run")


def _limit(axis: Any, ticks: int) -> None:
    """Ends an axis of accuracies near 100 %, at most, and sets its ticks."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(ticks))
    low, high = axis.get_view_interval()
    axis.axes.set(**{f"{axis.axis_name}lim": (low, min(high, TOP))})
    short_ticks(axis)


def _ticks(axes: Any, values: Sequence[float]) -> tuple[list[float], list[str]]:
    """Returns those values, and their texts, whose labels do not overlap on the x axis."""
    axes.autoscale_view()
    places = axes.transAxes.inverted().transform(axes.transData.transform([(value, 0.0) for value in values]))[:, 0]
    kept: list[int] = []
    for i, at in enumerate(places):
        if not kept or at - places[kept[-1]] >= TICK_SPACE:
            kept.append(i)
    return [values[i] for i in kept], [_text(values[i]) for i in kept]


def _caption(found: Sequence[Curve], averaged: Sequence[str]) -> str:
    sentences = ["Last validation of the finished runs."]
    if any(curve.repeated for curve in found):
        sentences.append("Large: mean of the runs that share a value, with their range; small: single runs.")
    if averaged:
        sentences.append(f"The runs of a value also differ in {' and '.join(averaged)}.")
    return " ".join(sentences)


def _value(typed: str) -> Value:
    """Reads a value: a finite number, or a text in one spelling."""
    try:
        number = float(typed)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    plain = {"none": "null", "true": "true", "false": "false", "": "not set"}
    return plain.get(typed.lower(), typed)


def _order(value: Value) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def _text(value: Value) -> str:
    from matplotlib.ticker import EngFormatter

    if isinstance(value, str):
        return value
    return EngFormatter(sep="")(value) if abs(value) >= 10_000 else f"{value:g}"


def _unit(key: str) -> str:
    name = key.rpartition(".")[2]
    return UNITS.get(name) or UNITS.get(name.rpartition("_")[2], "")
