"""Background trackers: slow, stuck and failing ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from ast_experiments.tracking.background import BackgroundTracker


class Slow:
    """Takes its time; waits for `go` before anything; raises in what is named in `broken`."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.go = threading.Event()
        self.taken: list[Any] = []

    def _take(self, name: str, value: Any) -> None:
        self.go.wait()
        if name in self.broken:
            raise OSError(f"no {name}")
        self.taken.append(value)

    def log(self, row: Mapping[str, Any]) -> None:
        self._take("log", row)

    def flush(self) -> None:
        raise AssertionError

    def finish(self, result: Mapping[str, Any]) -> None:
        self._take("finish", result)

    def state_dict(self) -> dict[str, Any]:
        return {"id": 1}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.taken.append(state)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_rows_arrive_in_order_before_the_result() -> None:
    slow = Slow()
    background = BackgroundTracker(slow, timeout=10)
    background.load_state_dict({"id": 1})
    began = time.monotonic()
    for step in range(1000):
        background.log({"step": step})
        background.flush()
    assert time.monotonic() - began < 10
    assert slow.taken == [{"id": 1}]
    slow.go.set()
    background.finish({"status": "finished"})
    assert slow.taken == [{"id": 1}, *({"step": step} for step in range(1000)), {"status": "finished"}]
    assert (background.name, background.state_dict()) == ("Slow", {"id": 1})


def test_what_fails_is_raised_by_the_next_call_and_given_up_in_the_end() -> None:
    slow, ended = Slow("log"), []
    slow.go.set()
    background = BackgroundTracker(slow, timeout=10, give_up=lambda: ended.append(True))
    background.log({"step": 1})
    wait_until(lambda: background._failure is not None)
    with pytest.raises(OSError, match="no log"):
        background.log({"step": 2})
    assert not ended
    with pytest.raises(OSError, match="no log"):
        background.finish({})
    assert (slow.taken, ended) == ([{}], [True])


@pytest.mark.parametrize("broken", [(), ("finish",)])
def test_finishing_waits_no_longer_than_its_patience(broken: tuple[str, ...]) -> None:
    slow, ended = Slow(*broken), []
    background = BackgroundTracker(slow, timeout=0.2 if not broken else 10, give_up=lambda: ended.append(True))
    if broken:
        slow.go.set()
    began = time.monotonic()
    with pytest.raises(OSError, match="no finish" if broken else "did not finish within 0.2 s"):
        background.finish({})
    assert time.monotonic() - began < 9
    assert ended == [True]
    slow.go.set()


def test_rows_do_not_fill_the_memory() -> None:
    slow = Slow()
    background = BackgroundTracker(slow, timeout=10, max_rows=5)
    background.log({"step": 0})
    wait_until(lambda: background._calls.qsize() == 0)  # taken, and held
    for step in range(1, 6):
        background.log({"step": step})
    with pytest.raises(TimeoutError, match="5 are waiting"):
        background.log({"step": 6})
    slow.go.set()
    background.finish({})
