"""The self-contained page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ast_experiments.analysis.page import embed, render
from ast_experiments.analysis.samples import SampleRecord, read_samples, sample_section
from ast_experiments.comparison import datasets
from ast_experiments.comparison.arms import ArmRuns
from ast_experiments.comparison.charts import (
    accuracy_chart,
    equal_accuracy_chart,
    phases_chart,
    savings_chart,
)
from ast_experiments.comparison.compare import Comparison
from ast_experiments.comparison.runs import AXES, Run, axis_name
from ast_experiments.comparison.tables import tables
from ast_experiments.comparison.wording import findings, number, remarks
from ast_experiments.core.errors import UserError
from ast_experiments.core.text import amount

PHASES = {
    "joules": ("Joules by phase", "Measured, mean over the runs of an arm; train includes all but validation."),
    "seconds": ("Seconds by phase", "Mean over the runs of an arm, without setup."),
    "flops": ("FLOPs by phase", "Counted, mean over the runs of an arm."),
}


def render_page(comparisons: Sequence[Comparison], *, across: bool, samples: Sequence[int] = ()) -> str:
    """Renders the page as HTML.

    Args:
        comparisons: One per data set.
        across: Whether to compare the data sets with each other as well.
        samples: Numbers of the arms whose samples are shown side by side; none: see `shown_samples`.

    Raises:
        UserError: If such an arm is not there, or has no table of samples.
    """
    cross = None
    if across:
        curves = datasets.read_curves(comparisons)
        drawn = [
            each for method in datasets.methods(comparisons) for each in datasets.charts(comparisons, method, curves)
        ]
        cross = {
            "table": datasets.side_by_side(comparisons),
            "charts": embed(drawn),
        }
    notes = list(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))
    return render(
        "compare.html.j2",
        title=f"Comparison: {', '.join(comparison.dataset for comparison in comparisons)}",
        subtitle="",
        cross=cross,
        notes=notes,
        sections=[_section(comparison, samples) for comparison in comparisons],
    )


def _section(comparison: Comparison, samples: Sequence[int]) -> dict[str, Any]:
    rules = comparison.rules
    main, more = _charts(comparison)
    x_name = AXES[rules.x][0]
    return {
        "dataset": comparison.dataset,
        "findings": findings(comparison.results, rules),
        "energy": comparison.energy,
        "subtitle": f"{sum(len(arm.runs) for arm in comparison.arms)} runs, {len(comparison.arms)} arms; cost axis: "
        f"{x_name} ({axis_name(rules.x)}); arms within ± {rules.margin:g} points count as equal",
        "tables": tables(comparison),
        "remarks": [(each.arm, line) for each in comparison.results for line in remarks(each, rules.x)],
        "charts": embed(main),
        "more": embed(more),
        "samples": _samples(comparison, samples),
        "runs": [(arm, run, _run_cells(run)) for arm in comparison.arms for run in arm.runs],
        "axes": [AXES[axis][0] for axis in comparison.axes],
        "cells": comparison.axes,
    }


Chart = tuple[str, str, str | None]


def _charts(comparison: Comparison) -> tuple[list[Chart], list[Chart]]:
    """Returns the charts that carry the findings, and the others."""
    rules = comparison.rules
    caption = (
        "Means and 95 % intervals, with the band of the uniform line. The band jumps where another baseline becomes "
        "the best. Small dots: seeds. Hollow: baselines. Numbers: as in the table."
    )
    drawn = [(f"Accuracy against {AXES[axis][0]}", caption, accuracy_chart(comparison, axis))
             for axis in dict.fromkeys([rules.x, *comparison.axes])]  # fmt: skip
    main = [
        drawn[0],
        (
            f"{AXES[rules.x][0].capitalize()} saved at equal accuracy",
            "Against the uniform line, with 95 % intervals. If an interval contains 0, the saving is not significant. "
            "An arrow is an end beyond the range of the baselines.",
            equal_accuracy_chart(comparison),
        ),
        (
            "Savings against dense training, three kinds",
            "Nominal savings are formulas of the rate; FLOPs are counted; the last kind is measured.",
            savings_chart(comparison),
        ),
    ]
    more = [(title, caption, phases_chart(comparison.arms, key)) for key, (title, caption) in PHASES.items()]
    return main, [*drawn[1:], *more]


def _samples(comparison: Comparison, numbers: Sequence[int]) -> list[tuple[ArmRuns, int, dict[str, Any]]]:
    """Returns two arms, each with the seed of its first run that has a table of samples, and that run's samples."""
    found = {arm.number: each for arm in comparison.arms if (each := _first_record(arm)) is not None}
    missing = [number for number in numbers if number not in found]
    if missing:
        known = ", ".join(map(str, found)) or "none"
        raise UserError(
            f"--samples {missing[0]}: {comparison.dataset} has no arm of this number with a table of samples; "
            f"arms with one: {known}"
        )
    arms = {arm.number: arm for arm in comparison.arms if arm.number in found}
    shown = numbers or shown_samples(list(arms.values()))
    return [(arms[each], found[each][0], sample_section(found[each][1], salt=str(each))) for each in shown]


def _first_record(arm: ArmRuns) -> tuple[int, SampleRecord] | None:
    records = ((run.seed, read_samples(run.record.directory, run.record.result)) for run in arm.runs)
    return next(((seed, record) for seed, record in records if record is not None), None)


def shown_samples(arms: Sequence[ArmRuns]) -> list[int]:
    """Returns the numbers of the two arms whose samples are compared: the first arms of two methods that choose.

    With one such method, its first arm stands beside the first uniform one. Else, the first two arms are shown.
    """
    choosing: dict[str, int] = {}
    for arm in arms:
        if not arm.uniform:
            choosing.setdefault(arm.method, arm.number)
    first = list(choosing.values())[:2]
    rest = [arm.number for arm in sorted(arms, key=lambda arm: not arm.uniform) if arm.number not in first]
    return sorted([*first, *rest[: 2 - len(first)]])


def _run_cells(run: Run) -> dict[str, str]:
    cells = {axis: amount(run.figures[axis], AXES[axis][1]) for axis in AXES if axis in run.figures}
    return cells | {"accuracy": number(run.figures["accuracy"], ".2f")}
