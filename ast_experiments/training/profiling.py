"""Profiles a few training steps with torch.profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def profiled(folder: Path | None) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each loaded batch; writes trace.json and profile.txt into `folder`, if given."""
    if folder is None:
        yield lambda: None
        return
    from torch import profiler

    def write(trace: Any) -> None:
        trace.export_chrome_trace(str(folder / "trace.json"))
        (folder / "profile.txt").write_text(trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))

    steps = profiler.schedule(wait=2, warmup=2, active=6, repeat=1)
    with profiler.profile(schedule=steps, on_trace_ready=write) as active:
        yield active.step
