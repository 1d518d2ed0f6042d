"""Console output of a run: a line per epoch, on a terminal above a live bar; a table at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from ast_experiments.tracking.summary import result_facts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import Progress


IN_REPORT = ("rows scored", "control", "gate share", "nominal savings", "joules by phase")
"""Facts that only the report shows: they need explaining, or repeat another one."""


class ConsoleTracker:
    """Shows rows on the console.

    It prints one line per epoch. On a terminal there is a progress bar with one line of live figures below, which the
    training thread redraws at most every `interval` seconds.

    Args:
        epochs: Planned epochs.
        title: Name of the run, such as "ast on cifar10".
        paths: Paths to print at the end, by label ("report", "metrics", "W&B files").
        console: Output; None for standard output.
        interval: Minimum seconds between two live updates.
    """

    def __init__(
        self,
        epochs: float,
        title: str,
        *,
        paths: Mapping[str, str | PathLike[str]] | None = None,
        console: Console | None = None,
        interval: float = 0.1,
    ) -> None:
        from rich.console import Console

        self._epochs = epochs
        self._title = title
        self._paths = dict(paths or {})
        self._console = console or Console()
        self._interval = interval
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._shown: tuple[Live, Progress] | None = None
        self._next_draw = 0.0
        self._finished = False

    def log(self, row: Mapping[str, Any]) -> None:
        """Shows one row, or stores it until the next update is due."""
        kind = row.get("kind", "step")
        self._rows[kind] = row
        if kind == "epoch":
            self._say(f"epoch {row.get('epoch', 0):g}/{self._epochs:g}  {status_line(self._merged(kind))}")
        if self._console.is_terminal and (now := time.monotonic()) >= self._next_draw:
            self._next_draw = now + self._interval
            self._draw(self._merged(kind))

    def flush(self) -> None:
        """Does nothing: rows are shown as they arrive."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Removes the bar and prints the final table and the paths; safe to call twice."""
        if self._finished:
            return
        self._finished = True
        if self._shown is not None:
            self._shown[0].stop()
        self._console.print(self._table(result))
        if result.get("error") and result.get("status") != "interrupted":  # the command says how to go on
            self._say(f"error: {result['error']}")
        for note in result.get("notes") or ():
            self._say(f"note: {note}")
        for label, path in self._paths.items():
            self._say(f"{label}: {path}")

    def state_dict(self) -> dict[str, Any]:
        """Returns how far the rows have come, in epochs."""
        return {"epoch": max((row.get("epoch", 0.0) for row in self._rows.values()), default=0.0)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Says where the run goes on, if it was stopped before."""
        if epoch := state.get("epoch"):
            self._say(f"resumed at epoch {epoch:.1f}: {int(epoch)} of {self._epochs:g} epochs completed")

    def _merged(self, kind: str) -> dict[str, Any]:
        """Merges the latest step and epoch rows; where both have a key, the row of this `kind` counts."""
        other = "step" if kind == "epoch" else "epoch"
        return {**self._rows.get(other, {}), **self._rows[kind]}

    def _draw(self, row: Mapping[str, Any]) -> None:
        from rich.console import Group
        from rich.text import Text

        if self._shown is None:
            self._shown = self._start()
        live, bar = self._shown
        done = row.get("epoch", 0.0)
        bar.update(bar.task_ids[0], completed=min(done, self._epochs), shown=f"{done:.1f}")
        line = Text(status_line(row), overflow="ellipsis", no_wrap=True)
        live.update(Group(bar, line), refresh=True)

    def _start(self) -> tuple[Live, Progress]:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn(f"epoch {{task.fields[shown]}}/{self._epochs:g}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            auto_refresh=False,
            console=self._console,
        )
        bar.add_task(_escape(self._title), total=self._epochs, shown="0.0")
        live = Live(bar, console=self._console, auto_refresh=False, transient=True)
        live.start()
        return live, bar

    def _table(self, result: Mapping[str, Any]) -> Any:
        from rich.table import Table

        table = Table(title=_escape(self._title), title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for label, text in result_facts(result):
            if label in IN_REPORT:
                continue
            table.add_row(label, _escape(text))
        return table

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def status_line(row: Mapping[str, Any]) -> str:
    """Formats the main figures of a row as one line, without those that are absent.

    Args:
        row: The latest value of every metric by key.
    """
    rate, threshold = row.get("control/activation_rate_ema", row.get("epoch/activation_rate")), None
    loss = row.get("train/loss", row.get("epoch/train_loss"))
    if row.get("kind") == "epoch":
        rate, loss = row.get("epoch/activation_rate", rate), row.get("epoch/train_loss", loss)
    else:
        threshold = row.get("control/threshold")  # it moves within an epoch
    target = row.get("control/target", row.get("epoch/target"))
    figures = (
        ("rate", rate, ".3f"),
        ("target", target, ".3f"),
        ("threshold", threshold, ".4g"),
        ("loss", loss, ".4f"),
        ("accuracy", row.get("val/accuracy"), ".2f"),
        ("joules", row.get("energy/gpu_joules", row.get("energy/cpu_joules")), ",.0f"),
    )
    return "  ".join(
        f"{label} {value:{style}}{' %' if label == 'accuracy' else ''}"
        for label, value, style in figures
        if value is not None
    )


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
