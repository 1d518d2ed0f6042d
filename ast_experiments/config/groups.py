"""The config files: where they are, and the groups that they form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Directory of the config files: inside an installed package, beside it in a checkout."""
GROUPS = (
    "dataset", "model", "method", "controller", "significance", "recipe", "hardware", "energy", "tracking",
    "experiment", "sweep", "debug",
)  # fmt: skip
OPTIONAL = ("experiment", "sweep", "debug")
"""Groups that a run can do without."""
LAUNCHERS = {
    "joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "slurm": "submitit", "ray": "ray",
}  # fmt: skip
"""Launchers that come with an extra, and the name of the extra."""
REMOTE_LAUNCHERS = frozenset({"slurm", "submitit_slurm"})
"""Launchers whose jobs run on other machines."""


def read_choice(file: Path) -> dict[str, Any]:
    """Reads a config file as it is, without composing it: its own settings over those of the choices it inherits."""
    import yaml

    own = yaml.safe_load(file.read_text(encoding="utf-8"))
    inherited = (name for name in own.get("defaults", ()) if isinstance(name, str) and name != "_self_")
    settings: dict[str, Any] = {}
    for name in inherited:
        # "/rates@_here_" is the file rates.yaml beside the groups.
        settings |= read_choice(file.parent / f"{re.sub('^/', '../', name).partition('@')[0]}.yaml")
    return settings | own
