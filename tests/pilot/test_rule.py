"""The rule: the first sign that decides."""

from __future__ import annotations

import pytest

from ast_experiments.data.repeats import Repeats
from ast_experiments.pilot import rule
from ast_experiments.pilot.rule import Signs, judge
from ast_experiments.selection.suspects import NoiseEstimate

CLEAN = Signs(
    rows=50_000, imbalance=1.0, tail=1.0, repeats=Repeats(0.0, 0.01, 100, 100), epochs=6.0, chooses=True, views=False,
    accuracy=0.6, learned=0.2, noise=NoiseEstimate(0.01, 0.0, 0.03),
)  # fmt: skip
NOISY = NoiseEstimate(0.18, 0.15, 0.22)
TAIL = {"imbalance": 50.0, "tail": 33.0}
COPIES = Repeats(0.8, 0.8, 100, 100)


@pytest.mark.parametrize(
    ("changes", "pays", "sign", "case"),
    [
        ({}, True, "level", "all_rows"),
        ({"views": True}, True, "views", "speedrun_views"),
        ({"views": True, "rows": rule.FEW - 1}, False, "few rows", "clean"),
        ({"rows": rule.MEASURED - 1}, False, "few rows", None),
        ({"rows": 2 * rule.FEW - 2, "repeats": Repeats(0.1, 0.3, 100, 100)}, True, "level", "all_rows"),
        ({"rows": rule.FEW, "repeats": Repeats(0.1, 0.3, 100, 100)}, False, "few rows", "clean"),
        ({"rows": rule.FEW - 1, **TAIL}, True, "rare classes", "tail_50"),
        ({"rows": rule.TAIL_ROWS - 1, **TAIL}, False, "few rows", None),
        ({"rows": rule.FEW - 1, "learned": None, "accuracy": None, "noise": None}, False, "unknown", None),
        (TAIL, True, "rare classes", "tail_50"),
        ({"imbalance": 50.0}, True, "level", "all_rows"),  # of one class only
        ({"tail": rule.TAIL - 1}, True, "level", "all_rows"),
        ({**TAIL, "noise": NOISY}, False, "wrong labels", "noise_20"),
        ({"noise": NoiseEstimate(0.07, 0.05, 0.09), "views": True}, False, "wrong labels", "noise_10"),
        ({"noise": NoiseEstimate(0.06, 0.01, 0.11), **TAIL}, True, "rare classes", "tail_50"),
        ({"noise": NoiseEstimate(0.06, 0.01, 0.11)}, False, "unknown", None),
        ({"noise": NoiseEstimate(0.04, 0.0, 0.09)}, True, "level", "all_rows"),
        ({"noise": None}, False, "unknown", None),
        ({"noise": None, "accuracy": 0.05, "learned": 0.0, **TAIL}, False, "unknown", None),
        ({"noise": None, "views": True}, False, "unknown", None),
        ({"noise": NoiseEstimate(0.45, 0.4, 0.5)}, False, "wrong labels", "noise_40"),
        ({"repeats": COPIES, "views": True}, False, "repeated rows", "duplicates_80"),
        ({"repeats": Repeats(0.0, 0.5, 100, 100)}, False, "repeated rows", "duplicates_80"),
        ({"chooses": False, **TAIL}, False, "short", None),
        ({"epochs": 2.0, **TAIL}, False, "unknown", None),
        ({"epochs": 3.98}, True, "level", "all_rows"),
        ({"learned": None, "accuracy": None, "noise": None, **TAIL}, False, "unknown", None),
        ({"learned": None, "accuracy": None, "noise": None}, False, "unknown", None),
    ],
)
def test_the_first_sign_that_decides(changes, pays, sign, case):
    found = judge(CLEAN._replace(**changes))
    assert found[:3] == (pays, sign, case)
    assert found.why or sign == "unknown"


def test_near_copies_are_not_called_copies() -> None:
    assert "nearly repeat others" in judge(CLEAN._replace(repeats=Repeats(0.1, 0.5, 100, 100))).why
