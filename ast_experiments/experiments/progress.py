"""The progress line of studies and searches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ast_experiments.core.text import percent, rough_duration

TAIL_BYTES = 16384  # enough for the last row of a record


@contextmanager
def live_progress(title: str, folder: Path, seconds_left: float | None, *, quiet: bool) -> Iterator[None]:
    """Shows on a terminal how far a run is; the line disappears when the block ends.

    Args:
        title: Beginning of the line.
        folder: Run directory, whose record is read.
        seconds_left: Estimated time of all remaining runs.
        quiet: Show nothing, because the run prints its own progress.
    """
    begun = time.monotonic()

    def line() -> str:
        rest = ""
        if seconds_left is not None:
            rest = f"; about {rough_duration(max(0.0, seconds_left - (time.monotonic() - begun)))} left"
        return f"{title}: {position(folder)}{rest}"

    with live_line(line, quiet=quiet):
        yield


@contextmanager
def live_line(line: Callable[[], str], *, quiet: bool) -> Iterator[None]:
    """Shows a line on a terminal, twice a second; it disappears when the block ends.

    Args:
        line: Returns the text.
        quiet: Show nothing.
    """
    from rich.console import Console

    console = Console()
    if quiet or not console.is_terminal:
        yield
        return
    from rich.live import Live
    from rich.text import Text

    def text() -> Text:
        return Text(line(), overflow="ellipsis", no_wrap=True)

    with Live(get_renderable=text, console=console, refresh_per_second=2, transient=True):
        yield


def position(folder: Path) -> str:
    """Says how far the run of a directory is."""
    row = _last_row(folder / "metrics.jsonl")
    if "progress" not in row:
        return "starting"
    return f"epoch {row['epoch']:.1f}, {percent(row['progress'], 0)}" if row["progress"] < 1 else "writing the results"


def _last_row(path: Path) -> dict[str, Any]:
    """Returns the last complete row of a record; empty if there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return {}
