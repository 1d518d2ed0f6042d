"""The values that an override lists for a sweep, bounded before they are listed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.config.validate import nearest
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

MOST_JOBS = 1000
"""Largest number of jobs of a sweep. Every one of them is checked before the first starts."""


def listed_values(override: Override, folders: Sequence[Path]) -> list[str]:
    """Returns the values that an override lists, as text.

    Args:
        override: With a list of values, a range or a glob.
        folders: Directories whose groups a glob chooses from.

    Raises:
        ConfigError: If there are none or too many.
    """
    from hydra.core.override_parser.types import Glob, RangeSweep

    typed, key, value = override.input_line, override.key_or_group, override.value()
    if isinstance(value, RangeSweep):
        _check_range(f"{typed}", value.start, value.stop, value.step)
    if isinstance(value, Glob):
        names = sorted({file.stem for folder in folders for file in (folder / key).glob("*.yaml")})
        values = value.filter(names)
        if not values:
            raise ConfigError(f"{typed}: matches no choice of {key}{nearest('', names)}")
    else:
        values = list(islice(override.sweep_string_iterator(), MOST_JOBS + 1))
    if not values:
        raise ConfigError(f"{typed}: lists no values; type {key}=A,B,C")
    check_count(len(values), str(typed))
    return values


def check_count(jobs: int, what: str) -> None:
    """Refuses more jobs than a sweep may have.

    Raises:
        ConfigError: If there are too many.
    """
    if jobs > MOST_JOBS:
        raise ConfigError(f"{what}: makes more than {MOST_JOBS:,} jobs, the most of a sweep; list fewer values")


def searched(overrides: Sequence[str]) -> list[Path]:
    """Returns the directories that overrides of `hydra.searchpath` add, such as that of `--config-dir`."""
    paths = (o.partition("=")[2] for o in overrides if o.lstrip("+").startswith("hydra.searchpath="))
    return [Path(found) for path in paths for found in re.findall(r"file://([^'\",\]]+)", path)]


def _check_range(typed: str, start: float | None, stop: float | None, step: float) -> None:
    ends = [float(end) for end in (start, stop, step) if end is not None]
    if len(ends) < 3 or not all(map(math.isfinite, ends)) or not step:
        raise ConfigError(f"{typed}: expected finite numbers and a step other than 0; type e.g. range(0,10,2)")
    if (ends[1] - ends[0]) / step > MOST_JOBS:
        check_count(MOST_JOBS + 1, typed)
