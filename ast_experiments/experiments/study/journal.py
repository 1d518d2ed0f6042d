"""The journal of a study: when each run started and ended, and what it reached."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_experiments.experiments.study.plan import StudyRun
from ast_experiments.runs.record import read_rows

JOURNAL = "journal.jsonl"


def append_event(folder: Path, event: str, run: StudyRun, **facts: Any) -> None:
    """Appends a line about a run to the journal."""
    where = {"run": run.path, "arm": run.arm.label, "seed": run.seed}
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **where, **facts}
    with open(folder / JOURNAL, "a", encoding="utf-8") as journal:
        journal.write(json.dumps(line) + "\n")


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Reads the journal; skips lines that a crash cut short."""
    return read_rows(folder / JOURNAL)
