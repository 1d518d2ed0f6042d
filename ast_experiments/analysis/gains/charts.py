"""Charts of a sweep: figures over the plane of the two gains, and the rates of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import INKS, chart, legend, thin
from ast_experiments.analysis.gains.figures import UNSET, Floats, Point, Theory, Trace
from ast_experiments.analysis.gains.stability import bounds

CURVE_POINTS = 300


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that is drawn over the gains.

    Attributes:
        name: As in `Point.figures`.
        title: Of the chart.
        caption: Unit and definition.
        form: Of the number in a cell.
        up: Whether more is better.
    """

    name: str
    title: str
    caption: str
    form: str
    up: bool = False


FIGURES = (
    Figure("settling_window", "Settling step", "First row of the control log from which the rate holds.", ".0f"),
    Figure("overshoot", "Overshoot", "Largest excess of the smoothed rate, as a share of the target.", ".0%"),
    Figure("rms_error", "RMS error of the rate", "Of epoch rates against the target, in units of rate.", ".4f"),
    Figure("final_accuracy", "Accuracy", "Percent, of the last validation.", ".2f", up=True),
    Figure("savings", "Savings", "Of the FLOPs of dense training; nominal if none were counted.", ".1%", up=True),
)  # fmt: skip


class Axis:
    """The values of one gain in equal steps, ascending; between them their logarithm is interpolated.

    A derived gain stands where it is if both are derived: a derived ki follows the kp beside it.

    Args:
        points: The pairs of gains.
        which: 0 for kp, 1 for ki.
    """

    def __init__(self, points: Sequence[Point], which: int) -> None:
        values = {}
        for point in sorted(points, key=lambda point: point.derived):
            values[(point.kp, point.ki)[which]] = point.gains[which]
        self.labels = sorted(values, key=lambda label: (np.isnan(values[label]), values[label]))
        self.values = np.array([values[label] for label in self.labels])

    def names(self) -> list[str]:
        """What the ticks say."""
        return [
            (f"derived\n({value:.2g})" if np.isfinite(value) else "derived") if label in UNSET else f"{value:g}"
            for label, value in zip(self.labels, self.values, strict=True)
        ]

    def place(self, values: Floats) -> Floats:
        """Where values lie; beyond the ends the last step is continued. NaN without two values above 0."""
        usable = np.isfinite(self.values) & (self.values > 0)
        if usable.sum() < 2:
            return np.full(np.shape(values), np.nan)
        x, y = np.log(self.values[usable]), np.flatnonzero(usable).astype(np.float64)
        with np.errstate(divide="ignore"):
            v = np.log(values)
        inner = np.interp(v, x, y)
        before, after = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
        return np.where(v < x[0], y[0] + (v - x[0]) * before, np.where(v > x[-1], y[-1] + (v - x[-1]) * after, inner))


def heat_map(points: Sequence[Point], figure: Figure, law: Theory | None, best: Point | None, salt: str) -> str | None:
    """A figure over kp and ki, the boundary of theory over it; None if no run has the figure.

    Args:
        points: Of one facet.
        figure: Which.
        law: Of the controller.
        best: Framed, if it is among the points.
        salt: Makes the ids in the drawing distinct.
    """
    across, up = Axis(points, 0), Axis(points, 1)
    told = [value for p in points if (value := p.figures[figure.name]) is not None]
    if not told:
        return None
    low, span = min(told), (max(told) - min(told)) or 1.0

    def draw(axes: Any) -> None:
        from matplotlib.patches import Rectangle

        for point in points:
            x, y = across.labels.index(point.kp), up.labels.index(point.ki)
            value = point.figures[figure.name]
            corner = (x - 0.5, y - 0.5)
            if value is None:
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", edgecolor=INKS["rule"], linewidth=0))
            else:
                good = (value - low) / span if figure.up else 1 - (value - low) / span
                axes.add_patch(Rectangle(corner, 1, 1, color=INKS["c3"], alpha=0.06 + 0.5 * good, linewidth=0))
            axes.text(x, y, _cell(point, value, figure.form), ha="center", va="center", color=INKS["ink"], fontsize=8)
            if point is best:
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INKS["ink"], linewidth=1.6, zorder=3))
        if law is not None:
            _boundary(axes, across, up, law)
        axes.set_xticks(range(len(across.labels)), across.names())
        axes.set_yticks(range(len(up.labels)), up.names())
        axes.set_xlim(-0.5, len(across.labels) - 0.5)
        axes.set_ylim(-0.5, len(up.labels) - 0.5)
        axes.set_xlabel("kp")
        axes.set_ylabel("ki")

    return chart(draw, salt, 0.9 + 0.5 * max(3, len(up.labels)))


def rate_chart(traces: Mapping[str, Trace | None], names: Mapping[str, str], best: Sequence[str]) -> str | None:
    """The smoothed rates of all runs in one chart; None without a controlled one.

    Args:
        traces: By run.
        names: What the legend calls them; used where there are few.
        best: Runs that stand out.
    """
    told = [(run, each) for run, each in traces.items() if each is not None and np.isfinite(each.rate).any()]
    if not told:
        return None
    few = len(told) <= 6

    def draw(axes: Any) -> None:
        for i, (run, each) in enumerate(sorted(told, key=lambda pair: pair[0] in best)):
            kept = np.isfinite(each.rate)
            x, y = thin(each.epochs[kept], each.rate[kept], CURVE_POINTS)
            stands = run in best
            ink = INKS[f"c{1 + i % 5}" if few else "c3" if stands else "c6"]
            label = names[run] if few else "recommended" if stands and run == best[0] else None
            axes.plot(
                x, y, color=ink, linewidth=1.4 if few or stands else 0.7, alpha=1 if few or stands else 0.6, label=label
            )
        for run, each in told[:1] if _one_target(told) else told:
            axes.plot(
                *thin(each.epochs, each.target, CURVE_POINTS),
                color=INKS["ink"],
                linewidth=0.9,
                linestyle=(0, (4, 2)),
                label="target" if run == told[0][0] else None,
            )
        axes.set_ylim(0, min(1.05, axes.get_ylim()[1]))
        axes.set_xlabel("epoch")
        axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
        legend(axes, 3)

    return chart(draw, "rates", 2.6)


def _boundary(axes: Any, across: Axis, up: Axis, law: Theory) -> None:
    """The bounds on kp where they cross the map."""
    values = up.values[np.isfinite(up.values) & (up.values > 0)]
    if len(values) < 2:
        return
    ki = np.geomspace(values[0] / 100, values[-1] * 100, 2_000)
    rows = up.place(ki)
    ink, label = INKS["c2"], "stability boundary, theory"
    lines: list[tuple[Floats, Any]] = []
    if law.law == "published":
        lines.append((bounds(law.law, ki, law.alpha, None)[0], "-"))
    for density, style in zip(law.densities or (), ("-", (0, (2, 2))), strict=False):
        lines.append((bounds(law.law, ki, law.alpha, density)[1], style))
    for kp, style in lines:
        inside = kp > 0
        columns = across.place(kp[inside])
        axes.plot(columns, rows[inside], color=ink, linewidth=1.8, linestyle=style, label=label, zorder=2)
        label = None
    if lines:
        legend(axes, 1)


def _cell(point: Point, value: float | None, form: str) -> str:
    if value is not None:
        return f"{value:{form}}"
    ended = all(row.status == "finished" for row in point.rows)
    return "never" if ended else next(row.status for row in point.rows if row.status != "finished")


def _one_target(told: Sequence[tuple[str, Trace]]) -> bool:
    return len({round(float(each.target[-1]), 6) for _, each in told}) == 1
