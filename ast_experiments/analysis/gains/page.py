"""The page of a sweep, `report.html`, and its figures, `leaderboard.csv`, from the files of its runs alone.

`python -m ast_experiments.analysis.gains.page SWEEP_DIR` prints the leaderboard and rewrites both.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ast_experiments.analysis.by_setting import accuracy_charts
from ast_experiments.analysis.gains.charts import METRICS, heat_map, rate_chart
from ast_experiments.analysis.gains.figures import Advice, Point, Theory, advise, points, theory, trace
from ast_experiments.analysis.leaderboard import (
    LeaderboardRow,
    cells,
    finding,
    headings,
    legend,
    print_leaderboard,
    rank,
    report_link,
    setting,
    to_csv,
    uncontrolled,
)
from ast_experiments.analysis.page import REPORT, embed, render
from ast_experiments.core.files import write_atomic
from ast_experiments.runs.record import RunRecord, find_runs, read_run

CSV = "leaderboard.csv"


def write_sweep(sweep_dir: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Writes the page and the table of a sweep, whatever the state of its runs.

    Returns:
        The paths of `report.html` and `leaderboard.csv`.
    """
    root = Path(sweep_dir)
    records = {path.relative_to(root).as_posix(): read_run(path) for path in find_runs(root)}
    rows = rank([(record, name) for name, record in records.items()])
    write_atomic(root / CSV, to_csv(rows))
    write_atomic(root / REPORT, render_sweep(root, rows, records))
    return root / REPORT, root / CSV


def render_sweep(root: Path, rows: Sequence[LeaderboardRow], records: Mapping[str, RunRecord]) -> str:
    """Renders the page of a sweep as HTML.

    Args:
        root: Directory of the sweep.
        rows: Rows of the leaderboard, as `rank` returns them.
        records: Runs by `LeaderboardRow.run`.
    """
    traces = {row.run: trace(records[row.run]) for row in rows}
    grid = points(rows, traces)
    law = theory(grid, traces, {name: record.config.get("controller") or {} for name, record in records.items()})
    target = next((row.target for row in rows if row.target is not None), None)
    advice = advise(grid, target, law)
    best = [row.run for row in advice.point.rows] if advice else []
    names = {row.run: setting(row, seed=True) or row.run for row in rows}
    caption = (
        "Rows trained / rows offered: by epoch until every sample has a score and control begins, then smoothed over "
        "5,000 offered rows or a quarter of an epoch, whichever is shorter."
    )
    missing = [names[row.run] for row in rows if uncontrolled(row)]
    if missing:
        caption += f" Not drawn, because never under control: {'; '.join(missing)}."
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)}
    return render(
        "sweep.html.j2",
        title=f"Sweep: {root.resolve().name}",
        finding=finding(rows),
        subtitle=", ".join(f"{count} {status}" for status, count in counts.items()),
        advice=None if advice is None else (_gains(advice.point), advice.reasons),
        grid=bool(grid),
        facets=[(label, embed(_maps(facet, law, advice, label))) for label, facet in _facets(grid)],
        law=_law_text(law),
        accuracies=embed(accuracy_charts(rows)),
        rates=embed([("All runs", caption, rate_chart(traces, names, best))]),
        legend=legend(rows),
        headings=headings(rows),
        rows=[(cells(row), row.status, report_link(root, row), row.error) for row in rows],
    )


def _facets(grid: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    """Groups the points by the other settings that vary; the label is empty if none does."""
    found: dict[str, list[Point]] = {}
    for point in grid:
        found.setdefault(", ".join(f"{key}={value}" for key, value in point.rest.items()), []).append(point)
    return list(found.items())


def _maps(
    facet: Sequence[Point], law: Theory | None, advice: Advice | None, label: str
) -> list[tuple[str, str, str | None]]:
    best = advice.point if advice else None
    return [
        (metric.title, metric.caption, heat_map(facet, metric, law, best, f"{metric.name} {label}"))
        for metric in METRICS
    ]


def _gains(point: Point) -> str:
    gains = ["kp and ki derived"] if point.derived else [f"kp {point.kp}", f"ki {point.ki}"]
    return ", ".join([*gains, *(f"{key} {value}" for key, value in point.rest.items())])


def _law_text(law: Theory | None) -> str:
    if law is None:
        return ""
    alpha = law.alpha
    high = (2 - alpha) / alpha
    if law.law == "pi":
        text = f"Theory, for the loop linearised at the threshold: stable if kp + ki/2 < {high:.3g} / f"
    else:
        text = (
            f"Theory, for the loop linearised at the threshold and no clamp active: stable if "
            f"{(1 - alpha) / alpha:.3g} ki < kp < {2 * high:.3g} / f - ki/2"
        )
    density = "f is the density of the scores at the threshold"
    if law.densities is None:
        return f"{text}; {density}. These runs do not reveal it; a run of pi with derived gains would."
    lowest, highest = law.densities
    return (
        f"{text}; {density}, from {lowest:.2g} (solid line) to {highest:.2g} (dashed line) over the runs with derived "
        f"gains. Derived gains scale with f and keep a fixed factor from the boundary. For a given kp, the derived ki "
        f"is {alpha / (1 - alpha):.2g} kp."
    )


def main() -> None:
    """Prints the leaderboard of the sweep directory given on the command line and writes its files."""
    parser = argparse.ArgumentParser(prog="python -m ast_experiments.analysis.gains.page")
    parser.add_argument("sweep_dir", type=Path)
    folder = parser.parse_args().sweep_dir
    paths = find_runs(folder)
    if not paths:
        raise SystemExit(f"{folder} contains no runs; expected the directory of a sweep, e.g. outputs/sweeps/NAME")
    print_leaderboard(rank([(read_run(path), path.relative_to(folder).as_posix()) for path in paths]))
    print(*write_sweep(folder), sep="\n")


if __name__ == "__main__":
    main()
