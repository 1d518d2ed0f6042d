"""Data sets side by side: curves over the progress of a run, relative to dense training on the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ast_experiments.analysis.compare import Comparison
from ast_experiments.analysis.compare_draw import COLORS, MARKERS
from ast_experiments.analysis.compare_runs import Run
from ast_experiments.analysis.compare_stats import Floats
from ast_experiments.analysis.compare_tables import Table
from ast_experiments.analysis.compare_verdicts import Judged
from ast_experiments.analysis.compare_words import kinds_of_saving, number, signed, spread
from ast_experiments.analysis.draw import INKS, chart, legend, thin

GRID = np.linspace(0, 1, 201)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))

Value = Callable[[Mapping[str, Any]], float | None]


def side_by_side(comparisons: Sequence[Comparison]) -> Table:
    """Every judged arm of every data set, a row each, ordered by method."""
    rows = [
        [
            each.arm.label,
            comparison.dataset,
            each.verdict.word,
            spread(each.beside.dense, "accuracy") if each.beside else "",
            spread(each.arm, "accuracy"),
            signed(each.beside.gap) if each.beside else "",
            number(each.arm.mean("rate"), ".3f"),
            *kinds_of_saving(each),
        ]
        for method in methods(comparisons)
        for comparison, each in _of(comparisons, method)
    ]
    headings = ["arm", "data set", "verdict", "dense, %", "accuracy, %", "points above dense", "rate"]
    return Table("Data sets side by side", [*headings, "nominal", "rows skipped", "FLOPs", "measured"], rows)


def methods(comparisons: Sequence[Comparison]) -> list[str]:
    """The methods that are neither dense nor mere baselines, on any data set."""
    judged = [each for comparison in comparisons for each in comparison.judged]
    return sorted({each.arm.method for each in judged if each.arm.method != "dense" and not each.arm.extra})


def charts(comparisons: Sequence[Comparison], method: str) -> list[tuple[str, str, str]]:
    """Title, caption and drawing of each chart of a method that there are rows for."""
    pairs = _of(comparisons, method)
    several = len(pairs) > len({comparison.dataset for comparison, _ in pairs})
    names = [f"{c.dataset}, {each.arm.label}" if several else c.dataset for c, each in pairs]
    drawn = []
    for title, caption, curve, shares in _CHARTS:
        curves = [curve(each) for _, each in pairs]
        if any(each is not None for each in curves):
            drawn.append((f"{method}: {title}", caption, _drawing(names, curves, f"{method}-{title}", shares=shares)))
    return drawn


def _of(comparisons: Sequence[Comparison], method: str) -> list[tuple[Comparison, Judged]]:
    return [(c, each) for c in comparisons for each in c.judged if each.arm.method == method and not each.arm.extra]


def _on_grid(run: Run, value: Value, *, steps: bool = False) -> Floats | None:
    """A figure of a run over its progress, on `GRID`; NaN outside the rows that tell it."""
    rows = run.record.steps if steps else run.record.epochs
    points = [(figure(row, "progress"), value(row)) for row in rows]
    known = np.array([point for point in points if None not in point], dtype=np.float64)
    if not len(known):
        return None
    return np.interp(GRID, known[:, 0], known[:, 1], left=np.nan)


def _mean(judged: Judged, value: Value, *, steps: bool = False) -> Floats | None:
    curves = [curve for run in judged.arm.runs if (curve := _on_grid(run, value, steps=steps)) is not None]
    return np.mean(curves, axis=0) if curves else None


def _paired(judged: Judged, value: Value, combine: Callable[[Floats, Floats], Floats]) -> Floats | None:
    """The mean over seeds of an arm's curve combined with that of its dense run."""
    if judged.beside is None:
        return None
    dense = {run.seed: _on_grid(run, value) for run in judged.beside.dense.runs}
    curves = []
    for run in judged.arm.runs:
        own, other = _on_grid(run, value), dense.get(run.seed)
        if own is not None and other is not None:
            curves.append(combine(own, other))
    return np.mean(curves, axis=0) if curves else None


def _gap(judged: Judged) -> Floats | None:
    return _paired(judged, lambda row: figure(row, "val/accuracy"), np.subtract)


def _saved(judged: Judged, value: Value) -> Floats | None:
    return _paired(judged, value, lambda own, dense: 1 - own / np.where(dense > 0, dense, np.nan))


def _measured(judged: Judged, axis: str, value: Value) -> Floats | None:
    """Only where the comparison allows it, in what it measures."""
    if judged.beside is None or judged.beside.measured.axis != axis or judged.beside.measured.saving is None:
        return None
    return _saved(judged, value)


def figure(row: Mapping[str, Any], key: str) -> float | None:
    """A number of a row; None if it is absent or something else."""
    value = row.get(key)
    return value if isinstance(value, int | float) else None


def _rate(row: Mapping[str, Any]) -> float | None:
    return figure(row, "epoch/activation_rate")


def _threshold(row: Mapping[str, Any]) -> float | None:
    return figure(row, "control/threshold")


def _skipped(row: Mapping[str, Any]) -> float | None:
    return figure(row, "energy/skipped_share")


def _flops(row: Mapping[str, Any]) -> float | None:
    if figure(row, "compute/train_flops") is None:
        return None
    return sum(figure(row, f"compute/{phase}_flops") or 0.0 for phase in ("score", "train", "val"))


def _seconds(row: Mapping[str, Any]) -> float | None:
    found = [each for key in row if key.startswith("time/") and (each := figure(row, key)) is not None]
    return sum(found) if found else None


def _joules(row: Mapping[str, Any]) -> float | None:
    own = figure(row, "energy/gpu_joules")
    return figure(row, "energy/cpu_joules") if own is None else own


def _drawing(names: Sequence[str], curves: Sequence[Floats | None], salt: str, *, shares: bool) -> str:
    def draw(axes: Any) -> None:
        for i, (name, values) in enumerate(zip(names, curves, strict=True)):
            if values is None:
                continue
            ink, known = INKS[COLORS[i % len(COLORS)]], np.isfinite(values)
            x, y = thin(GRID[known], values[known])
            look = {"marker": MARKERS[i % len(MARKERS)], "markersize": 3.5, "markevery": max(1, len(x) // 8)}
            axes.plot(x, y, color=ink, linestyle=DASHES[i % len(DASHES)], linewidth=1.4, label=name, **look)
        axes.set_xlabel("progress")
        axes.set_xlim(0, 1.02)
        if shares:
            axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.04)
        axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
        legend(axes, 3)

    return chart(draw, salt)


_SO_FAR = "so far, as a share of dense at the same progress."

# Title, caption, curve of an arm, and whether it is a share.
_CHARTS: tuple[tuple[str, str, Callable[[Judged], Floats | None], bool], ...] = (
    ("activation rate", "Rows trained / rows offered, by epoch.", lambda each: _mean(each, _rate), True),
    ("threshold", "The controller's, on significance.", lambda each: _mean(each, _threshold, steps=True), False),
    ("points above dense", "Validation accuracy above dense at the same progress.", _gap, False),
    (
        "rows skipped",
        "Share of the rows offered so far. Nominal, not energy.",
        lambda each: _mean(each, _skipped),
        True,
    ),
    ("FLOPs saved", f"Counted, {_SO_FAR}", lambda each: _saved(each, _flops), True),
    ("seconds saved", f"Measured, {_SO_FAR}", lambda each: _measured(each, "seconds", _seconds), True),
    ("joules saved", f"Measured, {_SO_FAR}", lambda each: _measured(each, "joules", _joules), True),
)
