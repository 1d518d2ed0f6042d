"""Draws charts as inline SVG in the page's colours."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ast_experiments.analysis.chart_data import Cells, data_element
from ast_experiments.runs.control_quality import BAND

POINTS = 800
LEGEND_WIDTH, LEGEND_MARK, LEGEND_ROWS = 76, 7, 4
"""Characters per line of a legend, how many of them a marker takes, and rows that a drawing has space for."""
COLORS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7")
"""Colours of curves and arms: of the style sheet, apart for all kinds of colour vision, on light and dark paper."""
MARKERS = "os^DvPX*hdp"
"""Markers of curves and arms. Triangles to the left and right are missing: they mark open ends of intervals."""
TOP = 101.0
"""Upper end of an axis of accuracies, at most."""
NAME = 40
"""Maximum characters of a name in a chart."""

Floats = NDArray[np.float64]
Style = Literal["line", "faint", "dashed", "band"]

# Placeholders in Matplotlib's output, replaced by CSS variables with a light and a dark value.
INKS = {"ink": "#0a0b01", "rule": "#0a0b02", "grey": "#0a0b03", **{name: f"#0a0b1{name[1]}" for name in COLORS}}


@dataclass(frozen=True, slots=True)
class Series:
    """One curve, or a band.

    Attributes:
        label: Name in the legend.
        x: Epochs completed, shape (n,).
        y: Values, shape (n,).
        color: One of `COLORS`, or grey.
        style: "band" fills the controller's band around y.
    """

    label: str
    x: Floats
    y: Floats
    color: str
    style: Style = "line"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    Attributes:
        title: Title.
        caption: Unit and definition, in one sentence.
        series: Curves, in drawing order.
        from_zero: Whether the y axis starts at 0.
        ceiling: Upper limit of the y axis; None for no limit.
        xlabel: Label of the x axis.
        ylabel: Label of the y axis, with its unit.
    """

    title: str
    caption: str
    series: tuple[Series, ...]
    from_zero: bool = False
    ceiling: float | None = None
    xlabel: str = "epoch"
    ylabel: str = ""


def look(i: int) -> dict[str, Any]:
    """Returns the colour and the marker of the i-th curve or arm; the first 77 pairs differ."""
    return {"color": INKS[COLORS[i % len(COLORS)]], "marker": MARKERS[i % len(MARKERS)]}


def thin(x: ArrayLike, y: ArrayLike, points: int = POINTS) -> tuple[Floats, Floats]:
    """Reduces a curve to about `points` points, keeping the minimum and maximum of every interval.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        points: At least 4.

    Returns:
        x and y of equal shape, in the original order; unchanged if n is at most `points`.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) <= points:
        return x, y
    edges = np.linspace(0, len(x), points // 2, dtype=np.int64)
    extremes = [(a + int(np.argmin(y[a:b])), a + int(np.argmax(y[a:b]))) for a, b in pairwise(edges)]
    keep = np.unique(np.array([0, *np.ravel(extremes), len(x) - 1]))
    return x[keep], y[keep]


def svg(panel: Panel, salt: str = "") -> str:
    """Draws a panel as an `<svg>` element, coloured by the page's CSS variables.

    Args:
        panel: The panel.
        salt: Makes the element ids unique among the drawings of a page.
    """
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Any) -> None:
        for series in panel.series:
            _draw(axes, series)
        axes.set_xlabel(panel.xlabel)
        axes.set_ylabel(panel.ylabel)
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=panel.xlabel == "epoch"))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if panel.from_zero:
            axes.set_ylim(bottom=0)
        if panel.ceiling is not None and axes.get_ylim()[1] > panel.ceiling:
            axes.set_ylim(top=panel.ceiling)
        short_ticks(axes.yaxis)
        axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
        if len(panel.series) > 1:
            legend(axes)

    return chart(draw, salt or panel.title)


def short_ticks(axis: Any) -> None:
    """Writes the ticks of an axis plainly, and large ones with a prefix: 0.3, 250, 40k, 1.2P."""
    from matplotlib.ticker import EngFormatter, ScalarFormatter

    if max(map(abs, axis.get_view_interval())) >= 10_000:
        axis.set_major_formatter(EngFormatter(sep=""))
    else:
        axis.set_major_formatter(ScalarFormatter(useOffset=False))


def chart(draw: Callable[[Any], None], salt: str, height: float = 2.4, cells: Cells | None = None) -> str:
    """Calls `draw` on Matplotlib axes with the colours `INKS` and returns the drawing as an `<svg>` element.

    The data of its named lines, points and bars follow in a JSON element, for the page to show and to save.

    Args:
        draw: Draws on the axes.
        salt: As for `svg`.
        height: Height of the drawing, for a width of 5.
        cells: The data of a map.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 8}):
        figure = Figure(figsize=(5.0, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INKS["rule"])
        axes.tick_params(which="both", color=INKS["rule"], labelcolor=INKS["ink"], length=3)
        draw(axes)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(INKS["ink"])
            label.set_parse_math(False)
        buffer = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="constrained_layout not applied")
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    for name, ink in INKS.items():
        drawing = drawing.replace(ink, f"var(--{name})")
    return compact(drawing[drawing.index("<svg") :]) + data_element(axes, cells)


def compact(drawing: str) -> str:
    """Shortens Matplotlib's SVG without visible change: no metadata, fonts or line breaks; coordinates to 0.01 pt."""

    def coordinates(match: re.Match[str]) -> str:
        numbers = re.sub(r"(\.\d\d)\d+", r"\1", " ".join(match[2].split()))
        return f' {match[1]}="{numbers}"'

    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"font-family: [^;]*; ?", "", drawing)  # the page sets the font
    drawing = re.sub(r' (d|x|y|transform)="([^"]*)"', coordinates, drawing)
    return re.sub(r">\s+<", "><", drawing)


def legend(axes: Any, columns: int = 4) -> None:
    """Adds a legend above the axes, in as many columns as fit; extra rows increase the height."""
    named = {label: handle for handle, label in reversed([*zip(*axes.get_legend_handles_labels(), strict=True)])}
    if not named:
        return
    labels, handles = zip(*reversed(named.items()), strict=True)
    fitting = max(1, min(columns, LEGEND_WIDTH // (LEGEND_MARK + max(map(len, labels)))))
    more = math.ceil(len(labels) / fitting) - min(LEGEND_ROWS, math.ceil(len(labels) / columns))
    figure = axes.figure
    figure.set_figheight(figure.get_figheight() + 0.17 * more)
    drawn = figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=fitting,
        frameon=False,
        labelcolor=INKS["ink"],
        borderpad=0,
        handlelength=1.4,
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Names the rows of the axes, from the top; their values run along x."""
    axes.set_yticks(range(len(names)), [short_name(name) for name in names])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color=INKS["rule"], linewidth=0.6)


def short_name(name: str) -> str:
    """Shortens a name in the middle; its start and its end identify it."""
    return name if len(name) <= NAME else f"{name[: NAME // 3]}…{name[NAME // 3 + 1 - NAME :]}"


def _draw(axes: Any, series: Series) -> None:
    ink, (x, y) = INKS[series.color], thin(series.x, series.y)
    if series.style == "band":
        axes.fill_between(x, y * (1 - BAND), y * (1 + BAND), color=ink, alpha=0.15, linewidth=0)
    else:
        look: dict[str, Any] = {
            "line": {"linewidth": 1.4},
            "faint": {"linewidth": 0.7, "alpha": 0.45},
            "dashed": {"linewidth": 1.2, "linestyle": (0, (4, 2))},
        }[series.style]
        dots = {"marker": "o", "markersize": 2.5} if len(x) <= 40 and series.style == "line" else {}
        axes.plot(x, y, color=ink, label=series.label, **look, **dots)
