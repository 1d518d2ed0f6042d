"""Names of the directories of studies and searches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.text import slug


def folder_name(text: str) -> str:
    """Turns text into the name of a directory."""
    return slug(text).strip("-.")


def check_name(name: str) -> str:
    """Returns a name that the user typed, if it can name a directory.

    Raises:
        ConfigError: If it is empty or contains characters that file names should not have.
    """
    if not name or folder_name(name) != name:
        example = folder_name(name) or "NAME"
        raise ConfigError(f"name={name}: expected letters, digits and . _ = , + -; type e.g. name={example}")
    return name


def default_name(overrides: Sequence[str]) -> str:
    """Derives a name from overrides, so that the same command finds its directory again."""
    chosen = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    label = chosen.get("experiment") or chosen.get("dataset") or "digits"
    return f"{folder_name(label)}-{hashlib.sha256(' '.join(overrides).encode()).hexdigest()[:6]}"
