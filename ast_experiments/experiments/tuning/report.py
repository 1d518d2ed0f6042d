"""What comes of a search: a table on the console, `trials.csv`, `best.json`, and a page with the trials as charts."""

from __future__ import annotations

import csv
import json
import logging
import os
import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ast_experiments.analysis.draw import INKS, chart
from ast_experiments.analysis.report import REPORT, render
from ast_experiments.experiments.tuning.search import Searching, shown
from ast_experiments.experiments.tuning.space import OneOf

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CSV, BEST = "trials.csv", "best.json"
SHOWN = 10
STATES = {"COMPLETE": "finished", "FAIL": "failed", "PRUNED": "pruned", "RUNNING": "interrupted"}

logger = logging.getLogger(__name__)


def write(searching: Searching) -> None:
    """Write the files of a search anew. That it fails is no reason to lose a trial."""
    try:
        _write(searching.folder / CSV, _csv(searching))
        _write(searching.folder / BEST, json.dumps(_best(searching), indent=2) + "\n")
        _write(searching.folder / REPORT, page(searching))
    except Exception as error:
        logger.exception("the report of the search could not be written")
        print(f"the report of the search could not be written: {error}", file=sys.stderr)


def conclude(searching: Searching) -> None:
    """Show the search as it stands: its best trials, how to make them again, and where its files are."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    write(searching)
    trials = ranked(searching)
    if not trials:
        return
    part = f": {SHOWN} of {len(trials)}" if len(trials) > SHOWN else ""
    table = Table(title=f"Trials{part}", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in _headings(searching):
        table.add_column(escape(heading), overflow="fold")
    for trial in trials[:SHOWN]:
        table.add_row(*map(escape, _cells(searching, trial)), style=None if complete(trial) else "yellow")
    console = Console()
    console.print(table)
    best = _best(searching)["best"]
    if best:
        print("best:" if len(best) == 1 else "best; none of these is worse than another in every goal:")
    for entry in best:
        print(f"  {entry['command']}")
    print(*(searching.folder / name for name in (REPORT, CSV, BEST)), sep="\n", flush=True)


def ranked(searching: Searching) -> list[FrozenTrial]:
    """The trials, best first by the first goal; those without a figure at the end."""
    sign = -1 if searching.search.goals[0].direction == "maximize" else 1
    trials = searching.study.trials
    return sorted(trials, key=lambda t: (not complete(t), sign * t.values[0] if complete(t) else t.number))


def complete(trial: FrozenTrial) -> bool:
    """Whether a trial came to its figures; one that was pruned has but a point of its curve."""
    return trial.state.name == "COMPLETE"


def page(searching: Searching) -> str:
    """Returns the page as HTML."""
    from markupsafe import Markup

    search, trials = searching.search, ranked(searching)
    found = [STATES[trial.state.name] for trial in trials]
    counts = ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))
    charts = [(title, caption, Markup(drawing)) for title, caption, drawing in _charts(searching)]
    links = [_link(searching, trial) for trial in trials]
    return render(
        "tune.html.j2",
        title=f"Search: {search.name}",
        subtitle=counts,
        best=[(shown(entry["values"]), entry["told"], entry["command"]) for entry in _best(searching)["best"]],
        charts=charts,
        headings=_headings(searching),
        rows=[(_cells(searching, t), STATES[t.state.name], link) for t, link in zip(trials, links, strict=True)],
    )


def _best(searching: Searching) -> dict[str, Any]:
    """The search, and the trials that no other one beats in every goal."""
    goals = searching.search.goals
    best = [
        {
            "trial": trial.number,
            "values": searching.values(trial),
            "goals": dict(zip((goal.key for goal in goals), trial.values, strict=True)),
            "told": searching.told(trial.values),
            "command": shlex.join(["ast-train", *searching.command(trial)]),
            "run": str(searching.place(trial)),
        }
        for trial in searching.study.best_trials
    ]
    return {"name": searching.search.name, "goals": [f"{goal.key}:{goal.side}" for goal in goals], "best": best}


def _csv(searching: Searching) -> str:
    import io

    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    goals = [goal.key for goal in searching.search.goals]
    writer.writerow(["trial", "status", *(each.key for each in searching.space), *goals, "run", "error"])
    for trial in searching.study.trials:
        values = [trial.params.get(each.key, "") for each in searching.space]
        figures = trial.values if complete(trial) else [""] * len(goals)
        place = searching.place(trial).relative_to(searching.folder)
        error = trial.user_attrs.get("error", "")
        writer.writerow([trial.number, STATES[trial.state.name], *values, *figures, place, error])
    return file.getvalue()


def _headings(searching: Searching) -> list[str]:
    keys = [each.key for each in searching.space]
    ends = [key.rpartition(".")[2] for key in keys]
    names = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    return ["trial", *names, *(goal.key for goal in searching.search.goals), "status"]


def _cells(searching: Searching, trial: FrozenTrial) -> list[str]:
    params = [trial.params.get(each.key, "") for each in searching.space]
    values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in params]
    figures = [f"{value:.5g}" for value in trial.values] if complete(trial) else [""] * len(searching.search.goals)
    return [str(trial.number), *values, *figures, STATES[trial.state.name]]


def _link(searching: Searching, trial: FrozenTrial) -> str:
    report = searching.place(trial) / REPORT
    return report.relative_to(searching.folder).as_posix() if report.exists() else ""


def _charts(searching: Searching) -> list[tuple[str, str, str]]:
    """Of each goal its way from trial to trial, and it against each setting; of two goals one against the other."""
    trials = [trial for trial in searching.study.trials if complete(trial)]
    if not trials:
        return []
    goals = searching.search.goals
    figures = np.array([trial.values for trial in trials])
    best = {trial.number for trial in searching.study.best_trials}
    marks = np.array([trial.number in best for trial in trials])
    found = []
    for i, goal in enumerate(goals):
        numbers = np.array([trial.number for trial in trials])
        so_far = (np.maximum if goal.side == "max" else np.minimum).accumulate(figures[:, i])

        def course(axes: Any, numbers: Any = numbers, y: Any = figures[:, i], so_far: Any = so_far) -> None:
            axes.step(numbers, so_far, where="post", color=INKS["c1"], linewidth=1.4)
            _scatter(axes, numbers, y, marks, "trial")

        found.append((goal.key, "Each trial, and the best so far.", chart(course, f"course {i}")))
        for j, each in enumerate(searching.space):
            values = [trial.params[each.key] for trial in trials]

            def against(axes: Any, each: Any = each, values: Sequence[Any] = values, y: Any = figures[:, i]) -> None:
                if isinstance(each, OneOf):
                    places = [each.ends.index(value) for value in values]
                    axes.set_xticks(range(len(each.ends)), each.ends)
                    axes.set_xlim(-0.5, len(each.ends) - 0.5)
                else:
                    places = values
                    axes.set_xscale("log" if each.log else "linear")
                _scatter(axes, places, y, marks, each.key)

            found.append((f"{goal.key} against {each.key}", "Framed: the best.", chart(against, f"slice {i} {j}")))
    if len(goals) > 1:

        def both(axes: Any) -> None:
            _scatter(axes, figures[:, 0], figures[:, 1], marks, goals[0].key)
            axes.set_ylabel(goals[1].key)

        found.insert(
            0, (f"{goals[1].key} against {goals[0].key}", "Framed: none is worse in both.", chart(both, "two"))
        )
    return found


def _scatter(axes: Any, x: Any, y: Any, marks: Any, label: str) -> None:
    x = np.asarray(x)
    axes.scatter(x, y, s=14, color=INKS["c1"], linewidths=0)
    axes.scatter(x[marks], y[marks], s=60, facecolors="none", edgecolors=INKS["c2"], linewidths=1.4)
    axes.set_xlabel(label)
    axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
