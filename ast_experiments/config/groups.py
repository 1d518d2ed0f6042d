"""The config files: where they are, and the groups that they form."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Directory of the config files: inside an installed package, beside it in a checkout."""
GROUPS = (
    "dataset", "model", "method", "controller", "significance", "recipe", "hardware", "energy", "tracking",
    "experiment", "sweep", "debug",
)  # fmt: skip
OPTIONAL = ("experiment", "sweep", "debug")
"""Groups that a run can do without."""
LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "slurm": "submitit"}
"""Launchers that come with an extra, and the name of the extra."""
REMOTE_LAUNCHERS = frozenset({"slurm", "submitit_slurm"})
"""Launchers whose jobs run on other machines."""
