"""The charts of a run's report: curves, titles and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import COLORS, Panel, Series, Style
from ast_experiments.core.text import percent
from ast_experiments.runs.control_quality import BAND
from ast_experiments.runs.record import RunRecord

Rows = Sequence[Mapping[str, Any]]
Spec = tuple[Rows, str, str, str, Style]


def panels(record: RunRecord) -> list[Panel]:
    """Returns the charts for which a run has data, two points of a curve at least."""
    steps, epochs = record.steps, record.epochs
    candidates = [
        Panel(
            "Validation accuracy",
            "After each epoch that was evaluated.",
            _curves((epochs, "val/accuracy", "accuracy", "c3", "line")),
            ylabel="accuracy, %",
        ),
        Panel(
            "Activation rate",
            f"Rows trained / rows offered since the last log row, and smoothed. Band: target ± {percent(BAND, 0)}.",
            _rates(steps, epochs),
            from_zero=True,
            ceiling=1.05,
            ylabel="activation rate",
        ),
        Panel(
            "Threshold",
            "The controller's threshold on the score.",
            _curves((steps, "control/threshold", "threshold", "c5", "line")),
            ylabel="threshold",
        ),
        _losses(steps, epochs),
        _altered(record),
        *_energy(epochs),
        Panel(
            "Rows",
            "Cumulative.",
            _nonzero(
                (epochs, "rows/offered", "offered", "grey", "dashed"),
                (epochs, "rows/trained", "trained", "c1", "line"),
                (epochs, "rows/scored", "scored", "c2", "line"),
            ),
            from_zero=True,
            ylabel="rows",
        ),
        Panel(
            "Time",
            "Cumulative, by phase; set-up comes before the first epoch.",
            _times(epochs),
            from_zero=True,
            ylabel="seconds",
        ),
        Panel(
            "Savings (nominal)",
            "Cumulative, unitless: the cost model (a formula of the rate) and the share of rows skipped. Not energy.",
            _nonzero(
                (epochs, "energy/nominal_savings", "nominal savings", "c4", "line"),
                (epochs, "energy/skipped_share", "skipped share", "grey", "dashed"),
            ),
            from_zero=True,
            ylabel="share",
        ),
    ]
    return [panel for panel in candidates if any(len(series.x) > 1 for series in panel.series)]


def _curves(*specs: Spec) -> tuple[Series, ...]:
    """Returns one series for each (rows, key, label, color, style) whose key occurs in the rows."""
    found = []
    for rows, key, label, color, style in specs:
        points = [(row["epoch"], row[key]) for row in rows if key in row and "epoch" in row]
        if points:
            x, y = np.array(points, dtype=np.float64).T
            found.append(Series(label, x, y, color, style))
    return tuple(found)


def _nonzero(*specs: Spec) -> tuple[Series, ...]:
    """Like `_curves`, without curves that are all zero, such as the savings of a dense run."""
    return tuple(series for series in _curves(*specs) if series.y.any())


def _rates(steps: Rows, epochs: Rows) -> tuple[Series, ...]:
    controlled = _curves(
        (steps, "control/target", "target band", "grey", "band"),
        (steps, "control/activation_rate", "rate, by step", "c1", "faint"),
        (steps, "control/activation_rate_ema", "rate, smoothed", "c1", "line"),
        (steps, "control/target", "target", "grey", "dashed"),
    )
    series = controlled or _curves(
        (epochs, "epoch/activation_rate", "rate, by epoch", "c1", "line"),
        (epochs, "epoch/target", "target", "grey", "dashed"),
    )
    return series if any((abs(each.y - 1) > 0.005).any() for each in series) else ()


def _altered(record: RunRecord) -> Panel:
    """Returns the chart of the rows that a regime altered: their share of the trained rows, and of all."""
    samples, series = record.result.get("train_samples"), []
    for (kind, rows), color in zip(record.result.get("altered_rows", {}).items(), COLORS, strict=False):
        label = kind.replace("_", " ")
        for trained in _curves((record.epochs, f"epoch/{kind}_share", label, color, "line")):
            whole = np.full(len(trained.x), rows / samples)
            series += [trained, Series(f"{label}, all rows", trained.x, whole, color, "dashed")]
    caption = (
        "Share of the rows trained in an epoch that the data's regime altered. Dashed: share of all training rows."
    )
    return Panel("Altered rows", caption, tuple(series), from_zero=True, ylabel="share of the trained rows")


def _losses(steps: Rows, epochs: Rows) -> Panel:
    """Returns the chart of the losses."""
    series = _curves(
        (steps, "train/loss", "train, by step", "c2", "faint"),
        (epochs, "epoch/train_loss", "train", "c2", "line"),
        (epochs, "val/loss", "validation", "c1", "line"),
    )
    caption = "Training loss covers the trained rows only; under selection it is not the loss of the whole data set."
    return Panel("Loss", caption, series, ylabel="loss")


def _energy(epochs: Rows) -> tuple[Panel, ...]:
    """Returns the charts of measured energy and power."""
    power = _curves((epochs, "energy/gpu_power_w", "power", "c4", "line"))
    caption = "Mean power of the GPU since the last epoch."
    return (
        Panel("Energy (measured)", "Cumulative, as measured.", _joules(epochs), from_zero=True, ylabel="joules"),
        Panel("Power (measured)", caption, power, from_zero=True, ylabel="watts"),
    )


def _joules(epochs: Rows) -> tuple[Series, ...]:
    keys = sorted({key for row in epochs for key in row if key.startswith("energy/") and "joules" in key})
    specs: list[Spec] = [
        (epochs, key, key.removeprefix("energy/").replace("_", " "), color, "line")
        for key, color in zip(keys, COLORS, strict=False)
    ]
    return _curves(*specs)


def _times(epochs: Rows) -> tuple[Series, ...]:
    """Returns the seconds of each phase that took any, longest first."""
    last = epochs[-1] if epochs else {}
    phases = sorted((key for key in last if key.startswith("time/") and last[key]), key=lambda key: -last[key])
    specs: list[Spec] = [
        (epochs, key, key.removeprefix("time/").removesuffix("_s").replace("_", " "), color, "line")
        for key, color in zip(phases, COLORS, strict=False)
    ]
    return _curves(*specs)
