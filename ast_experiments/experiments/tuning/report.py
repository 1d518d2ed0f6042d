"""The results of a search: a table on the console, `trials.csv`, `best.json`, and a page of charts."""

from __future__ import annotations

import csv
import io
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ast_experiments.analysis.page import REPORT, embed, render
from ast_experiments.core.files import write_atomic, write_json
from ast_experiments.experiments.tuning import charts
from ast_experiments.experiments.tuning.search import SearchSession, format_values, short_names

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CSV, BEST = "trials.csv", "best.json"
SHOWN = 10
STATES = {"COMPLETE": "finished", "FAIL": "failed", "PRUNED": "pruned", "RUNNING": "interrupted"}

logger = logging.getLogger(__name__)


def write_files(session: SearchSession) -> None:
    """Rewrites the files of a search; if that fails, the search goes on."""
    try:
        write_atomic(session.folder / CSV, _csv(session))
        write_json(session.folder / BEST, _best(session))
        write_atomic(session.folder / REPORT, render_page(session))
    except Exception as error:
        logger.info("the report of the search could not be written", exc_info=True)
        print(f"the report of the search could not be written: {error}", file=sys.stderr)


def conclude(session: SearchSession) -> None:
    """Writes the files and prints the best trials, the commands that repeat them, and the paths of the files."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    write_files(session)
    trials = ranked(session)
    if not trials:
        return
    part = f": {SHOWN} of {len(trials)}" if len(trials) > SHOWN else ""
    table = Table(title=f"Trials{part}", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in _headings(session):
        table.add_column(escape(heading), overflow="fold")
    for trial in trials[:SHOWN]:
        table.add_row(*map(escape, _cells(session, trial)), style=None if charts.complete(trial) else "yellow")
    Console().print(table)
    best = _best(session)["best"]
    if best:
        print("best:" if len(best) == 1 else "best; none of these is worse than another in every goal:")
    for entry in best:
        print(f"  {entry['command']}")
    files = (session.folder / name for name in (REPORT, CSV, BEST))
    print(*(file for file in files if file.is_file()), sep="\n", flush=True)


def ranked(session: SearchSession) -> list[FrozenTrial]:
    """Returns the trials, best first by the first objective; those without figures last."""
    sign = -1 if session.search.goals[0].direction == "max" else 1
    trials = session.study.trials
    return sorted(
        trials, key=lambda t: (not charts.complete(t), sign * t.values[0] if charts.complete(t) else t.number)
    )


def render_page(session: SearchSession) -> str:
    """Renders the page of a search as HTML."""
    search, trials = session.search, ranked(session)
    states = [STATES[trial.state.name] for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    links = [_link(session, trial) for trial in trials]
    best = _best(session)["best"]
    return render(
        "tune.html.j2",
        title=f"Search: {search.name}",
        subtitle=counts,
        finding=_finding(session, best),
        best=[(format_values(entry["values"]), entry["told"], entry["command"]) for entry in best],
        charts=embed(charts.draw_charts(session)),
        headings=_headings(session),
        rows=[(_cells(session, t), state, link, "") for t, state, link in zip(trials, states, links, strict=True)],
    )


def _finding(session: SearchSession, best: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the search found, in words; empty without a finished trial."""
    count = sum(map(charts.complete, session.study.trials))
    if not best:
        return ""
    if len(best) > 1:
        return f"Of {count} finished trials, {len(best)} are not beaten by another one in every objective."
    reached = f"{format_values(best[0]['values'])} reached {best[0]['told']}"
    if count == 1:
        return f"The one finished trial, {reached}."
    return (
        f"Best of {count} finished trials: {reached}. The best of several tends to be lucky: repeat it with "
        "other seeds before you rely on the figure."
    )


def _best(session: SearchSession) -> dict[str, Any]:
    """Describes the search and the trials that no other trial beats in every objective."""
    goals = session.search.goals
    best = [
        {
            "trial": trial.number,
            "values": session.values(trial),
            "goals": dict(zip((goal.key for goal in goals), trial.values, strict=True)),
            "told": session.describe(trial.values),
            "command": shlex.join(["ast-train", *session.command(trial)]),
            "run": str(session.path(trial)),
        }
        for trial in session.study.best_trials
    ]
    return {"name": session.search.name, "goals": [str(goal) for goal in goals], "best": best}


def _csv(session: SearchSession) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    goals = [goal.key for goal in session.search.goals]
    writer.writerow(["trial", "status", *(each.key for each in session.space), *goals, "run", "error"])
    for trial in session.study.trials:
        values = [trial.params.get(each.key, "") for each in session.space]
        figures = trial.values if charts.complete(trial) else [""] * len(goals)
        run = session.path(trial).relative_to(session.folder)
        error = trial.user_attrs.get("error", "")
        writer.writerow([trial.number, STATES[trial.state.name], *values, *figures, run, error])
    return file.getvalue()


def _headings(session: SearchSession) -> list[str]:
    names = short_names([each.key for each in session.space])
    return ["trial", *names, *(goal.key for goal in session.search.goals), "status"]


def _cells(session: SearchSession, trial: FrozenTrial) -> list[str]:
    params = [trial.params.get(each.key, "") for each in session.space]
    values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in params]
    missing = [""] * len(session.search.goals)
    goals = zip(session.search.goals, trial.values or (), strict=True) if charts.complete(trial) else ()
    figures = [goal.told(value) for goal, value in goals] or missing
    return [str(trial.number), *values, *figures, STATES[trial.state.name]]


def _link(session: SearchSession, trial: FrozenTrial) -> str:
    report = session.path(trial) / REPORT
    return report.relative_to(session.folder).as_posix() if report.exists() else ""
