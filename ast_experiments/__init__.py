"""Train on fewer samples and measure what that saves.

The names below are the public interface, for training loops of your own; importing one does not import Hydra, Weights &
Biases or timm. Everything else may change from version to version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ast_experiments.api.meter import Meter
    from ast_experiments.api.record import Record, record
    from ast_experiments.api.select import select
    from ast_experiments.api.selection import Selection
    from ast_experiments.selection.history import SampleHistory
    from ast_experiments.selection.method import Method
    from ast_experiments.selection.plan import Plan

__all__ = ["Meter", "Method", "Plan", "Record", "SampleHistory", "Selection", "__version__", "record", "select"]
__version__ = "0.1.0"

_HOMES = {
    "Meter": "api.meter",
    "Method": "selection.method",
    "Plan": "selection.plan",
    "Record": "api.record",
    "SampleHistory": "selection.history",
    "Selection": "api.selection",
    "record": "api.record",
    "select": "api.select",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
