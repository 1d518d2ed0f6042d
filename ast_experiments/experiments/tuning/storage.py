"""The log of a search's trials, which Optuna writes: mended where a crash cut it, refused where it is damaged."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.errors import DataError

if TYPE_CHECKING:
    from optuna import Study


def open_study(path: Path, *, owner: bool = True, **options: Any) -> Study:
    """Opens Optuna's study of a log, or begins it.

    Args:
        path: The log.
        owner: Whether this process owns its directory, and may remove what a killed one has left. Its workers write to
            the log at the same time.
        options: Of `optuna.create_study`.

    Raises:
        DataError: If the log is damaged.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if owner:
        with suppress(OSError):  # Optuna's own lock
            Path(f"{path}.lock").unlink(missing_ok=True)
        mend(path)
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(storage=storage, load_if_exists=True, **options)
        _ = study.trials
        return study
    except OSError:
        raise
    except Exception as error:  # whatever a log that is JSON but not Optuna's brings about
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def mend(path: Path) -> None:
    """Cuts the last line of a log if a crash left only a part of it.

    Raises:
        DataError: If another line is damaged.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise _damaged(path, "it is no file")
    content = path.read_bytes()
    at = 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        whole = line.endswith(b"\n") and _is_object(line)
        if not whole and at + len(line) < len(content):
            raise _damaged(path, f"line {number} is no JSON object")
        if not whole:
            os.truncate(path, at)
        at += len(line)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _damaged(path: Path, reason: str) -> DataError:
    reason = " ".join(reason.split())[:150]
    return DataError(
        f"{path} is damaged ({reason}); restore it, or move it away: the search then begins anew, and finds finished "
        "runs again"
    )
