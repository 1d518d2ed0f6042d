"""One page about one sweep, `report.html`, and its figures, `leaderboard.csv`; from the files of its runs alone.

`python -m ast_experiments.analysis.gains.page SWEEP_DIR` prints the leaderboard and writes both anew.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ast_experiments.analysis.gains.charts import FIGURES, heat_map, rate_chart
from ast_experiments.analysis.gains.figures import Advice, Point, Theory, advise, points, theory, trace
from ast_experiments.analysis.leaderboard import (
    LEGEND,
    LeaderboardRow,
    cells,
    headings,
    link,
    print_leaderboard,
    rank,
    to_csv,
)
from ast_experiments.analysis.report import REPORT, render
from ast_experiments.core.files import write_atomic
from ast_experiments.runs.record import RunRecord, find_runs, read_run

CSV = "leaderboard.csv"


def write_sweep(sweep_dir: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Writes the page and the table into a sweep's directory, whatever state its runs are in.

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
    """Returns the page as HTML.

    Args:
        root: The sweep's directory.
        rows: As `rank` gives them.
        records: By `LeaderboardRow.run`.
    """
    from markupsafe import Markup

    traces = {row.run: trace(records[row.run]) for row in rows}
    plane = points(rows, traces)
    law = theory(plane, traces, {name: record.config.get("controller") or {} for name, record in records.items()})
    target = next((row.target for row in rows if row.target is not None), None)
    advice = advise(plane, target, law)
    best = [row.run for row in advice.point.rows] if advice else []
    names = {
        row.run: ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in row.overrides.items()) or row.run for row in rows
    }
    drawing = rate_chart(traces, names, best)
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)}
    return render(
        "sweep.html.j2",
        title=f"Sweep: {root.resolve().name}",
        subtitle=", ".join(f"{count} {status}" for status, count in counts.items()),
        advice=None if advice is None else (_named(advice.point), advice.reasons),
        plane=bool(plane),
        facets=[(label, _maps(facet, law, advice, label)) for label, facet in _facets(plane)],
        law=_law_text(law),
        rates=Markup(drawing) if drawing else None,
        legend=LEGEND,
        headings=headings(rows),
        rows=[(row, cells(row), link(root, row)) for row in rows],
    )


def _facets(plane: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    """The points by what else was varied; the label is empty where nothing was."""
    found: dict[str, list[Point]] = {}
    for point in plane:
        found.setdefault(", ".join(f"{key}={value}" for key, value in point.rest.items()), []).append(point)
    return list(found.items())


def _maps(facet: Sequence[Point], law: Theory | None, advice: Advice | None, label: str) -> list[tuple[Any, ...]]:
    from markupsafe import Markup

    best = advice.point if advice else None
    drawn = [(figure, heat_map(facet, figure, law, best, f"{figure.name} {label}")) for figure in FIGURES]
    return [(figure.title, figure.caption, Markup(drawing)) for figure, drawing in drawn if drawing]


def _named(point: Point) -> str:
    gains = ["kp and ki derived"] if point.derived else [f"kp {point.kp}", f"ki {point.ki}"]
    return ", ".join([*gains, *(f"{key} {value}" for key, value in point.rest.items())])


def _law_text(law: Theory | None) -> str:
    if law is None:
        return ""
    alpha = law.alpha
    high = (2 - alpha) / alpha
    if law.law == "pi":
        text = f"Theory, for the loop linearised at the threshold: stable where kp + ki/2 < {high:.3g} / f"
    else:
        text = (
            f"Theory, for the loop linearised at the threshold and the clamps open: stable where "
            f"{(1 - alpha) / alpha:.3g} ki < kp < {2 * high:.3g} / f - ki/2"
        )
    density = "f is the density of the scores at the threshold"
    if law.densities is None:
        return f"{text}; {density}, which these runs do not tell: a run with derived gains of pi would."
    least, most = law.densities
    return (
        f"{text}; {density}, here from {least:.2g} to {most:.2g} over the runs with derived gains: the solid and the "
        f"dashed line. Derived gains move with f, a fixed factor off the boundary; beside a given kp a derived ki is "
        f"{alpha / (1 - alpha):.2g} kp."
    )


def main() -> None:
    """Prints the leaderboard of the sweep directory given on the command line and writes its files."""
    parser = argparse.ArgumentParser(prog="python -m ast_experiments.analysis.gains.page")
    parser.add_argument("sweep_dir", type=Path)
    folder = parser.parse_args().sweep_dir
    paths = find_runs(folder)
    if not paths:
        raise SystemExit(f"{folder} holds no runs; expected the directory of a sweep, e.g. outputs/sweeps/NAME")
    print_leaderboard(rank([(read_run(path), path.relative_to(folder).as_posix()) for path in paths]))
    print(*write_sweep(folder), sep="\n")


if __name__ == "__main__":
    main()
