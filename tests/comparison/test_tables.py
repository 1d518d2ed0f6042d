"""Tables on terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ast_experiments.comparison.tables import Table, print_table

VERDICTS = Table(
    "Verdicts at equal FLOPs",
    ["#", "arm", "verdict", "points above uniform", "FLOPs saved at equal accuracy", "accuracy, %", "compute", "seeds"],
    [
        ["1", "dense epochs=10", "baseline", "", "", "98.12 ± 1.46", "59.7 GFLOPs", "3"],
        ["5", "ast", "not comparable", "+0.19 [-6.12, +6.50]", "11.4 % [open, 14.1] n.s.", "93.52", "26.5 GFLOPs", "3"],
    ],
    ["FLOPs: counted (validation included)"],
)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_word_is_broken(width: int) -> None:
    file = io.StringIO()
    print_table(VERDICTS, Console(file=file, width=width))
    text, *footnotes = file.getvalue().partition("FLOPs: counted")
    assert max(map(len, text.splitlines())) <= width
    assert "".join(footnotes).splitlines() == VERDICTS.footnotes
    assert "n.s.: not significant" in VERDICTS.footnotes[1]
    words = {word for row in (VERDICTS.headings, *VERDICTS.rows) for cell in row for word in cell.split()}
    assert words <= set(text.split())


def test_what_cannot_fit_is_folded() -> None:
    file = io.StringIO()
    print_table(VERDICTS._replace(notes=[], rows=VERDICTS.rows[:1]), Console(file=file, width=40))
    assert max(map(len, file.getvalue().splitlines())) <= 40
