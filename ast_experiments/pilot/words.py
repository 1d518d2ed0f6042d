"""What a pilot found, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ast_experiments.core.text import duration, percent
from ast_experiments.data.repeats import Repeats
from ast_experiments.pilot.advice import Advice
from ast_experiments.pilot.cases import Case
from ast_experiments.pilot.diagnosis import Diagnosis
from ast_experiments.pilot.rule import ABOUT, LONG, Verdict
from ast_experiments.pilot.size import LEAST_ROWS
from ast_experiments.selection.suspects import MIN_CLASSES

BALANCED = 1.1
"""Rows of the largest class, as a multiple of those of the smallest, below which classes are called balanced."""


class Line(NamedTuple):
    """One finding.

    Attributes:
        subject: What was looked at.
        text: What was found.
    """

    subject: str
    text: str


def findings(found: Diagnosis) -> Iterator[Line]:
    """Yields what the data and the pilot tell."""
    signs = found.signs
    yield Line("rare classes", _rare(found))
    yield Line("repeated rows", _repeated(signs.repeats, found.rows))
    yield Line("pilot", _pilot(found))
    if found.pilot is None or signs.accuracy is None or signs.learned is None:
        return
    right = f"{percent(signs.accuracy)} of the held-out rows are predicted"
    yield Line("learned", f"{percent(signs.learned)} of the samples; {right}")
    yield Line("wrong labels", _wrong(found))


def _rare(found: Diagnosis) -> str:
    present, imbalance = found.counts[found.counts > 0], found.signs.imbalance
    low, high = present.min(), present.max()
    rows = f"{low:,} rows in each" if low == high else f"{low:,} to {high:,} rows in a class"
    return f"{'classes are balanced' if imbalance < BALANCED else f'1:{imbalance:.3g}'} ({rows})"


def _repeated(repeats: Repeats, rows: int) -> str:
    def of(share: float, looked: int) -> str:
        return percent(share) if looked == rows else f"{percent(share)} of {looked:,} rows in whole classes"

    return f"exactly {of(repeats.exact, repeats.exact_rows)}, nearly {of(repeats.near, repeats.near_rows)}"


def _pilot(found: Diagnosis) -> str:
    pilot = found.pilot
    if pilot is None:
        if found.rows < LEAST_ROWS:
            return f"not run; it needs at least {LEAST_ROWS} training images, and there are {found.rows}"
        epochs = "1 epoch" if found.epochs == 1 else f"{found.epochs} epochs"
        return f"not run; its share of {epochs} of {found.rows:,} rows is too short to tell anything"
    size = pilot.size
    times = "once" if size.passes == 1 else f"{size.passes} times"
    unit = "FLOPs" if pilot.counted else "rows"
    return (
        f"trained {size.trained:,} rows {times} and scored {size.scored:,} others in {duration(pilot.seconds)}: "
        f"{percent(pilot.share)} of the {unit} of the dense run, "
        f"{percent(pilot.share * found.epochs / found.signs.epochs)} of those of AST"
    )


def _wrong(found: Diagnosis) -> str:
    noise, classes = found.signs.noise, len(found.counts)
    if classes < MIN_CLASSES:
        return f"not estimated: that needs {MIN_CLASSES} classes, and there are {classes}"
    if noise is None:
        return "not estimated: the pilot has learned too little"
    return f"{percent(noise.share)} [{100 * noise.low:.1f}, {100 * noise.high:.1f}]"


def answer(verdict: Verdict, found: Diagnosis, cases: Mapping[str, Case], advice: Advice) -> Iterator[str]:
    """Yields the lines of the answer.

    Args:
        verdict: The answer.
        found: The signs and the pilot.
        cases: The measured cases.
        advice: What to type.
    """
    case = cases.get(verdict.case or "")
    unknown, behind = verdict.sign == "unknown", "" if case is None else f" ({_number_of_cases(case, cases)})"
    if verdict.pays:
        yield f"Choosing samples should pay here{behind}."
    elif unknown:
        few = f"{found.rows} training images are too few" if found.rows < LEAST_ROWS else "the run is too short"
        why = verdict.why or f"{few} for a pilot"
        yield f"No prediction: {why}. Start with dense training; a study measures."
    else:
        yield f"Not recommended: choosing samples will not pay here{behind}."
    if verdict.why and not unknown:
        yield f"  why       {verdict.why}"
    if case is not None:
        yield f"  measured  {case}"
    if verdict.pays and case is not None:
        yield f"  gain      {_expected(case, cases)}"
        yield f"  budget    {_budget(found)}"
    yield f"  type      {advice.command}"
    if advice.epochs:
        yield f"  epochs    {advice.epochs}"
    if unknown:
        yield f"  study     {advice.study}"


def _number_of_cases(case: Case, cases: Mapping[str, Case]) -> str:
    """Returns how many cases were measured of a kind: their names differ in the number at the end."""
    kind = case.name.rstrip("0123456789")
    count = sum(name.rstrip("0123456789") == kind for name in cases)
    return "one measured case" if count == 1 else f"{count} measured cases"


def _expected(case: Case, cases: Mapping[str, Case]) -> str:
    saved, strong = "", cases.get("speedrun")
    if case.saved is not None and case.saved > 0:
        saved = f", or {percent(case.saved, 0)} fewer FLOPs at equal accuracy"
    elif strong is not None and strong.saved is not None and strong.low is not None and strong.low > 0:
        saved = f"; on the strong baseline, {percent(strong.saved, 0)} fewer FLOPs at equal accuracy"
    return f"there, {case.points:.2g} points at equal cost{saved}; yours will differ"


def _budget(found: Diagnosis) -> str:
    """Returns from which length of run on the prediction holds."""
    least = math.ceil(ABOUT * LONG * found.epochs / found.signs.epochs)
    return f"from recipe.epochs={least} on, at the cost of {LONG:g} dense epochs; shorter runs were not measured"
