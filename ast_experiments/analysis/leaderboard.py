"""The runs of a sweep side by side, the best-held activation rate first."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.analysis.report import REPORT, render, summary
from ast_experiments.analysis.runs import RunRecord, find_runs, read_run

if TYPE_CHECKING:
    from rich.console import Console

CSV, HTML = "leaderboard.csv", "leaderboard.html"

# Heading and text form of the figures, in the order of their columns.
_FIGURES = {
    "settling_window": ("settled", "d"),
    "overshoot": ("over", ".1%"),
    "rms_error": ("RMS", ".4f"),
    "last_quarter_rate": ("rate", ".4f"),
    "target": ("target", ".4g"),
    "final_accuracy": ("acc %", ".2f"),
}


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One run of a sweep; a figure that does not apply is None.

    Attributes:
        run: Path of the run directory, relative to the sweep's.
        status: As in `RunRecord.status`.
        overrides: What was varied: key to value, only keys that differ between the runs.
        settling_window: Index of the step row under control from which the rate holds; None also if never.
        overshoot: Share of the target.
        rms_error: RMS of epoch rate minus target, in units of rate.
        last_quarter_rate: Activation rate over the last quarter of the run.
        target: Activation rate asked for.
        final_accuracy: Percent.
        error: What a failed run died of; empty otherwise.
    """

    run: str
    status: str
    overrides: Mapping[str, str]
    settling_window: int | None = None
    overshoot: float | None = None
    rms_error: float | None = None
    last_quarter_rate: float | None = None
    target: float | None = None
    final_accuracy: float | None = None
    error: str = ""


def leaderboard(sweep_dir: str | os.PathLike[str]) -> list[LeaderboardRow]:
    """Returns a row for every run at or below `sweep_dir`.

    Sorted by RMS rate error; runs without one after those with one, the more accurate first; failed last.
    """
    root = Path(sweep_dir)
    records = [read_run(path) for path in find_runs(root)]
    given = [parse_overrides(record.result.get("overrides") or ()) for record in records]
    varied = varied_keys(given)
    rows = [
        _row(record, root, {key: own[key] if key in own else _configured(record, key) for key in varied})
        for record, own in zip(records, given, strict=True)
    ]
    return sorted(rows, key=_rank)


def parse_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """Returns Hydra overrides as key to value: `["+a.b=1", "~c"]` gives `{"a.b": "1", "c": "(removed)"}`."""
    parsed = {}
    for override in overrides:
        key, found, value = override.partition("=")
        parsed[key.lstrip("+~")] = "(removed)" if key.startswith("~") else value if found else ""
    return parsed


def varied_keys(given: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the keys whose values differ between the runs that carry overrides, in first-seen order."""
    told = [own for own in given if own]
    keys = dict.fromkeys(key for own in told for key in own)
    return [key for key in keys if len({own.get(key) for own in told}) > 1]


def print_leaderboard(rows: Sequence[LeaderboardRow], console: Console | None = None) -> None:
    """Prints rows as a table, the best first."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Leaderboard", title_justify="left")
    for heading in headings(rows):
        table.add_column(escape(heading), overflow="fold", no_wrap=heading == "status")
    for row in rows:
        style = {"failed": "red", "finished": None}.get(row.status, "yellow")
        table.add_row(*map(escape, cells(row)), style=style)
    console = console or Console()
    console.print(table, "settled: control log row; over: overshoot; RMS: of the rate; rate: last quarter", sep="\n")
    for row in rows:
        if row.error:
            console.print(f"{row.run}: {row.error}", markup=False, highlight=False, soft_wrap=True)


def write_leaderboard(sweep_dir: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Writes `leaderboard.csv` (raw figures) and `leaderboard.html` (self-contained) into the directory.

    Returns:
        The paths of the two.
    """
    root, rows = Path(sweep_dir), leaderboard(sweep_dir)
    varied = list(rows[0].overrides) if rows else []
    with open(root / CSV, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "status", *varied, *_FIGURES, "error"])
        for row in rows:
            figures = [getattr(row, name) for name in _FIGURES]
            writer.writerow([row.run, row.status, *row.overrides.values(), *figures, row.error])
    page = render(
        "leaderboard.html.j2",
        title=f"Leaderboard: {root.resolve().name}",
        headings=headings(rows),
        rows=[(row, cells(row), _link(root, row)) for row in rows],
    )
    (root / HTML).write_text(page, encoding="utf-8")
    return root / CSV, root / HTML


def headings(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Returns the headings of what `cells` fills; a key is cut to its last part where that is clear."""
    keys = list(rows[0].overrides) if rows else []
    ends = [key.rpartition(".")[2] for key in keys]
    varied = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    return [*(varied or ["run"]), *(heading for heading, _ in _FIGURES.values()), "status"]


def cells(row: LeaderboardRow) -> list[str]:
    """Returns the texts of one row; a run without varied overrides is named by its path."""
    figures = [_shown(getattr(row, name), form) for name, (_, form) in _FIGURES.items()]
    return [*(list(row.overrides.values()) or [row.run]), *figures, row.status]


def _row(record: RunRecord, root: Path, overrides: Mapping[str, str]) -> LeaderboardRow:
    figures = summary(record)
    control = figures.get("control") or {}
    return LeaderboardRow(
        run=record.directory.relative_to(root).as_posix(),
        status=record.status,
        overrides=overrides,
        settling_window=control.get("settling_window"),
        overshoot=control.get("overshoot"),
        rms_error=control.get("rms_error"),
        last_quarter_rate=figures.get("last_quarter_activation_rate"),
        target=figures.get("target"),
        final_accuracy=figures.get("final_accuracy"),
        error=_last_line(figures.get("error")) if record.status == "failed" else "",
    )


def _rank(row: LeaderboardRow) -> tuple[Any, ...]:
    error, accuracy = row.rms_error, row.final_accuracy
    return (
        row.status == "failed",
        error is None,
        error or 0.0,
        -(accuracy or 0.0),
        row.run,
    )


def _configured(record: RunRecord, key: str) -> str:
    """The value that a run's configuration holds under a dotted key; empty if it holds none."""
    value: Any = record.config
    for part in key.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    if isinstance(value, Mapping):
        value = value.get("name", "")
    return str(value)


def _link(root: Path, row: LeaderboardRow) -> str:
    report = Path(row.run) / REPORT
    return report.as_posix() if (root / report).exists() else ""


def _last_line(error: object) -> str:
    lines = str(error or "").strip().splitlines()
    return lines[-1] if lines else ""


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def main() -> None:
    """Prints and writes the leaderboard of the sweep directory given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m ast_experiments.analysis.leaderboard")
    parser.add_argument("sweep_dir", type=Path)
    sweep_dir = parser.parse_args().sweep_dir
    print_leaderboard(leaderboard(sweep_dir))
    print(*write_leaderboard(sweep_dir), sep="\n")


if __name__ == "__main__":
    main()
