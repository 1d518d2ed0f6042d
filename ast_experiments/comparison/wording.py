"""Formats the figures of a comparison as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ast_experiments.comparison.arms import ArmRuns
from ast_experiments.comparison.runs import axis_name
from ast_experiments.comparison.stats import Interval, interval
from ast_experiments.comparison.verdicts import ArmResult, PairedSaving, Rules

NOT_SIGNIFICANT = "no significant saving"
MARK = "n.s."
"""Short form of `NOT_SIGNIFICANT` for table cells."""
OPEN = "open"
"""Stands for an end of an interval beyond the range of the baselines."""
UNKNOWN = "not determined"
"""Stands for a saving of which both ends are open."""
UNSHOWN = "none shown"
"""Stands for the saving of an arm that is less accurate than all baselines."""
MEANINGS = {
    OPEN: "an end beyond the range of the baselines",
    MARK: "not significant, the interval contains 0",
    UNKNOWN: "both ends beyond the range of the baselines",
    UNSHOWN: "less accurate than all baselines",
}

ALL = 1 - 1e-9
"""Upper limit of a saving: nothing saves more than everything."""


def number(value: float, form: str) -> str:
    """Formats a number; empty for NaN."""
    return f"{value:{form}}" if math.isfinite(value) else ""


def percent(share: float) -> str:
    """Formats a share in percent; empty for NaN."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else ""


def spread(arm: ArmRuns, key: str, form: str = ".2f") -> str:
    """Formats a mean and, if known, half of its interval."""
    found = interval(arm.values(key))
    half = f" ± {found.high - found.mean:{form}}" if found.shown else ""
    return number(found.mean, form) + half


def signed(found: Interval | None) -> str:
    """Formats a difference in points with its interval."""
    if found is None or not math.isfinite(found.mean):
        return ""
    ends = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.shown else ""
    return f"{found.mean:+.2f}{ends}"


def saved(found: Interval | None) -> str:
    """Formats a saving with its interval, and marks it if it is not significant; `MEANINGS` explains the marks."""
    if found is None or not found.n:
        return ""
    low, high = math.isfinite(found.low), found.high < 1
    if not math.isfinite(found.mean):
        if high and not low:
            return f"{UNSHOWN} (upper end {percent(found.high)})"
        if low and not high:
            return f"at least {percent(found.low)}, above all baselines"
        bounds = f"at least {percent(found.low)} and at most {percent(found.high)}"
        return bounds if low else "outside the range of the baselines"
    if math.isnan(found.low):
        return percent(found.mean)
    ends = f"{100 * found.low:.1f}" if low else OPEN, f"{100 * found.high:.1f}" if high else OPEN
    text = f"{percent(found.mean)} [{', '.join(ends)}]" + ("" if found.significant else f" {MARK}")
    return text if low or high else UNKNOWN


def meanings(cells: Iterable[str]) -> str:
    """Explains the marks that occur in cells, as `saved` formats them, in one line; empty if none occurs."""
    text = "\n".join(cells)
    found = {
        OPEN: f"[{OPEN}, " in text or f", {OPEN}]" in text,
        MARK: f"] {MARK}" in text,
        UNKNOWN: UNKNOWN in text,
        UNSHOWN: UNSHOWN in text,
    }
    return "; ".join(f"{mark}: {MEANINGS[mark]}" for mark, occurs in found.items() if occurs)


def paired(pair: PairedSaving) -> str:
    """Formats a saving against dense training with its axis."""
    if pair.saving is not None:
        text = saved(replace(pair.saving, high=min(pair.saving.high, ALL)))
        return text if pair.axis == "flops" else f"{pair.axis}: {text}"
    return "" if pair.axis == "flops" else f"{pair.axis}: not comparable"


def savings_cells(result: ArmResult) -> list[str]:
    """Formats the three kinds of saving: nominal and rows skipped, FLOPs, measured."""
    arm, vs_dense = result.arm, result.vs_dense
    compute = paired(vs_dense.compute) if vs_dense else ""
    if not compute and arm.method != "dense" and math.isfinite(arm.mean("compute_savings")):
        compute = f"{percent(arm.mean('compute_savings'))}, without validation"
    return [
        percent(arm.mean("nominal_savings")),
        percent(arm.mean("skipped_share")),
        compute,
        paired(vs_dense.measured) if vs_dense else "",
    ]


def findings(results: Sequence[ArmResult], rules: Rules) -> list[str]:
    """Returns the main finding on each method as a sentence; says so if there is no method."""
    found = [_finding(each, rules) for each in results if each.verdict.word != "baseline"]
    return found or ["There is no method to judge: all runs are uniform baselines."]


def _finding(result: ArmResult, rules: Rules) -> str:
    arm, verdict, cost = result.arm, result.verdict, axis_name(rules.x)
    if verdict.word == "not comparable":
        return f"{arm.label}: no verdict. {sentence(verdict.reasons)}"
    lead = {
        "wins": f"{arm.label} beats uniform training",
        "loses": f"{arm.label} loses to uniform training",
        "equal": f"{arm.label} equals uniform training within ± {rules.margin:g} points",
    }.get(verdict.word, f"{arm.label} against uniform training is undecided")
    found = f"{lead}: {signed(verdict.difference)} points at equal {cost}"
    saving = verdict.saving
    if verdict.word == "wins" and saving is not None and saving.significant:
        found += f", or the same accuracy for {saved(saving)} fewer {cost}"
    claim = verdict.word in ("wins", "equal") and verdict.needs
    missing = " Not a claim yet: the remarks say what is missing." if claim else ""
    return f"{found} ({len(arm.seeds)} seeds).{missing}"


def sentence(reasons: Iterable[str]) -> str:
    """Joins reasons to a sentence."""
    text = join(reasons)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def remarks(result: ArmResult, x: str) -> list[str]:
    """Returns remarks on the figures of an arm, one per line."""
    verdict, vs_dense = result.verdict, result.vs_dense
    lines = []
    if verdict.reasons:
        lines.append(f"{verdict.word}: {join(verdict.reasons)}")
    if verdict.saving is not None and not verdict.saving.significant:
        lines.append(f"{NOT_SIGNIFICANT} of {axis_name(x)} at equal accuracy")
    if verdict.needs and verdict.word in ("wins", "equal"):
        lines.append(f"before you claim this, add: {join(verdict.needs)}")
    if result.arm.failed:
        lines.append(f"{result.arm.failed} more run{'' if result.arm.failed == 1 else 's'} failed")
    if vs_dense is not None and not result.arm.baseline_only:
        if vs_dense.measured.reasons and vs_dense.measured.reasons != verdict.reasons:
            reasons = join(vs_dense.measured.reasons)
            lines.append(f"{vs_dense.measured.axis} not comparable with {vs_dense.dense.label}: {reasons}")
        elif vs_dense.measured.saving is not None and not vs_dense.measured.saving.significant:
            lines.append(f"{NOT_SIGNIFICANT} of {vs_dense.measured.axis} against {vs_dense.dense.label}")
    return lines


def join(texts: Iterable[str]) -> str:
    """Joins texts to one line."""
    return "; ".join(texts)
