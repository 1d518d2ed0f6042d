"""Figures of a comparison as texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from ast_experiments.comparison.arms import Arm
from ast_experiments.comparison.stats import Interval, interval
from ast_experiments.comparison.verdicts import Judged, Pair

NOT_SIGNIFICANT = "no significant saving"
MARK = "n.s."
"""Stands for `NOT_SIGNIFICANT` in the cell of a table."""

ALL = 1 - 1e-9
"""More than all cannot be saved, whatever an interval says."""


def number(value: float, form: str) -> str:
    """A number, or nothing for NaN."""
    return f"{value:{form}}" if math.isfinite(value) else ""


def spelt(axis: str) -> str:
    """An axis as it is written in a sentence."""
    return "FLOPs" if axis == "flops" else axis


def percent(share: float) -> str:
    """A share in percent, or nothing for NaN."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else ""


def spread(arm: Arm, key: str, form: str = ".2f") -> str:
    """A mean, and half of its interval where there is one."""
    found = interval(arm.values(key))
    half = f" ± {found.high - found.mean:{form}}" if math.isfinite(found.high) else ""
    return number(found.mean, form) + half


def signed(found: Interval | None) -> str:
    """A difference in points with its interval."""
    if found is None or not math.isfinite(found.mean):
        return ""
    ends = f" [{found.low:+.2f}, {found.high:+.2f}]" if math.isfinite(found.low) else ""
    return f"{found.mean:+.2f}{ends}"


def saved(found: Interval | None) -> str:
    """A saving with its interval, marked if it is not significant; "open" is beyond what the baselines tell."""
    if found is None or not found.n:
        return ""
    low, high = math.isfinite(found.low), found.high < 1
    if not math.isfinite(found.mean):
        bounds = [f"at least {percent(found.low)}"] * low + [f"at most {percent(found.high)}"] * high
        return " and ".join(bounds) or "beyond what the baselines tell"
    if math.isnan(found.low):
        return percent(found.mean)
    ends = f"{100 * found.low:.1f}" if low else "open", f"{100 * found.high:.1f}" if high else "open"
    return f"{percent(found.mean)} [{', '.join(ends)}]" + ("" if found.significant else f" {MARK}")


def paired(pair: Pair) -> str:
    """A saving against dense training, with what it is counted in."""
    if pair.saving is not None:
        text = saved(replace(pair.saving, high=min(pair.saving.high, ALL)))
        return text if pair.axis == "flops" else f"{pair.axis}: {text}"
    return "" if pair.axis == "flops" else f"{pair.axis}: not comparable"


def kinds_of_saving(judged: Judged) -> list[str]:
    """The three kinds side by side: nominal and rows skipped, FLOPs, measured."""
    arm, beside = judged.arm, judged.beside
    compute = paired(beside.compute) if beside else ""
    if not compute and arm.method != "dense" and math.isfinite(arm.mean("compute_savings")):
        compute = f"{percent(arm.mean('compute_savings'))}, validation left out"
    return [
        percent(arm.mean("nominal_savings")),
        percent(arm.mean("skipped_share")),
        compute,
        paired(beside.measured) if beside else "",
    ]


def remarks(judged: Judged, x: str) -> list[str]:
    """What has to be said beside the figures of an arm, a line each."""
    verdict, beside = judged.verdict, judged.beside
    lines = []
    if verdict.reasons:
        lines.append(f"{verdict.word}: {join(verdict.reasons)}")
    if verdict.saving is not None and not verdict.saving.significant:
        lines.append(f"{NOT_SIGNIFICANT} of {spelt(x)} at equal accuracy")
    if verdict.needs and verdict.word in ("wins", "equal"):
        lines.append(f"a claim would need more: {join(verdict.needs)}")
    if judged.arm.failed:
        lines.append(f"{judged.arm.failed} more of its runs failed")
    if beside is not None and not judged.arm.extra:
        if beside.measured.reasons and beside.measured.reasons != verdict.reasons:
            lines.append(
                f"{beside.measured.axis} not comparable with {beside.dense.label}: {join(beside.measured.reasons)}"
            )
        elif beside.measured.saving is not None and not beside.measured.saving.significant:
            lines.append(f"{NOT_SIGNIFICANT} of {beside.measured.axis} against {beside.dense.label}")
    return lines


def join(texts: Iterable[str]) -> str:
    """Texts in one line."""
    return "; ".join(texts)
