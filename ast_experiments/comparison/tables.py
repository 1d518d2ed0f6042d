"""Tables of a comparison, for terminal and page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ast_experiments.comparison.arms import ArmRuns
from ast_experiments.comparison.compare import Comparison
from ast_experiments.comparison.criteria import CriteriaResult
from ast_experiments.comparison.runs import AXES, axis_name
from ast_experiments.comparison.stats import CONFIDENCE, FEWEST
from ast_experiments.comparison.verdicts import ArmResult
from ast_experiments.comparison.wording import (
    findings,
    meanings,
    number,
    remarks,
    saved,
    savings_cells,
    signed,
    spread,
)
from ast_experiments.core.text import amount

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
"""Characters between two columns on a terminal: the box draws one of them, the padding the others."""

COUNTED = "FLOPs: counted (validation included)"
INTERVALS = "± and [ ]: 95 % intervals, Student's t over the seeds"
UNIFORM = "uniform: the best baseline at the arm's cost, interpolated between its runs along the logarithm of the cost"
STYLES = {"wins": "green", "loses": "red", "baseline": "dim"}


class Table(NamedTuple):
    """A table of texts.

    Attributes:
        title: Title.
        headings: Column headings.
        rows: One text per column.
        notes: Notes on the columns.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def footnotes(self) -> list[str]:
        """Lines that explain the columns, and the marks that occur in cells."""
        return [*self.notes, *filter(None, [meanings(text for row in self.rows for text in row)])]


def tables(comparison: Comparison) -> list[Table]:
    """Returns the tables that have rows: verdicts, savings, cost of a target accuracy, AST's published criteria."""
    found = [_verdicts(comparison), _savings(comparison), _to_accuracy(comparison), _criteria(comparison)]
    return [table for table in found if table.rows]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the findings, the tables, the remarks, and whether energy was measured."""
    for line in findings(comparison.results, comparison.rules):
        print_line(f"{comparison.dataset}: {line}", console)
    for table in tables(comparison):
        print_table(table._replace(title=f"{comparison.dataset}: {table.title}"), console)
    for each in comparison.results:
        for line in remarks(each, comparison.rules.x):
            print_line(f"{each.arm.number} {each.arm.label}: {line}", console)
    print_line(f"{comparison.dataset}: {comparison.energy}", console)


def print_table(table: Table, console: Console) -> None:
    """Prints a table and its footnotes."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as Rich

    drawn = Rich(title=table.title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0))
    for heading, width in zip(table.headings, _widths(table, console.width), strict=True):
        drawn.add_column(heading, overflow="fold", width=width)
    for row in table.rows:
        drawn.add_row(*map(escape, row), style=next((STYLES[text] for text in row if text in STYLES), None))
    console.print(drawn)
    for line in table.footnotes:
        print_line(line, console)


def _widths(table: Table, room: int) -> list[int]:
    """Returns the widths of the columns: narrowed to fit, the widest first, but not below their longest words."""
    columns = list(zip(table.headings, *table.rows, strict=True))
    widths = [max(map(len, texts)) for texts in columns]
    words = [max(len(word) for text in texts for word in text.split() or [""]) for texts in columns]
    while sum(widths) + GAP * len(widths) > room:
        wide = [i for i, width in enumerate(widths) if width > words[i]]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def print_line(line: str, console: Console) -> None:
    """Prints a line verbatim."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _verdicts(comparison: Comparison) -> Table:
    x, (name, unit) = comparison.rules.x, AXES[comparison.rules.x]
    rows = [
        [
            *_names(each.arm),
            each.verdict.word,
            signed(each.verdict.difference),
            saved(each.verdict.saving),
            spread(each.arm, "accuracy"),
            amount(each.arm.mean(x), unit),
            str(len(each.arm.seeds)),
        ]
        for each in comparison.results
    ]
    headings = ["#", "arm", "verdict", "points above uniform", f"{axis_name(x)} saved at equal accuracy"]
    notes = [COUNTED] if x == "flops" else []
    if any(row[3] for row in rows):
        notes.append(UNIFORM)
    if any(each.arm.values("accuracy").size >= FEWEST for each in comparison.results):
        notes.append(INTERVALS)
    return Table(f"Verdicts at equal {axis_name(x)}", [*headings, "accuracy, %", name, "seeds"], rows, notes)


def _savings(comparison: Comparison) -> Table:
    rows = [
        [
            *_names(each.arm),
            number(each.arm.mean("rate"), ".3f"),
            *savings_cells(each),
            signed(each.vs_dense.gap) if each.vs_dense else "",
            _equal(each),
        ]
        for each in comparison.results
        if not each.arm.baseline_only
    ]
    kinds = ["nominal", "rows skipped", "FLOPs", "measured"]
    headings = ["#", "arm", "rate", *kinds, "points above dense", f"equal to dense, ± {comparison.rules.margin:g}"]
    notes = [*counted(comparison.results), *_lengths(comparison.results)]
    return Table("Savings against dense training, three kinds", headings, rows, notes)


def _to_accuracy(comparison: Comparison) -> Table:
    """Tabulates the cost of the target accuracy, for arms whose runs share one target."""
    rows = []
    for arm in comparison.arms:
        targets = {run.figures.get("target_accuracy") for run in arm.runs}
        if len(targets) > 1 or None in targets:
            continue
        reached = [run for run in arm.runs if "seconds_to_accuracy" in run.figures]
        costs = [("seconds_to_accuracy", "s"), ("joules_to_accuracy", "J")]
        means = [amount(arm.mean(key), unit) if len(reached) == len(arm.runs) else "" for key, unit in costs]
        rows.append([*_names(arm), f"{arm.mean('target_accuracy'):g} %", f"{len(reached)} of {len(arm.runs)}", *means])
    metered = any(row[-1] for row in rows)
    headings = ["#", "arm", "accuracy", "reached", "time", *(["energy"] if metered else [])]
    return Table("Cost of the target accuracy", headings, [row[: len(headings)] for row in rows])


def _criteria(comparison: Comparison) -> Table:
    rows = [[*_names(met.arm), _by_run(met), met.level] for met in comparison.criteria]
    headings = ["#", "arm", "runs", "all runs"]
    if any(met.predicted for met in comparison.criteria):
        headings.append("prediction")
        rows = [[*row, _predicted(met)] for row, met in zip(rows, comparison.criteria, strict=True)]
    return Table("AST's published criteria (CIFAR-10; rows skipped, not energy)", headings, rows)


def counted(results: Iterable[ArmResult]) -> list[str]:
    """Returns a note on the column of FLOPs saved against dense training; none if no arm has such a saving."""
    known = any(each.vs_dense and each.vs_dense.compute.saving for each in results)
    return [f"{COUNTED}; the page of a run leaves validation out"] if known else []


def _lengths(results: Iterable[ArmResult]) -> list[str]:
    """Returns a note on the arms that train for more or fewer epochs than the dense arm; none if all are as long."""
    pairs = [(each.arm, each.vs_dense.dense) for each in results if each.vs_dense and not each.arm.baseline_only]
    known = [(arm, dense, arm.mean("epochs"), dense.mean("epochs")) for arm, dense in pairs]
    other = [
        f"{arm.label} {own:g}, {dense.label} {its:g}"
        for arm, dense, own, its in known
        if math.isfinite(own + its) and own != its
    ]
    if not other:
        return []
    kept = "nominal and rows skipped are shares of the arm's own epochs, FLOPs and measured of the whole dense run"
    return [f"epochs differ ({'; '.join(other)}): {kept}"]


def _names(arm: ArmRuns) -> list[str]:
    return [str(arm.number), arm.label]


def _equal(result: ArmResult) -> str:
    vs_dense = result.vs_dense
    if vs_dense is None or not math.isfinite(vs_dense.p_equal):
        return ""
    if vs_dense.p_equal < 1 - CONFIDENCE:
        return "yes"
    return ("no, above" if vs_dense.gap.mean > 0 else "no, below") if vs_dense.gap.significant else "undecided"


def _by_run(met: CriteriaResult) -> str:
    found = [f"{met.by_run.count(name)} {name}" for name in dict.fromkeys(met.by_run)]
    return ", ".join([*found, *([f"{met.arm.failed} failed"] if met.arm.failed else [])])


def _predicted(met: CriteriaResult) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {text}" for key, text in met.predicted.items())
