"""Charts of a comparison. Arms are told apart by number and shape, phases by hatching, not by colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import INKS, chart, legend
from ast_experiments.comparison.arms import UNIFORM, Arm
from ast_experiments.comparison.comparability import obstacles
from ast_experiments.comparison.compare import Comparison
from ast_experiments.comparison.runs import AXES
from ast_experiments.comparison.stats import Floats, Interval, differences, half_width, interval
from ast_experiments.comparison.verdicts import Judged, lines
from ast_experiments.comparison.wording import spelt

MARKERS = "os^DvPX<>*hd"
HATCHES = ("", "////", "----", "xxxx", "\\\\\\\\", "++++", "||||")
COLORS = ("c1", "c2", "c3", "c4", "c5", "c6")
NAME = 40
"""Characters of an arm's name in a chart."""
LEGEND = 9
"""More arms than these are named by the table alone."""


def uniform_line(arms: Sequence[Arm], axis: str, seeds: int) -> tuple[Floats, Floats, Floats] | None:
    """The best accuracy of uniform baselines by cost, and half the width of its 95 % band.

    Args:
        arms: All arms; those that agree with the first uniform one on the axis are used.
        axis: What costs are counted in.
        seeds: That an arm needs, or as many as the arms have at most.

    Returns:
        Costs, accuracies and half widths, shape (points,) each; None for fewer than two arms.
    """
    uniform = [arm for arm in arms if arm.method in UNIFORM and np.isfinite(arm.mean(axis))]
    least = min(seeds, max((len(arm.seeds) for arm in uniform), default=0))
    uniform = [arm for arm in uniform if len(arm.seeds) >= least]
    agreeing = [arm for arm in uniform if not obstacles(arm, uniform[0], axis)]
    if len(agreeing) < 2:
        return None
    together = sorted({seed for arm in agreeing for seed in arm.seeds})
    ends = [arm.mean(axis) for arm in agreeing]
    costs = np.geomspace(min(ends), max(ends), 201)
    # A run may cost a little more than the mean of its arm, where the line begins.
    known = [
        line.reaching(np.full(len(together), np.nanmean(line.costs, axis=1).min()), 0.0)
        for line in lines(agreeing, axis, together)
    ]
    where = np.repeat(costs[:, None], len(together), axis=1)
    below, used = differences(np.zeros(len(together)), where, known, least=least)
    kept = used >= 0
    return costs[kept], -np.nanmean(below[kept], axis=1), half_width(below[kept])


def accuracy_chart(comparison: Comparison, axis: str) -> str | None:
    """Accuracy against a cost: arms, their seeds, the uniform line with its band and the Pareto front."""
    judged = [each for each in comparison.judged if np.isfinite(each.arm.mean(axis))]
    if not judged:
        return None
    line = uniform_line(comparison.arms, axis, comparison.rules.seeds)

    def draw(axes: Any) -> None:
        from matplotlib.ticker import EngFormatter, MaxNLocator

        if line is not None:
            costs, accuracy, half = line
            ink = INKS["c6"]
            axes.fill_between(costs, accuracy - half, accuracy + half, color=ink, alpha=0.2, linewidth=0)
            axes.plot(costs, accuracy, color=ink, linewidth=1.4, linestyle=(0, (5, 2)), label="uniform line")
        front = sorted((each.arm.mean(axis), each.arm.mean("accuracy")) for each in judged if on_front(each, axis))
        axes.plot(*zip(*front, strict=True), color=INKS["ink"], linewidth=0.8, linestyle=":", label="Pareto front")
        for each in judged:
            _point(axes, each.arm, axis, hollow=each.verdict.word == "baseline", named=len(judged) <= LEGEND)
        ends = [cost for each in judged for cost in each.arm.values(axis)]
        if max(ends) > 20 * min(ends):
            axes.set_xscale("log")
        else:
            axes.set_xlim(0, 1.06 * max(ends))
            axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        name, unit = AXES[axis]
        axes.set_xlabel(f"{name}, {unit}")
        axes.grid(color=INKS["rule"], linewidth=0.6)
        legend(axes, 3)

    return chart(draw, f"accuracy-{axis}", 3.0)


def phases_chart(arms: Sequence[Arm], key: str) -> str | None:
    """A cost by phase, mean over the runs of an arm, as stacked bars; None if no run tells it."""
    told = [arm for arm in arms if any(run.phases[key] for run in arm.runs)]
    phases = list(dict.fromkeys(phase for arm in told for run in arm.runs for phase in run.phases[key]))
    means = {
        phase: np.array(
            [np.mean([run.phases[key].get(phase, 0.0) for run in arm.runs if run.phases[key]]) for arm in told]
        )
        for phase in phases
    }
    phases = [phase for phase in phases if means[phase].any()]
    if not phases:
        return None

    def draw(axes: Any) -> None:
        from matplotlib.ticker import EngFormatter

        left = np.zeros(len(told))
        for i, phase in enumerate(sorted(phases, key=lambda phase: -means[phase].max())):
            ink, hatch = INKS[COLORS[i % len(COLORS)]], HATCHES[i % len(HATCHES)]
            look = (
                {"color": ink}
                if not hatch
                else {"facecolor": "none", "edgecolor": ink, "hatch": hatch, "linewidth": 0.8}
            )
            axes.barh(range(len(told)), means[phase], left=left, height=0.66, label=phase.replace("_", " "), **look)
            left += means[phase]
        _rows(axes, [f"{arm.number}  {arm.label}" for arm in told])
        axes.set_xlabel({"joules": "J", "seconds": "s", "flops": "FLOPs"}[key])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        legend(axes, 4)

    return chart(draw, f"phases-{key}", 0.9 + 0.26 * len(told))


def savings_chart(comparison: Comparison) -> str | None:
    """The three kinds of saving against dense training, side by side."""
    judged = [each for each in comparison.judged if each.beside is not None and not each.arm.extra]
    if not judged:
        return None

    def draw(axes: Any) -> None:
        named: set[str] = set()
        for row, each in enumerate(judged):
            for i, (name, found) in enumerate(savings(each)):
                y = row + 0.2 * (i - 1.5)
                _whisker(axes, found, y, COLORS[i], MARKERS[i], None if name in named else name)
                named.add(name)
        _rows(axes, [f"{each.arm.number}  {each.arm.label}" for each in judged])
        axes.axvline(0, color=INKS["ink"], linewidth=0.8)
        axes.set_xlabel("saved, % of dense")
        legend(axes, 2)

    return chart(draw, "savings", 1.1 + 0.5 * len(judged))


def equal_accuracy_chart(comparison: Comparison) -> str | None:
    """What each method saves against the uniform line at equal accuracy; open ends are arrows."""
    judged = [(each.arm, each.verdict.saving) for each in comparison.judged if each.verdict.saving is not None]
    if not judged:
        return None

    def draw(axes: Any) -> None:
        for row, (arm, saving) in enumerate(judged):
            _whisker(axes, saving, row, COLORS[(arm.number - 1) % 5], _marker(arm), None)
        _rows(axes, [f"{arm.number}  {arm.label}" for arm, _ in judged])
        axes.axvline(0, color=INKS["ink"], linewidth=0.8)
        axes.set_xlim(-105, 105)
        axes.set_xlabel(f"{spelt(comparison.rules.x)} saved at equal accuracy, %")

    return chart(draw, "equal-accuracy", 0.8 + 0.32 * len(judged))


def savings(judged: Judged) -> list[tuple[str, Interval]]:
    """The savings of an arm that are known, named: nominal, rows skipped, compute, measured."""
    arm = judged.arm
    found = [
        ("nominal, a formula", interval(arm.values("nominal_savings"))),
        ("rows skipped", interval(arm.values("skipped_share"))),
    ]
    pairs = [] if judged.beside is None else [judged.beside.compute, judged.beside.measured]
    for pair in pairs:
        if pair.saving is not None:
            found.append(("FLOPs, counted" if pair.axis == "flops" else f"{pair.axis}, measured", pair.saving))
    return [(name, each) for name, each in found if each.n]


def on_front(judged: Judged, axis: str) -> bool:
    """Whether no other arm is as cheap and as accurate."""
    return judged.on_front.get(axis, False)


def _point(axes: Any, arm: Arm, axis: str, *, hollow: bool, named: bool) -> None:
    ink = INKS[COLORS[(arm.number - 1) % 5]]
    cost, accuracy = interval(arm.values(axis)), interval(arm.values("accuracy"))
    axes.plot(arm.values(axis), arm.values("accuracy"), ".", color=ink, markersize=3, alpha=0.5)
    axes.errorbar(
        cost.mean,
        accuracy.mean,
        xerr=_half(cost),
        yerr=_half(accuracy),
        color=ink,
        marker=_marker(arm),
        markersize=6,
        markerfacecolor="none" if hollow else ink,
        elinewidth=0.8,
        linestyle="none",
        label=_cut(f"{arm.number} {arm.label}") if named else None,
    )
    axes.annotate(
        str(arm.number),
        (cost.mean, accuracy.mean),
        (5, -10) if hollow else (5, 4),
        textcoords="offset points",
        color=INKS["ink"],
        weight="bold",
    )


def _whisker(axes: Any, found: Interval, y: float, color: str, marker: str, name: str | None) -> None:
    """A mean and its interval in percent; an end that is not known or off the chart is left open."""
    ink, (low, high) = INKS[color], (100 * found.low, 100 * found.high)
    if np.isfinite(found.mean):
        axes.plot(100 * found.mean, y, marker, color=ink, markersize=5, label=name, linestyle="none")
    if np.isfinite(low) or np.isfinite(high):
        axes.plot([max(low, -400.0), min(high, 100.0)], [y, y], color=ink, linewidth=1.2)
    if low == -np.inf:
        axes.plot(-100, y, "<", color=ink, markersize=4)
    if found.high == 1 and found.low < 1:
        axes.plot(100, y, ">", color=ink, markersize=4)


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_cut(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color=INKS["rule"], linewidth=0.6)


def _cut(name: str) -> str:
    """A name as long as a chart has room for: its number and its end tell it from others."""
    return name if len(name) <= NAME else f"{name[: NAME // 3]}…{name[NAME // 3 + 1 - NAME :]}"


def _half(found: Interval) -> float | None:
    return found.high - found.mean if np.isfinite(found.high) else None


def _marker(arm: Arm) -> str:
    return MARKERS[(arm.number - 1) % len(MARKERS)]
