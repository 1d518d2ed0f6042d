"""Figures and names as text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

EXPECTED = "Input should be "
"""How most of pydantic's messages begin."""

BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
"""Our words for pydantic's kinds of errors about ranges."""


def duration(seconds: float) -> str:
    """Formats a measured time: "3.21 s", "4 min 05 s" or "2 h 03 min"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def rough_duration(seconds: float) -> str:
    """Formats an estimated time without false precision: "45 s", "12 min", "2 h 5 min" or "30 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 600 else f"{hours} h"


def joules(value: float) -> str:
    """Formats an energy in joules: "850 J", "12.3 kJ" or "4.5 MJ"."""
    return _si(value, "J", digits=4)


def amount(value: float, unit: str) -> str:
    """Formats a quantity with its unit: "12.3 kJ", "84.2 s" or "17,024 rows"; empty for NaN and infinity."""
    if not math.isfinite(value):
        return ""
    if unit in ("s", "rows"):
        return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"
    return _si(value, unit, digits=3)


def _si(value: float, unit: str, digits: int) -> str:
    factor, prefix = next(((factor, prefix) for factor, prefix in _PREFIXES if abs(value) >= factor), (1.0, ""))
    return f"{value / factor:.{digits}g} {prefix}{unit}"


def percent(share: float, digits: int = 1) -> str:
    """Formats a share as a percentage: "12.3 %"."""
    return f"{share:.{digits}%}".replace("%", " %")


def slug(text: str) -> str:
    """Turns text into a file name: letters, digits and `._=,+-` stay, everything else becomes a hyphen."""
    return re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text)


def expectation(detail: Mapping[str, Any] | Any) -> str:
    """Returns the end of an error message that says which values are right, from one of pydantic's errors."""
    kind, message, limits = detail["type"], detail["msg"], detail.get("ctx", {})
    if kind in BOUNDS:
        limit = next(limits[name] for name in ("gt", "ge", "lt", "le") if name in limits)
        return f"must be {BOUNDS[kind]} {int(limit) if limit == int(limit) else limit}"
    if message.startswith(EXPECTED):
        return f"expected {message.removeprefix(EXPECTED)}"
    return f"{message[0].lower()}{message[1:]}"
