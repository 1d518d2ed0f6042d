"""Writes the report of a run when it ends."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def reporting(folder: Path, *, wanted: bool = True) -> Iterator[None]:
    """Writes report.html on exit if the block changed result.json; an error is printed, not raised.

    Args:
        folder: The run directory.
        wanted: Whether to write a report at all.
    """
    result = folder / "result.json"
    before = result.read_bytes() if result.is_file() else None
    failed = True
    try:
        yield
        failed = False
    finally:
        if wanted and result.is_file() and result.read_bytes() != before:
            _write(folder, failed)


def _write(folder: Path, failed: bool) -> None:
    from ast_experiments.analysis.report import write_report

    try:
        write_report(folder)
    except Exception as error:
        logger.info("the report could not be written", exc_info=True)
        if not (failed and isinstance(error, OSError)):  # otherwise the run says what is wrong with the disk
            print(f"the report could not be written: {error}", file=sys.stderr)
