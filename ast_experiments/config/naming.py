"""Names of run, job and sweep directories."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ast_experiments.core.files import write_atomic
from ast_experiments.core.privacy import without_homes
from ast_experiments.core.process import speaks_for_machine
from ast_experiments.core.text import slug

LAUNCH = "AST_EXPERIMENTS_LAUNCH"
"""Environment variable that passes the launch id from a sweep to its workers."""
LENGTH = 80
"""Characters of a directory's name, at most."""
NOT_IN_NAMES = frozenset({"hydra", "group", "sweep", "tags", "tracking", "checkpoint_every_s", "profile"})
"""Settings that do not change a run's results, and so are left out of its name."""


def launch_id() -> str:
    """Returns the id of the command that was started: the time and four random digits. Workers inherit it."""
    if LAUNCH not in os.environ:
        os.environ[LAUNCH] = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(2)}"
    return os.environ[LAUNCH]


def kept_launch() -> str:
    """Returns the launch id that `keep_launch` kept under the process that started this one; empty if there is none."""
    try:
        return _launch_file().read_text(encoding="utf-8")
    except OSError:
        return ""


def keep_launch(chosen: str) -> None:
    """Keeps a launch id for the processes that the parent of this one starts later."""
    if speaks_for_machine():
        with suppress(OSError):
            write_atomic(_launch_file(), chosen)


def _launch_file() -> Path:
    """A file of the parent process, told apart from others of its number by when it began."""
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        began = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return Path(tempfile.gettempdir()) / f"ast-launch-{parent}-{slug(began)}"


def sweep_name(group: str | None, choice: str | None) -> str:
    """Returns the directory name of a sweep: its group if it has one, else the choice of `sweep` and the launch id."""
    return _file_name(group) if group else f"{choice or 'sweep'}_{launch_id()}"


def override_key(override: str) -> str:
    """Returns the key of a Hydra override: "a.b" of "+a.b=1" and of "~a.b"."""
    return override.partition("=")[0].lstrip("+~")


def job_name(overrides: Sequence[str]) -> str:
    """Returns the directory name of a job within its sweep: the sorted overrides and a hash of all of them.

    Of many overrides it shows as many as fit; none is cut short, except for a single long one. Neither the order of the
    overrides nor settings in `NOT_IN_NAMES` change the name. It shows no home directories: pages and W&B have the name.
    """
    named = sorted(o for o in overrides if override_key(o).partition(".")[0] not in NOT_IN_NAMES)
    digest = hashlib.sha256("\n".join(named).encode()).hexdigest()[:8]
    shown = ""
    for override in map(without_homes, named):
        longer = f"{shown},{override}" if shown else override
        if not shown or len(slug(longer)) <= LENGTH:
            shown = longer
    return f"{_file_name(shown)}-{digest}"


def _file_name(text: str) -> str:
    return slug(text)[:LENGTH].strip("-,.") or "run"
