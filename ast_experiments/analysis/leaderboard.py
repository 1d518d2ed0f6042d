"""The leaderboard of a sweep, from the files of its runs alone."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.analysis.finding import sweep_finding
from ast_experiments.analysis.page import REPORT
from ast_experiments.analysis.report import summary
from ast_experiments.config.naming import NOT_IN_NAMES
from ast_experiments.runs.control_quality import settling_epoch
from ast_experiments.runs.record import RunRecord, find_runs, read_run

if TYPE_CHECKING:
    from rich.console import Console

# Heading and format of each figure, in column order.
_FIGURES = {
    "final_accuracy": ("acc %", ".2f"),
    "savings": ("saved", ".1%"),
    "last_quarter_rate": ("late rate", ".4f"),
    "target": ("late target", ".4g"),
    "rms_error": ("RMS", ".4f"),
    "overshoot": ("over", ".1%"),
    "settling_epoch": ("settled", ".1f"),
}
_CONTROL = ("rms_error", "overshoot", "settling_epoch")
"""Figures that are shown only if the sweep varied a controller or a rate."""
LEGEND = "saved: FLOPs, against training every row; late rate, late target: means over the last quarter"
CONTROL_LEGEND = (
    "RMS: error of the rate; over: overshoot; settled: epochs completed when the rate came to stay near its target"
)
NO_CONTROL = "no control"
NO_CONTROL_LEGEND = f"{NO_CONTROL}: the run ended before its controller began, or the method has none"


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One run of a sweep. A figure that does not apply, or is NaN, is None.

    Attributes:
        run: Run directory, relative to the sweep's.
        status: As in `RunRecord.status`.
        overrides: Values of the settings that differ between the runs.
        settling_window: Index of the controlled step row from which the rate stays in the band; None if never.
        settling_epoch: Epochs completed at that row; None if never or not known.
        overshoot: As a share of the target.
        rms_error: RMS of epoch rate minus target, in units of rate.
        last_quarter_rate: Activation rate over the last quarter of the run.
        target: Mean target over the same quarter.
        final_accuracy: Percent.
        savings: Counted savings, as a share of the FLOPs of dense training; nominal if not counted.
        flops: Of scoring, training and validation.
        rows_trained: Rows trained.
        error: Error of a failed run; empty otherwise.
    """

    run: str
    status: str
    overrides: Mapping[str, str]
    settling_window: int | None = None
    settling_epoch: float | None = None
    overshoot: float | None = None
    rms_error: float | None = None
    last_quarter_rate: float | None = None
    target: float | None = None
    final_accuracy: float | None = None
    savings: float | None = None
    flops: float | None = None
    rows_trained: float | None = None
    error: str = ""


def leaderboard(sweep_dir: str | os.PathLike[str]) -> list[LeaderboardRow]:
    """Returns a row for every run at or below `sweep_dir`, ordered by `rank`."""
    return rank([(read_run(path), path.relative_to(sweep_dir).as_posix()) for path in find_runs(sweep_dir)])


def rank(records: Sequence[tuple[RunRecord, str]]) -> list[LeaderboardRow]:
    """Returns a row for every run, best first and failed ones last.

    If the runs differ in their controller settings, the lowest RMS error of the rate is best; otherwise the highest
    accuracy.

    Args:
        records: Runs, with the names of their rows.
    """
    given = [parse_overrides(record.result.get("overrides") or ()) for record, _ in records]
    varied = varied_keys(given)
    rows = [
        _row(record, name, {key: own[key] if key in own else _configured(record, key) for key in varied})
        for (record, name), own in zip(records, given, strict=True)
    ]
    return sorted(rows, key=lambda row: _rank(row, _by_rate(varied)))


def legend(rows: Sequence[LeaderboardRow]) -> str:
    """Returns the order of the rows and the meaning of the columns."""
    by_rate = bool(rows) and _by_rate(rows[0].overrides)
    order = "lowest error of the rate (RMS) first, then highest accuracy" if by_rate else "highest accuracy first"
    cost = "" if by_rate else ", whatever a run costs"
    columns = [LEGEND]
    if rows and _shows_control(rows[0]):
        columns += [CONTROL_LEGEND, *([NO_CONTROL_LEGEND] if any(map(uncontrolled, rows)) else [])]
    return f"Order: {order}{cost}. {'; '.join(columns)}"


def finding(rows: Sequence[LeaderboardRow]) -> str:
    """Returns the finding on accuracy as a sentence; empty if the rows are ordered by the error of the rate."""
    if not rows or _by_rate(rows[0].overrides):
        return ""
    finished = [row for row in rows if row.status == "finished" and row.final_accuracy is not None]
    accuracies: dict[str, list[float]] = {}
    for row in finished:
        accuracies.setdefault(setting(row), []).append(row.final_accuracy or 0.0)
    for name, unit in (("flops", "FLOPs"), ("rows_trained", "rows trained")):
        costs: dict[str, list[float]] = {}
        for row in finished:
            if (cost := getattr(row, name)) is not None:
                costs.setdefault(setting(row), []).append(cost)
        if sum(map(len, costs.values())) == len(finished):
            return sweep_finding(accuracies, costs, unit)
    return sweep_finding(accuracies)


def setting(row: LeaderboardRow, *, seed: bool = False) -> str:
    """Returns what distinguishes a run, e.g. "rate 0.4"; keys are shortened to their last part.

    Args:
        row: Of the run.
        seed: Whether to name its seed too.
    """
    varied = ((key, value) for key, value in row.overrides.items() if seed or key != "seed")
    return ", ".join(f"{key.rpartition('.')[2]} {told(key, value)}" for key, value in varied)


def told(key: str, value: str) -> str:
    """Returns the value of a setting in words: a gain that is not set is derived."""
    return "derived" if key in ("controller.kp", "controller.ki") and value in ("null", "None") else value


def _shows_control(row: LeaderboardRow) -> bool:
    """Returns whether a row shows how the rate was controlled: a controller, a rate or its schedule was varied."""
    return any(key.startswith(("controller", "method.rate")) for key in row.overrides)


def uncontrolled(row: LeaderboardRow) -> bool:
    """Returns whether a run finished without ever having been under control."""
    return row.status == "finished" and all(getattr(row, name) is None for name in _CONTROL)


def _shown_figures(row: LeaderboardRow | None) -> dict[str, tuple[str, str]]:
    control = row is None or _shows_control(row)
    return {name: look for name, look in _FIGURES.items() if control or name not in _CONTROL}


def _by_rate(varied: Iterable[str]) -> bool:
    return any(key.split(".")[0] == "controller" for key in varied)


def parse_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """Parses Hydra overrides to key and value: `["+a.b=1", "~c"]` gives `{"a.b": "1", "c": "(removed)"}`."""
    parsed = {}
    for override in overrides:
        key, found, value = override.partition("=")
        parsed[key.lstrip("+~")] = "(removed)" if key.startswith("~") else value if found else ""
    return parsed


def varied_keys(given: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the keys whose values differ between the runs that have overrides, in order of appearance.

    Settings that do not affect results are left out: a sweep may be resumed with other values of them.
    """
    overridden = [own for own in given if own]
    keys = dict.fromkeys(key for own in overridden for key in own if re.split(r"[./]", key)[0] not in NOT_IN_NAMES)
    return [key for key in keys if len({own.get(key) for own in overridden}) > 1]


def print_leaderboard(rows: Sequence[LeaderboardRow], console: Console | None = None) -> None:
    """Prints rows as a table, and the errors of failed runs."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Leaderboard", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in headings(rows):
        table.add_column(escape(heading), overflow="fold", no_wrap=heading in ("status", "kp", "ki"))
    for row in rows:
        style = {"failed": "red", "finished": None}.get(row.status, "yellow")
        table.add_row(*map(escape, cells(row)), style=style)
    console = console or Console()
    console.print(table)
    if found := finding(rows):
        console.print(found, markup=False, highlight=False)
    console.print(legend(rows))
    for row in rows:
        if row.error:
            console.print(f"{row.run}: {row.error}", markup=False, highlight=False, soft_wrap=True)


def to_csv(rows: Sequence[LeaderboardRow]) -> str:
    """Formats the raw figures of the rows as CSV."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    names = [*_FIGURES, "settling_window"]
    writer.writerow(["run", "status", *(rows[0].overrides if rows else ()), *names, "error"])
    for row in rows:
        figures = [getattr(row, name) for name in names]
        writer.writerow([row.run, row.status, *row.overrides.values(), *figures, row.error])
    return file.getvalue()


def headings(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Returns the column headings of `cells`; a key is shortened to its last part if that is unambiguous."""
    keys = list(rows[0].overrides) if rows else []
    ends = [key.rpartition(".")[2] for key in keys]
    varied = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    figures = _shown_figures(rows[0] if rows else None)
    return [*(varied or ["run"]), *(heading for heading, _ in figures.values()), "status"]


def cells(row: LeaderboardRow) -> list[str]:
    """Formats one row; a run without varied settings is named by its path."""
    shown = {name: _shown(getattr(row, name), form) for name, (_, form) in _shown_figures(row).items()}
    if "rms_error" in shown and uncontrolled(row):
        shown["rms_error"] = NO_CONTROL
    varied = [told(key, value) for key, value in row.overrides.items()]
    return [*(varied or [row.run]), *shown.values(), row.status]


def report_link(root: Path, row: LeaderboardRow) -> str:
    """Returns the path of a run's report relative to the sweep; empty if there is none."""
    report = Path(row.run) / REPORT
    return report.as_posix() if (root / report).exists() else ""


def _row(record: RunRecord, name: str, overrides: Mapping[str, str]) -> LeaderboardRow:
    figures = summary(record)
    control = figures.get("control") or {}
    known = {
        **{key: control.get(key) for key in ("settling_window", "overshoot", "rms_error")},
        "last_quarter_rate": figures.get("last_quarter_activation_rate"),
        "target": figures.get("last_quarter_target", figures.get("target")),
        "final_accuracy": figures.get("final_accuracy"),
        "savings": figures.get("compute_savings", figures.get("nominal_savings")),
        "settling_epoch": settling_epoch(record.steps, control.get("settling_window")),
        "flops": sum(filter(None, (figures.get("flops") or {}).values())) or None,
        "rows_trained": figures.get("rows_trained"),
    }
    return LeaderboardRow(
        run=name,
        status=record.status,
        overrides=overrides,
        **{key: None if value is None or math.isnan(value) else value for key, value in known.items()},
        error=_last_line(figures.get("error")) if record.status == "failed" else "",
    )


def _rank(row: LeaderboardRow, by_rate: bool) -> tuple[Any, ...]:
    error = row.rms_error if by_rate else None
    return row.status == "failed", by_rate and error is None, error or 0.0, -(row.final_accuracy or 0.0), row.run


def _configured(record: RunRecord, key: str) -> str:
    """Returns the value of a dotted key in a run's configuration; empty if it is not set."""
    value: Any = record.config
    for part in key.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    if isinstance(value, Mapping):
        value = value.get("name", "")
    return str(value)


def _last_line(error: object) -> str:
    lines = str(error or "").strip().splitlines()
    return lines[-1] if lines else ""


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}".replace("%", " %")
