"""What a pilot found, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ast_experiments.core.text import duration, percent
from ast_experiments.data.repeats import Repeats
from ast_experiments.pilot.cases import Case
from ast_experiments.pilot.diagnosis import Diagnosis
from ast_experiments.pilot.rule import LONG, Verdict
from ast_experiments.selection.suspects import MIN_CLASSES


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
    present = found.counts[found.counts > 0]
    yield Line("rare classes", f"1:{signs.imbalance:.3g} ({present.min():,} to {present.max():,} rows in a class)")
    yield Line("repeated rows", _repeated(signs.repeats, found.rows))
    yield Line("pilot", _pilot(found))
    if found.pilot is None or signs.accuracy is None or signs.learned is None:
        return
    right = f"{percent(signs.accuracy)} of the held-out rows are predicted"
    yield Line("learned", f"{percent(signs.learned)} of the samples; {right}")
    yield Line("wrong labels", _wrong(found))


def _repeated(repeats: Repeats, rows: int) -> str:
    def of(share: float, looked: int) -> str:
        return percent(share) if looked == rows else f"{percent(share)} of {looked:,} rows in whole classes"

    return f"exactly {of(repeats.exact, repeats.exact_rows)}, nearly {of(repeats.near, repeats.near_rows)}"


def _pilot(found: Diagnosis) -> str:
    pilot = found.pilot
    if pilot is None:
        epochs = "1 epoch" if found.epochs == 1 else f"{found.epochs} epochs"
        return f"not trained: its share of {epochs} of {found.rows:,} rows is too short to tell anything"
    size = pilot.size
    times = "once" if size.passes == 1 else f"{size.passes} times"
    unit = "FLOPs" if pilot.counted else "rows"
    return (
        f"trained {size.trained:,} rows {times} and scored {size.scored:,} others in {duration(pilot.seconds)}: "
        f"{percent(pilot.share)} of the {unit} of the dense run"
    )


def _wrong(found: Diagnosis) -> str:
    noise, classes = found.signs.noise, len(found.counts)
    if classes < MIN_CLASSES:
        return f"not estimated: that needs {MIN_CLASSES} classes, and there are {classes}"
    if noise is None:
        return "not estimated: the pilot has learned too little"
    return f"{percent(noise.share)} [{100 * noise.low:.1f}, {100 * noise.high:.1f}]"


def answer(verdict: Verdict, found: Diagnosis, cases: Mapping[str, Case], command: str) -> Iterator[str]:
    """Yields the lines of the answer.

    Args:
        verdict: The answer.
        found: The signs and the pilot.
        cases: The measured cases.
        command: What to type.
    """
    case = cases.get(verdict.case or "")
    if verdict.pays:
        yield "Choosing samples should pay here."
    elif verdict.sign == "unknown":
        yield "The pilot cannot tell. Nothing says that choosing samples will pay here, so do not bother."
    else:
        yield "Do not bother: choosing samples will not pay here."
    if verdict.why:
        yield f"  why       {verdict.why}"
    if case is not None:
        yield f"  measured  {case}"
    if verdict.pays and case is not None:
        yield f"  gain      {_expected(case, found)}"
    yield f"  type      {command}"


def _expected(case: Case, found: Diagnosis) -> str:
    saved = "" if case.saved is None else f", or {case.saved:.0%} fewer FLOPs at equal accuracy".replace("%", " %")
    gain = f"there, {case.points:.2g} points at equal cost{saved}"
    if found.signs.epochs < LONG:
        return (
            f"{gain}; runs that cost less than {LONG:g} dense epochs were not measured, and yours costs "
            f"{found.signs.epochs:.2g}"
        )
    return f"{gain}; yours will differ, and other budgets were not measured"
