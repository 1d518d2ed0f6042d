"""What a person sees while a study runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TAIL = 16384  # bytes that hold the last row of a record


def duration(seconds: float) -> str:
    """A time in two units at most."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 600 else f"{hours} h"


@contextmanager
def watching(title: str, folder: Path, left: float | None, *, quiet: bool) -> Iterator[None]:
    """On a terminal, a line that tells how far the run in a directory is, taken away at its end.

    Args:
        title: What the line begins with.
        folder: The run directory, whose record is read.
        left: Seconds that all runs that are left are expected to take.
        quiet: Show nothing: the run speaks for itself.
    """
    from rich.console import Console

    console = Console()
    if quiet or not console.is_terminal:
        yield
        return
    from rich.live import Live
    from rich.text import Text

    begun = time.monotonic()

    def line() -> Text:
        rest = "" if left is None else f"; about {duration(max(0.0, left - (time.monotonic() - begun)))} left"
        return Text(f"{title}: {_position(folder)}{rest}", overflow="ellipsis", no_wrap=True)

    with Live(get_renderable=line, console=console, refresh_per_second=2, transient=True):
        yield


def _position(folder: Path) -> str:
    row = last_row(folder / "metrics.jsonl")
    return f"epoch {row['epoch']:.1f}, {row['progress']:.0%}" if "progress" in row else "starting"


def last_row(path: Path) -> dict[str, Any]:
    """The last whole row of a record; empty if there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return {}
