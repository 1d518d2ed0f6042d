import math

import pytest

from ast_experiments.core.text import amount, duration, joules, rough_duration, slug


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.214, "3.21 s"), (245, "4 min 05 s"), (7380, "2 h 03 min"), (59.99, "60 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3 s"), (99, "99 s"), (125, "2 min"), (7500, "2 h 5 min"), (108000, "30 h")]
)
def test_rough_duration(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(850, "850 J"), (12300, "12.3 kJ"), (4.5e6, "4.5 MJ"), (-2000, "-2 kJ")])
def test_joules(value: float, text: str) -> None:
    assert joules(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12345, "J", "12.3 kJ"),
        (84.21, "s", "84.2 s"),
        (17024, "rows", "17,024 rows"),
        (2.5e15, "FLOPs", "2.5 PFLOPs"),
        (math.nan, "J", ""),
        (math.inf, "s", ""),
    ],
)
def test_amount(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_slug_keeps_what_a_file_name_can_hold() -> None:
    assert slug("method=ast rate/0.3") == "method=ast-rate-0.3"
