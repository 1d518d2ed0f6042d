"""Reads run directories, on any machine."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast_experiments.core.errors import DataError
from ast_experiments.core.files import read_json
from ast_experiments.core.yaml_files import read_yaml
from ast_experiments.runs.checked import clean_result, clean_row

CONFIG, METRICS, RESULT = "config.yaml", "metrics.jsonl", "result.json"
SAMPLES, GALLERY = "samples.npz", "samples.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Attributes:
        directory: Run directory.
        config: Configuration with unresolved interpolations; empty if there is no config.yaml.
        steps: Rows of kind "step", in file order.
        epochs: Rows of kind "epoch", in file order.
        result: Content of result.json; empty if there is none.
    """

    directory: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Status: "finished", "failed", "interrupted", or "unfinished" if there is no result."""
        return self.result.get("status", "unfinished")


def read_run(directory: str | os.PathLike[str], *, metrics: bool = True) -> RunRecord:
    """Reads a run directory; missing files read as empty.

    Args:
        directory: Run directory.
        metrics: Whether to read the rows, of which a long run has many.

    Raises:
        FileNotFoundError: If the directory contains none of a run's files.
    """
    directory = Path(directory)
    if not is_run(os.listdir(directory) if directory.is_dir() else ()):
        raise FileNotFoundError(f"{directory} is not a run directory: expected {METRICS}, {RESULT} or {CONFIG}.")
    rows = read_rows(directory / METRICS) if metrics else []
    return RunRecord(
        directory=directory,
        config=_read_config(directory / CONFIG),
        steps=[row for row in rows if row.get("kind") == "step"],
        epochs=[row for row in rows if row.get("kind") == "epoch"],
        result=read_result(directory),
    )


def read_result(directory: Path) -> dict[str, Any]:
    """Reads result.json of a run directory.

    Every reader of results goes through here. The file is written atomically, so one that is not valid JSON was
    damaged later; it is reported and treated as missing.

    Returns:
        Its content; empty if there is none, so that `read_result(directory).get("status")` is None.
    """
    path = directory / RESULT
    try:
        result = read_json(path)
    except (DataError, OSError) as error:
        logger.warning("%s; the run counts as unfinished.", error)
        return {}
    if result is not None and not isinstance(result, dict):
        logger.warning("%s is not a JSON object; the run counts as unfinished.", path)
    return clean_result(result, path) if isinstance(result, dict) else {}


def find_runs(path: str | os.PathLike[str]) -> list[Path]:
    """Finds the run directories at and below `path`, sorted. Runs do not contain other runs."""
    found = []
    for here, folders, files in os.walk(path):
        if is_run(files):
            found.append(Path(here))
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith((".", "wandb"))]
    return sorted(found)


def is_run(names: Collection[str]) -> bool:
    """Returns whether file names are those of a run directory: a record, a result or a configuration."""
    return any(name in names for name in (METRICS, RESULT, CONFIG))


def read_rows(path: Path, *, figures: bool = True) -> list[dict[str, Any]]:
    """Reads a JSONL file. Lines that are not JSON objects are skipped, with a warning unless it is the last line.

    Args:
        path: The file.
        figures: Leave entries that are no figures out of their rows, with one warning.
    """
    if not path.is_file():
        if path.exists():
            logger.warning("%s cannot be read (it is no file).", path)
        return []
    rows, damaged = [], dict[str, None]()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        logger.warning("%s cannot be read (%s).", path, error.strerror)
        return []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            if figures:
                row, wrong = clean_row(row)
                damaged |= dict.fromkeys(wrong)
            rows.append(row)
        elif number < len(lines):
            logger.warning("%s, line %d: not a JSON object; skipped.", path, number)
    if damaged:
        logger.warning("%s: %s: not a figure in some rows; left out.", path, ", ".join(list(damaged)[:3]))
    return rows


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with suppress(OSError, DataError):  # a loop of your own writes JSON, which needs no YAML reader
        config = read_json(path)
        return config if isinstance(config, dict) else {}
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_container(read_yaml(path), resolve=False)
    except (DataError, OmegaConfBaseException) as error:
        logger.warning("%s; the run is shown without its configuration.", error)
        return {}
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}
