"""Charts of a comparison. Numbers and markers distinguish arms, hatching distinguishes phases, not colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import COLORS, INKS, TOP, chart, legend, look, name_rows, short_name, short_ticks
from ast_experiments.comparison.arms import ArmRuns
from ast_experiments.comparison.comparability import pair_blockers
from ast_experiments.comparison.compare import Comparison
from ast_experiments.comparison.runs import AXES, axis_name
from ast_experiments.comparison.stats import Floats, Interval, differences, half_width, interval
from ast_experiments.comparison.verdicts import ArmResult, lines

HATCHES = ("", "////", "----", "xxxx", "\\\\\\\\", "++++", "||||", "....")
NEAR = 12.0
"""Points closer than this, in points of print, share a label."""
LEGEND = 20
"""Maximum number of arms named in a legend."""


def uniform_line(arms: Sequence[ArmRuns], axis: str, seeds: int) -> tuple[Floats, Floats, Floats] | None:
    """Computes the best accuracy of uniform baselines by cost, and half the width of its 95 % band.

    Args:
        arms: All arms; those comparable with the first uniform one on the axis are used.
        axis: Cost axis.
        seeds: Minimum number of seeds of an arm, capped at the maximum that any arm has.

    Returns:
        Costs, accuracies and half widths, shape (points,) each; None for fewer than two arms.
    """
    uniform = [arm for arm in arms if arm.uniform and np.isfinite(arm.mean(axis))]
    least = min(seeds, max((len(arm.seeds) for arm in uniform), default=0))
    uniform = [arm for arm in uniform if len(arm.seeds) >= least]
    comparable = [arm for arm in uniform if not pair_blockers(arm, uniform[0], axis)]
    if len(comparable) < 2:
        return None
    together = sorted({seed for arm in comparable for seed in arm.seeds})
    ends = [arm.mean(axis) for arm in comparable]
    costs = np.geomspace(min(ends), max(ends), 201)
    # A run may cost slightly more than its arm's mean, where the line starts.
    known = [
        line.extended_to(np.full(len(together), np.nanmean(line.costs, axis=1).min()), 0.0)
        for line in lines(comparable, axis, together)
    ]
    where = np.repeat(costs[:, None], len(together), axis=1)
    below, used = differences(np.zeros(len(together)), where, known, least=least)
    kept = used >= 0
    return costs[kept], -np.nanmean(below[kept], axis=1), half_width(below[kept])


def accuracy_chart(comparison: Comparison, axis: str) -> str | None:
    """Draws accuracy over cost: arms, their seeds, the uniform line with its band, the Pareto front."""
    results = [each for each in comparison.results if np.isfinite(each.arm.mean(axis))]
    if not results:
        return None
    line = uniform_line(comparison.arms, axis, comparison.rules.seeds)

    def draw(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        if line is not None:
            costs, accuracy, half = line
            ink = INKS["grey"]
            axes.fill_between(costs, accuracy - half, accuracy + half, color=ink, alpha=0.2, linewidth=0)
            axes.plot(costs, accuracy, color=ink, linewidth=1.4, linestyle=(0, (5, 2)), label="uniform line")
        front = sorted((each.arm.mean(axis), each.arm.mean("accuracy")) for each in results if on_front(each, axis))
        axes.plot(*zip(*front, strict=True), color=INKS["ink"], linewidth=0.8, linestyle=":", label="Pareto front")
        for each in results:
            _point(axes, each.arm, axis, hollow=each.verdict.word == "baseline", named=len(results) <= LEGEND)
        ends = [cost for each in results for cost in each.arm.values(axis)]
        if max(ends) > 20 * min(ends):
            axes.set_xscale("log")
        else:
            space = 0.08 * (max(ends) - min(ends)) or 0.1 * max(ends)
            axes.set_xlim(max(0, min(ends) - space), max(ends) + space)
            axes.xaxis.set_major_locator(MaxNLocator(6))
        if axes.get_ylim()[1] > TOP:
            axes.set_ylim(top=TOP)
        short_ticks(axes.xaxis)
        short_ticks(axes.yaxis)
        name, unit = AXES[axis]
        axes.set_xlabel(f"{name}, {unit}")
        axes.set_ylabel("accuracy, %")
        _number(axes, [each.arm for each in results], axis)
        axes.grid(color=INKS["rule"], linewidth=0.6)
        legend(axes, 3)

    return chart(draw, f"accuracy-{axis}", 3.0)


def phases_chart(arms: Sequence[ArmRuns], key: str) -> str | None:
    """Draws a cost by phase, the mean over an arm's runs, as stacked bars; None if not recorded."""
    known = [arm for arm in arms if any(run.phases[key] for run in arm.runs)]
    phases = list(dict.fromkeys(phase for arm in known for run in arm.runs for phase in run.phases[key]))
    means = {
        phase: np.array(
            [np.mean([run.phases[key].get(phase, 0.0) for run in arm.runs if run.phases[key]]) for arm in known]
        )
        for phase in phases
    }
    phases = [phase for phase in phases if means[phase].any()]
    if not phases:
        return None

    def draw(axes: Any) -> None:
        left = np.zeros(len(known))
        for i, phase in enumerate(sorted(phases, key=lambda phase: -means[phase].max())):
            ink, hatch = INKS[COLORS[i % len(COLORS)]], HATCHES[i % len(HATCHES)]
            look = (
                {"color": ink}
                if not hatch
                else {"facecolor": "none", "edgecolor": ink, "hatch": hatch, "linewidth": 0.8}
            )
            axes.barh(range(len(known)), means[phase], left=left, height=0.66, label=phase.replace("_", " "), **look)
            left += means[phase]
        name_rows(axes, [f"{arm.number}  {arm.label}" for arm in known])
        axes.set_xlabel({"joules": "J", "seconds": "s", "flops": "FLOPs"}[key])
        short_ticks(axes.xaxis)
        legend(axes, 4)

    return chart(draw, f"phases-{key}", 0.9 + 0.26 * len(known))


def savings_chart(comparison: Comparison) -> str | None:
    """Draws the three kinds of saving against dense training."""
    results = [each for each in comparison.results if each.vs_dense is not None and not each.arm.baseline_only]
    if not results:
        return None

    def draw(axes: Any) -> None:
        for row, each in enumerate(results):
            for i, (name, found) in enumerate(savings(each)):
                y = row + 0.2 * (i - 1.5)
                _whisker(axes, found, y, look(i), name)
        name_rows(axes, [f"{each.arm.number}  {each.arm.label}" for each in results])
        axes.axvline(0, color=INKS["ink"], linewidth=0.8)
        axes.set_xlabel("saved, % of dense")
        legend(axes, 2)

    return chart(draw, "savings", 1.1 + 0.5 * len(results))


def equal_accuracy_chart(comparison: Comparison) -> str | None:
    """Draws the saving of each method against the uniform line at equal accuracy; arrows mark open ends."""
    results = [(each.arm, each.verdict.saving) for each in comparison.results if each.verdict.saving is not None]
    if not results:
        return None

    def draw(axes: Any) -> None:
        known = [100 * end for _, found in results for end in (found.mean, found.low, found.high) if -4 < end < 1]
        space = 0.15 * (max([0.0, *known]) - min([0.0, *known])) or 10.0
        limits = min([0.0, *known]) - space, max([0.0, *known]) + space
        for row, (arm, saving) in enumerate(results):
            name = f"{arm.number} {arm.label}"
            _whisker(axes, saving, row, look(arm.number - 1), name, limits)
        name_rows(axes, [f"{arm.number}  {arm.label}" for arm, _ in results])
        axes.axvline(0, color=INKS["ink"], linewidth=0.8)
        axes.set_xlim(*limits)
        axes.set_xlabel(f"{axis_name(comparison.rules.x)} saved at equal accuracy, %")

    return chart(draw, "equal-accuracy", 0.8 + 0.32 * len(results))


def savings(result: ArmResult) -> list[tuple[str, Interval]]:
    """Returns the known savings of an arm with names: nominal, rows skipped, FLOPs, measured."""
    arm = result.arm
    found = [
        ("nominal, a formula", interval(arm.values("nominal_savings"))),
        ("rows skipped", interval(arm.values("skipped_share"))),
    ]
    pairs = [] if result.vs_dense is None else [result.vs_dense.compute, result.vs_dense.measured]
    for pair in pairs:
        if pair.saving is not None:
            found.append(("FLOPs, counted" if pair.axis == "flops" else f"{pair.axis}, measured", pair.saving))
    return [(name, each) for name, each in found if each.n]


def on_front(result: ArmResult, axis: str) -> bool:
    """Returns whether an arm is on the Pareto front."""
    return result.on_front.get(axis, False)


def _point(axes: Any, arm: ArmRuns, axis: str, *, hollow: bool, named: bool) -> None:
    drawn = look(arm.number - 1)
    ink = drawn["color"]
    cost, accuracy = interval(arm.values(axis)), interval(arm.values("accuracy"))
    axes.plot(arm.values(axis), arm.values("accuracy"), ".", color=ink, markersize=3, alpha=0.5)
    axes.errorbar(
        cost.mean,
        accuracy.mean,
        xerr=_half(cost),
        yerr=_half(accuracy),
        **drawn,
        markersize=6,
        markerfacecolor="none" if hollow else ink,
        elinewidth=0.8,
        linestyle="none",
        label=short_name(f"{arm.number} {arm.label}") if named else None,
    )


def _number(axes: Any, arms: Sequence[ArmRuns], axis: str) -> None:
    """Writes the numbers of the arms beside their points; arms that lie on each other share a label."""
    scale = 72 / axes.figure.dpi
    places: list[tuple[Floats, list[ArmRuns]]] = []
    for arm in arms:
        place = scale * axes.transData.transform((arm.mean(axis), arm.mean("accuracy")))
        for other, shared in places:
            if np.hypot(*(place - other)) < NEAR:
                shared.append(arm)
                break
        else:
            places.append((place, [arm]))
    for _, shared in places:
        axes.annotate(
            ", ".join(str(arm.number) for arm in shared),
            (shared[0].mean(axis), shared[0].mean("accuracy")),
            (6, 4),
            textcoords="offset points",
            color=INKS["ink"],
            weight="bold",
        )


def _whisker(
    axes: Any,
    found: Interval,
    y: float,
    drawn: dict[str, Any],
    name: str,
    limits: tuple[float, float] = (-400.0, 100.0),
) -> None:
    """Draws a mean and its interval in percent; ends that are unknown, or beyond the limits, are arrows."""
    ink, (low, high) = drawn["color"], (100 * found.low, 100 * found.high)
    (point,) = axes.plot(100 * found.mean, y, **drawn, markersize=5, label=name, linestyle="none")
    point.ends = low, high
    if np.isfinite(low) or np.isfinite(high):
        axes.plot([max(low, limits[0]), min(high, limits[1])], [y, y], color=ink, linewidth=1.2)
    if low == -np.inf:
        axes.plot(limits[0], y, "<", color=ink, markersize=4, clip_on=False)
    if found.high == 1 and found.low < 1:
        axes.plot(limits[1], y, ">", color=ink, markersize=4, clip_on=False)


def _half(found: Interval) -> float | None:
    return found.high - found.mean if found.shown else None
