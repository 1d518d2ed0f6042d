"""Identity of a run: a hash of the settings that determine its numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from ast_experiments.config.schema import Config
from ast_experiments.data.regimes import OFF

NOMINAL = ("active_cost", "skipped_cost")
"""Settings of `energy` that change numbers in the log."""


def config_hash(config: Config) -> str:
    """Identifies the settings that determine a run's numbers: all but names, tags, meters and places.

    A run may be resumed with other hardware settings. Splitting batches and sharing them among processes changes what
    BatchNorm sees; result.json records both, and `ast-compare` keeps such runs apart.
    """
    settings = dataclasses.asdict(config)
    for key in ("tracking", "group", "tags", "experiment_name", "checkpoint_every_s", "profile"):
        del settings[key]
    for key in ("workers", "processes", "auto_batch", "max_hours"):
        del settings["hardware"][key]
    settings["energy"] = {key: settings["energy"][key] for key in NOMINAL}
    for key, off in OFF.items():  # so that a regime changes the hash, and its absence does not
        if settings["dataset"].get(key) == off:
            del settings["dataset"][key]
    settings["dataset"].pop("root", None)
    settings["dataset"].pop("download", None)
    settings["dataset"].pop("cache", None)
    settings["tracking.log_every"] = config.tracking.log_every
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
