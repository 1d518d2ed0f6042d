"""Compares data sets: curves over training progress, relative to dense training on the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import INKS, chart, legend, look, thin
from ast_experiments.comparison.compare import Comparison
from ast_experiments.comparison.runs import MEASURED, Run
from ast_experiments.comparison.stats import Floats
from ast_experiments.comparison.tables import Table, counted
from ast_experiments.comparison.verdicts import ArmResult
from ast_experiments.comparison.wording import number, savings_cells, signed, spread
from ast_experiments.runs.record import read_run

GRID = np.linspace(0, 1, 201)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))

Curves = Mapping[str, Mapping[str, Floats]]
"""Curves by run and name, over `GRID`."""


def side_by_side(comparisons: Sequence[Comparison]) -> Table:
    """Returns a table of the arms of all data sets, one per row, ordered by method."""
    rows = [
        [
            each.arm.label,
            comparison.dataset,
            each.verdict.word,
            spread(each.vs_dense.dense, "accuracy") if each.vs_dense else "",
            spread(each.arm, "accuracy"),
            signed(each.vs_dense.gap) if each.vs_dense else "",
            number(each.arm.mean("rate"), ".3f"),
            *savings_cells(each),
        ]
        for method in methods(comparisons)
        for comparison, each in _of(comparisons, method)
    ]
    headings = ["arm", "data set", "verdict", "dense, %", "accuracy, %", "points above dense", "rate"]
    notes = counted(each for comparison in comparisons for each in comparison.results)
    return Table("Data sets side by side", [*headings, "nominal", "rows skipped", "FLOPs", "measured"], rows, notes)


def methods(comparisons: Sequence[Comparison]) -> list[str]:
    """Returns the methods on any data set that are neither dense nor only baselines."""
    results = [each for comparison in comparisons for each in comparison.results]
    return sorted({each.arm.method for each in results if each.arm.method != "dense" and not each.arm.baseline_only})


def read_curves(comparisons: Sequence[Comparison]) -> Curves:
    """Reads the curves of all runs of the methods and of the dense arms that they are compared with."""
    runs = {}
    for comparison in comparisons:
        for each in comparison.results:
            if each.arm.method != "dense" and not each.arm.baseline_only:
                vs_dense = each.vs_dense.dense.runs if each.vs_dense else ()
                runs |= {run.name: run for run in (*each.arm.runs, *vs_dense)}
    return {name: _read(run) for name, run in runs.items()}


def charts(comparisons: Sequence[Comparison], method: str, curves: Curves) -> list[tuple[str, str, str]]:
    """Returns title, caption and drawing of each chart of a method that has curves."""
    pairs = _of(comparisons, method)
    several = len(pairs) > len({comparison.dataset for comparison, _ in pairs})
    names = [f"{c.dataset}, {each.arm.label}" if several else c.dataset for c, each in pairs]
    drawn = []
    for title, caption, key, how, shares in _CHARTS:
        found = [_combined(each, key, how, curves) for _, each in pairs]
        if any(each is not None for each in found):
            drawn.append((f"{method}: {title}", caption, _drawing(names, found, f"{method}-{title}", shares=shares)))
    return drawn


def _of(comparisons: Sequence[Comparison], method: str) -> list[tuple[Comparison, ArmResult]]:
    return [
        (c, each) for c in comparisons for each in c.results if each.arm.method == method and not each.arm.baseline_only
    ]


def _read(run: Run) -> dict[str, Floats]:
    """Reads the curves of a run on `GRID`; NaN before the first row with the key."""
    record = read_run(run.record.directory)
    found = {}
    own = {} if run.hardware.get("device") == "cuda" else {"joules": ("energy/cpu_joules",)}
    for key, keys in (_ROWS | own).items():
        rows = record.steps if key == "threshold" else record.epochs
        points = [(_number(row, "progress"), _sum(row, keys)) for row in rows]
        known = np.array([point for point in points if None not in point], dtype=np.float64)
        if len(known):
            found[key] = np.interp(GRID, known[:, 0], known[:, 1], left=np.nan)
    return found


def _sum(row: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    """Sums the keys that are present; None without the first. A key ending in / matches all keys with that prefix."""
    if keys[0].endswith("/"):
        keys = [key for key in row if key.startswith(keys[0])]
    if not keys or _number(row, keys[0]) is None:
        return None
    return sum(_number(row, key) or 0.0 for key in keys)


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    return value if isinstance(value, int | float) else None


def _combined(result: ArmResult, key: str, how: str, curves: Curves) -> Floats | None:
    """Averages a curve over runs: unchanged, or as points above or share saved of the dense run of the same seed."""
    own = [(run.seed, curves[run.name][key]) for run in result.arm.runs if key in curves[run.name]]
    if how == "plain":
        return np.mean([values for _, values in own], axis=0) if own else None
    vs_dense = result.vs_dense
    if vs_dense is None or (key in MEASURED and (key != vs_dense.measured.axis or vs_dense.measured.saving is None)):
        return None
    dense = {run.seed: curves[run.name][key] for run in vs_dense.dense.runs if key in curves[run.name]}
    pairs = [(values, dense[seed]) for seed, values in own if seed in dense]
    above = how == "above"
    found = [one - other if above else 1 - one / np.where(other > 0, other, np.nan) for one, other in pairs]
    return np.mean(found, axis=0) if found else None


def _drawing(names: Sequence[str], curves: Sequence[Floats | None], salt: str, *, shares: bool) -> str:
    def draw(axes: Any) -> None:
        for i, (name, values) in enumerate(zip(names, curves, strict=True)):
            if values is None:
                continue
            known = np.isfinite(values)
            x, y = thin(GRID[known], values[known])
            marks = look(i) | {"markersize": 3.5, "markevery": max(1, len(x) // 8)}
            axes.plot(x, y, linestyle=DASHES[i % len(DASHES)], linewidth=1.4, label=name, **marks)
        axes.set_xlabel("progress")
        axes.set_xlim(0, 1.02)
        if shares:
            axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.04)
        axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
        legend(axes, 3)

    return chart(draw, salt)


_SO_FAR = "so far, as a share of dense training at the same progress."

_ROWS: dict[str, tuple[str, ...]] = {
    "rate": ("epoch/activation_rate",),
    "threshold": ("control/threshold",),
    "accuracy": ("val/accuracy",),
    "skipped": ("energy/skipped_share",),
    "flops": ("compute/train_flops", "compute/score_flops", "compute/val_flops"),
    "seconds": ("time/",),
    "joules": ("energy/gpu_joules",),
}
"""Row keys that add up to each curve."""

# Title, caption, curve, transformation, and whether the result is a share.
_CHARTS = (
    ("activation rate", "Rows trained / rows offered, by epoch.", "rate", "plain", True),
    ("threshold", "The controller's threshold on the score.", "threshold", "plain", False),
    (
        "points above dense",
        "Validation accuracy above dense at the same progress.",
        "accuracy",
        "above",
        False,
    ),
    ("rows skipped", "Share of the rows offered so far. Nominal, not energy.", "skipped", "plain", True),
    ("FLOPs saved", f"Counted, {_SO_FAR}", "flops", "saved", True),
    ("seconds saved", f"Measured, {_SO_FAR}", "seconds", "saved", True),
    ("joules saved", f"Measured, {_SO_FAR}", "joules", "saved", True),
)
