"""Charts of a gain sweep: metrics over the two gains, and the activation rates of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ast_experiments.analysis.chart_data import Cells
from ast_experiments.analysis.draw import COLORS, INKS, chart, legend, thin
from ast_experiments.analysis.gains.figures import UNSET, Floats, Point, Theory, Trace
from ast_experiments.analysis.gains.stability import bounds

CURVE_POINTS = 300


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is drawn over the gains.

    Attributes:
        name: Key in `Point.figures`.
        title: Title of the chart.
        caption: Unit and definition.
        form: Format of the number in a cell.
        range: Smallest range of values that takes the whole colour scale; smaller differences stay pale.
        higher_is_better: Direction of the colour scale.
    """

    name: str
    title: str
    caption: str
    form: str
    range: float
    higher_is_better: bool = False

    def shade(self, value: float, known: Sequence[float]) -> float:
        """Returns how good a value is among all values: 1 for the best, 0 for one that is worse by the whole range."""
        span = max(max(known) - min(known), self.range)
        return 1 - (max(known) - value if self.higher_is_better else value - min(known)) / span


METRICS = (
    Metric("settling_epoch", "Settled",
           "Epochs completed when the rate came to stay within 20 % of its target.", ".1f", 1),
    Metric("overshoot", "Overshoot", "Largest excess of the smoothed rate, as a share of the target.", ".0%", 0.1),
    Metric("rms_error", "RMS error of the rate", "Epoch rates against the target, in units of rate.", ".4f", 0.02),
    Metric("final_accuracy", "Accuracy", "Last validation, in percent.", ".2f", 2, higher_is_better=True),
    Metric("savings", "Savings",
           "Share of the FLOPs of dense training; nominal if not counted.", ".1%", 0.1, higher_is_better=True),
)  # fmt: skip


class Axis:
    """An axis with the values of one gain at equal steps, ascending; positions in between interpolate the logarithm.

    A derived gain is placed at its value when both gains are derived: a derived ki depends on kp.

    Args:
        points: Pairs of gains.
        which: 0 for kp, 1 for ki.
    """

    def __init__(self, points: Sequence[Point], which: int) -> None:
        values = {}
        for point in sorted(points, key=lambda point: point.derived):
            values[(point.kp, point.ki)[which]] = point.gains[which]
        self.labels = sorted(values, key=lambda label: (np.isnan(values[label]), values[label]))
        self.values = np.array([values[label] for label in self.labels])

    def tick_labels(self) -> list[str]:
        """Returns the texts of the ticks."""
        return [
            (f"derived\n({value:.2g})" if np.isfinite(value) else "derived") if label in UNSET else f"{value:g}"
            for label, value in zip(self.labels, self.values, strict=True)
        ]

    def position(self, values: Floats) -> Floats:
        """Maps values to positions, extrapolating the last step. NaN unless two values of the axis are above 0."""
        usable = np.isfinite(self.values) & (self.values > 0)
        if usable.sum() < 2:
            return np.full(np.shape(values), np.nan)
        x, y = np.log(self.values[usable]), np.flatnonzero(usable).astype(np.float64)
        with np.errstate(divide="ignore"):
            v = np.log(values)
        inner = np.interp(v, x, y)
        before, after = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
        return np.where(v < x[0], y[0] + (v - x[0]) * before, np.where(v > x[-1], y[-1] + (v - x[-1]) * after, inner))


def heat_map(points: Sequence[Point], metric: Metric, law: Theory | None, best: Point | None, salt: str) -> str | None:
    """Draws a metric over kp and ki with the theoretical stability boundary; None if no run has the metric.

    Args:
        points: Points of one facet.
        metric: The metric.
        law: Theory of the controller.
        best: Framed, if it is among the points.
        salt: Makes the element ids of the drawing unique.
    """
    across, upward = Axis(points, 0), Axis(points, 1)
    known = [value for p in points if (value := p.figures[metric.name]) is not None]
    if not known:
        return None

    def draw(axes: Any) -> None:
        from matplotlib.patches import Rectangle

        for point in points:
            x, y = across.labels.index(point.kp), upward.labels.index(point.ki)
            value = point.figures[metric.name]
            corner = (x - 0.5, y - 0.5)
            if value is None:
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", edgecolor=INKS["rule"], linewidth=0))
            else:
                alpha = 0.06 + 0.5 * metric.shade(value, known)
                axes.add_patch(Rectangle(corner, 1, 1, color=INKS["c3"], alpha=alpha, linewidth=0))
            axes.text(x, y, _cell(point, value, metric.form), ha="center", va="center", color=INKS["ink"], fontsize=8)
            if point is best:
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INKS["ink"], linewidth=1.6, zorder=3))
        if law is not None:
            _boundary(axes, across, upward, law)
        axes.set_xticks(range(len(across.labels)), across.tick_labels())
        axes.set_yticks(range(len(upward.labels)), upward.tick_labels())
        axes.set_xlim(-0.5, len(across.labels) - 0.5)
        axes.set_ylim(-0.5, len(upward.labels) - 0.5)
        axes.set_xlabel("kp")
        axes.set_ylabel("ki")

    columns, rows = ([text.replace("\n", " ") for text in axis.tick_labels()] for axis in (across, upward))
    values = {
        (across.labels.index(p.kp), upward.labels.index(p.ki)): _cell(p, p.figures[metric.name], metric.form)
        for p in points
    }
    return chart(draw, salt, 0.9 + 0.5 * max(3, len(upward.labels)), Cells(metric.title, columns, rows, values))


def rate_chart(traces: Mapping[str, Trace | None], names: Mapping[str, str], best: Sequence[str]) -> str | None:
    """Draws the smoothed rates of all runs; None if no run was controlled.

    Args:
        traces: Traces by run.
        names: Names in the legend, which is drawn for as many runs as there are colours.
        best: Runs to highlight.
    """
    known = [
        (run, each)
        for run, each in traces.items()
        if each is not None and (len(each.before) or np.isfinite(each.rate).any())
    ]
    if not known:
        return None
    few = len(known) <= len(COLORS)

    def draw(axes: Any) -> None:
        for i, (run, each) in enumerate(sorted(known, key=lambda pair: pair[0] in best)):
            kept = np.isfinite(each.rate)
            x = np.concatenate([each.before[:, 0], each.epochs[kept]])
            x, y = thin(x, np.concatenate([each.before[:, 1], each.rate[kept]]), CURVE_POINTS)
            highlighted = run in best
            ink = INKS[COLORS[i] if few else "c3" if highlighted else "grey"]
            label = names[run] if few else "recommended" if highlighted and run == best[0] else None
            axes.plot(
                x,
                y,
                color=ink,
                linewidth=1.4 if few or highlighted else 0.7,
                alpha=1 if few or highlighted else 0.6,
                label=label,
            )
        for run, each in known[:1] if _one_target(known) else known:
            x = np.concatenate([each.before[:, 0], each.epochs])
            axes.plot(
                *thin(x, np.concatenate([each.before[:, 2], each.target]), CURVE_POINTS),
                color=INKS["ink"],
                linewidth=0.9,
                linestyle=(0, (4, 2)),
                label="target" if run == known[0][0] else None,
            )
        axes.set_ylim(0, min(1.05, 1.1 * axes.dataLim.y1))
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel("activation rate")
        axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
        legend(axes, 3)

    return chart(draw, "rates", 2.6)


def _boundary(axes: Any, across: Axis, upward: Axis, law: Theory) -> None:
    """Draws the bounds on kp where they cross the map."""
    values = upward.values[np.isfinite(upward.values) & (upward.values > 0)]
    if len(values) < 2:
        return
    ki = np.geomspace(values[0] / 100, values[-1] * 100, 2_000)
    rows = upward.position(ki)
    ink, label = INKS["c2"], "stability boundary, theory"
    lines: list[tuple[Floats, Any]] = []
    if law.law == "published":
        lines.append((bounds(law.law, ki, law.alpha, None)[0], "-"))
    for density, style in zip(law.densities or (), ("-", (0, (2, 2))), strict=False):
        lines.append((bounds(law.law, ki, law.alpha, density)[1], style))
    for kp, style in lines:
        inside = kp > 0
        columns = across.position(kp[inside])
        crosses = (np.abs(columns - (len(across.labels) - 1) / 2) <= len(across.labels) / 2) & (
            np.abs(rows[inside] - (len(upward.labels) - 1) / 2) <= len(upward.labels) / 2
        )
        if crosses.any():
            axes.plot(columns, rows[inside], color=ink, linewidth=1.8, linestyle=style, label=label, zorder=2)
            label = ""
    if not label:
        legend(axes, 1)


def _cell(point: Point, value: float | None, form: str) -> str:
    if value is not None:
        return f"{value:{form}}".replace("%", " %")
    ended = all(row.status == "finished" for row in point.rows)
    return "never" if ended else next(row.status for row in point.rows if row.status != "finished")


def _one_target(known: Sequence[tuple[str, Trace]]) -> bool:
    return len({round(float(each.target[-1]), 6) for _, each in known}) == 1
