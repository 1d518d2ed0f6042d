"""The protocol's fan-out: failing copies are dropped, the record is not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ast_experiments.tracking import Tracker, Trackers
from ast_experiments.tracking.rows import plain


class Fake:
    """Remembers its calls, and raises in the ones named in `broken`."""

    def __init__(self, *broken: str, essential: bool = False) -> None:
        self.broken = broken
        self.essential = essential
        self.calls: list[tuple[str, Any]] = []

    def _call(self, name: str, value: Any = None) -> None:
        self.calls.append((name, value))
        if name in self.broken:
            raise RuntimeError(f"no {name}")

    def log(self, row: Mapping[str, Any]) -> None:
        self._call("log", row)

    def flush(self) -> None:
        self._call("flush")

    def finish(self, result: Mapping[str, Any]) -> None:
        self._call("finish", result)

    def state_dict(self) -> dict[str, Any]:
        self._call("state_dict")
        return {"calls": len(self.calls)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._call("load_state_dict", state)


class Other(Fake):
    """A second class, for states are kept by class name."""


def names(tracker: Fake) -> list[str]:
    return [name for name, _ in tracker.calls]


@pytest.mark.parametrize("broken", ["log", "flush", "state_dict", "load_state_dict"])
def test_failing_copy_is_reported_once_and_dropped(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Fake(broken), Other()
    trackers = Trackers([bad, good])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            trackers.log({"step": 1})
            trackers.flush()
            trackers.load_state_dict(trackers.state_dict())
        trackers.finish({"status": "finished"})
    assert names(good) == ["log", "flush", "state_dict", "load_state_dict"] * 3 + ["finish"]
    assert names(bad).count(broken) == 1
    assert names(bad)[-1] == "finish"
    assert trackers.live == (good,)
    assert len(caplog.records) == 1
    assert "Fake" in caplog.text
    assert f"no {broken}" in caplog.text


@pytest.mark.parametrize("broken", ["log", "flush", "state_dict"])
def test_failing_record_stops_the_run(broken: str) -> None:
    trackers: Tracker = Trackers([Fake(broken, essential=True)])
    with pytest.raises(RuntimeError, match=broken):
        {"log": lambda: trackers.log({}), "flush": trackers.flush, "state_dict": trackers.state_dict}[broken]()


def test_finish_reaches_every_tracker() -> None:
    record, bad, good = Fake("finish", essential=True), Fake("finish"), Other()
    with pytest.raises(RuntimeError, match="no finish"):
        Trackers([record, bad, good]).finish({"status": "failed"})
    assert names(bad) == names(good) == ["finish"]


def test_states_go_to_the_class_they_came_from() -> None:
    first, second = Fake(), Other()
    first.log({})
    state = Trackers([first, second]).state_dict()
    assert state == {"Fake": {"calls": 2}, "Other": {"calls": 1}}
    back = Other()
    Trackers([back]).load_state_dict(state)
    Trackers([back]).load_state_dict({})
    assert [value for _, value in back.calls] == [{"calls": 1}, {}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (True, True),
        ("text", "text"),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor(0.5), 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        ({"a": 1.0}, {"a": 1.0}),
    ],
)
def test_plain_values(value: Any, expected: Any) -> None:
    clean = plain({"key": value})["key"]
    assert clean == expected
    assert type(clean) is type(expected)


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), float("-inf"), np.float64("inf"), torch.tensor(float("nan")), [1.0, float("nan")]],
)
def test_what_is_not_finite_is_absent(value: Any) -> None:
    assert plain({"key": value, "other": 1}) == {"other": 1}
