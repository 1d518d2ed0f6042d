"""Log rows as plain Python values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a row to plain Python values that JSON can hold.

    NumPy and torch scalars and arrays become numbers and lists. Keys whose value is None, NaN or infinite are dropped:
    a metric that cannot be measured is absent.

    Args:
        row: Metrics by key.

    Returns:
        A new dict, in the same order.
    """
    clean = {}
    for key, raw in row.items():
        value = raw.tolist() if hasattr(raw, "tolist") else raw
        if value is not None and _finite(value):
            clean[key] = value
    return clean


def flat(result: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested result to keys such as "control/rms_error", without values that are None or not finite.

    Args:
        result: Nested mappings; lists are kept.
        prefix: Prefix of every key.
    """
    level: dict[str, Any] = {}
    for key, value in result.items():
        level |= flat(value, f"{prefix}{key}/") if isinstance(value, Mapping) else plain({f"{prefix}{key}": value})
    return level


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return True
