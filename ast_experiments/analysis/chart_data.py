"""The data behind a chart: what its page shows on hover, in a table and in a CSV file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

POINTS_PER_INCH = 72.0


@dataclass(frozen=True, slots=True)
class Cells:
    """The data of a map, which are not its lines.

    Attributes:
        name: Of the values.
        columns: Texts of the columns, at x = 0, 1, ...
        rows: Texts of the rows, at y = 0, 1, ...
        values: By (column, row).
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: dict[tuple[int, int], str]


def data_element(axes: Any, cells: Cells | None = None) -> str:
    """Returns the data of a drawn chart as a JSON element for its page; empty if nothing in it has a name.

    Args:
        axes: Matplotlib axes after the drawing was saved, so that its layout is final.
        cells: The data, if the chart is a map.
    """
    from matplotlib.ticker import FixedLocator

    named = isinstance(axes.yaxis.get_major_locator(), FixedLocator)
    series = [*_lines(axes), *_points(axes, named), *_bars(axes)] if cells is None else []
    if not series and cells is None:
        return ""
    width, height = (float(inches) * POINTS_PER_INCH for inches in axes.figure.get_size_inches())
    box = axes.get_position()
    frame = [box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height]
    rows = [text.get_text() for text in axes.get_yticklabels()] if named else []
    found = {
        "frame": _rounded(frame),
        "x": _axis(axes.get_xlabel(), axes.get_xlim(), axes.get_xscale()),
        "y": _axis(axes.get_ylabel(), axes.get_ylim(), axes.get_yscale()),
        "rows": rows,
        "series": series,
    }
    if cells is not None:
        values = [[cells.columns[x], cells.rows[y], value] for (x, y), value in sorted(cells.values.items())]
        found |= {"columns": [*cells.columns], "rows": [*cells.rows], "cells": {"name": cells.name, "values": values}}
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    return f'<script type="application/json">{_inert(text)}</script>'


def _inert(text: str) -> str:
    """Escapes what could end the element or begin another one; JSON reads it back unchanged."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _axis(label: str, limits: tuple[float, float], scale: str) -> dict[str, Any]:
    low, high = _rounded(limits)
    return {"label": label, "low": low, "high": high, "log": scale == "log"}


def _lines(axes: Any) -> list[dict[str, Any]]:
    """Returns the named curves; a line without a stroke is a set of points, whose `ends` are those of intervals."""
    return [
        {"name": label, "kind": "points" if line.get_linestyle() == "None" else "line"}
        | _columns(line)
        | {name: _rounded([end]) for name, end in zip(("low", "high"), getattr(line, "ends", ()), strict=False)}
        for line in axes.lines
        if not (label := str(line.get_label())).startswith("_") and len(line.get_xdata())
    ]


def _points(axes: Any, named: bool) -> list[dict[str, Any]]:
    """Returns the named points with error bars, and the ends of those along the values: x if the rows have names."""
    from matplotlib.container import ErrorbarContainer

    along, found = 0 if named else 1, []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer) and not str(container.get_label()).startswith("_"):
            one = {"name": container.get_label(), "kind": "points"} | _columns(container[0])
            if container.has_xerr if named else container.has_yerr:
                ends = container[2][0 if named else -1].get_segments()  # those of x come first
                one |= {name: _rounded(end[i][along] for end in ends) for i, name in enumerate(("low", "high"))}
            found.append(one)
    return found


def _bars(axes: Any) -> list[dict[str, Any]]:
    """Returns the named horizontal bars: their lengths, by row."""
    from matplotlib.container import BarContainer

    return [
        {"name": container.get_label(), "kind": "bars", "x": _rounded(bar.get_width() for bar in container)}
        for container in axes.containers
        if isinstance(container, BarContainer) and not str(container.get_label()).startswith("_")
    ]


def _columns(line: Any) -> dict[str, list[float | None]]:
    return {"x": _rounded(line.get_xdata()), "y": _rounded(line.get_ydata())}


def _rounded(values: Iterable[Any]) -> list[float | None]:
    """Rounds to six digits; None for what is no number."""
    return [float(f"{float(value):.6g}") if math.isfinite(float(value)) else None for value in values]
