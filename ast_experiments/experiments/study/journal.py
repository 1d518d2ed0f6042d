"""The journal of a study: when each run started and ended, and what it reached."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_experiments.core.files import append_line
from ast_experiments.experiments.study.plan import StudyRun
from ast_experiments.runs.checked import is_event
from ast_experiments.runs.record import read_rows

JOURNAL = "journal.jsonl"


def append_event(folder: Path, event: str, run: StudyRun, **facts: Any) -> None:
    """Appends a line about a run to the journal."""
    where = {"run": run.path, "arm": run.arm.label, "seed": run.seed}
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **where, **facts}
    append_line(folder / JOURNAL, json.dumps(line))


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Reads the journal; skips lines that a crash cut short, and those that are no events."""
    return [row for row in read_rows(folder / JOURNAL, figures=False) if is_event(row)]
