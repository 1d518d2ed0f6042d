"""Choices of other packages: methods, controllers and significances without a yaml file.

`method=my_package.easiest` names a module that is installed or in the current directory; an installed package can also
offer a choice as an entry point. Their values are the defaults of the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ast_experiments.config.groups import CONF, read_choice

GROUPS = ("method", "controller", "significance")
"""Groups whose choices may be defined in another package."""


def register(overrides: Sequence[str]) -> None:
    """Makes the choices of other packages among the overrides known to Hydra.

    Raises:
        ConfigError: If a module does not exist or does not define what the group needs.
    """
    for group, name in _named(overrides):
        values = choice_values(group, name)
        if values is not None and not _file(group, name):
            from hydra.core.config_store import ConfigStore

            ConfigStore.instance().store(group=group, name=name, node=dict(values))


def choice_values(group: str, name: str) -> Mapping[str, Any] | None:
    """Returns the values of a choice, from its yaml file or from the defaults of its arguments; None if there is none.

    Raises:
        ConfigError: If it names a module that does not exist or does not define what the group needs.
    """
    if _file(group, name):
        return read_choice(CONF / group / f"{name}.yaml")
    if group not in GROUPS or not name:
        return None
    if not is_elsewhere(group, name) and name not in plugins(group):
        return None
    return defaults_of(group, name)


def defaults_of(group: str, name: str) -> dict[str, Any]:
    """Returns the settings of a choice without a yaml file: its name and the defaults; `???` marks those without."""
    from ast_experiments.selection.find import MISSING, find, settings_of

    target = find(group, name)
    rate = getattr(target, "rate", None)
    settings: dict[str, Any] = {"name": name}
    if rate is not None:
        settings |= {
            "rate": rate,
            "rate_schedule": target.rate_schedule,  # pyright: ignore[reportFunctionMemberAccess]
            "rate_final": None,
            "warmup_epochs": target.warmup_epochs,  # pyright: ignore[reportFunctionMemberAccess]
            "final_epochs": 0,
            "budget": dict.fromkeys(("samples", "flops", "seconds", "joules")),
        }
    for key, setting in settings_of(target).items():
        default = "???" if setting.default is MISSING else setting.default
        settings[key] = list(default) if isinstance(default, tuple) else default
    return settings


def is_elsewhere(group: str, name: str) -> bool:
    """Returns whether a choice names a module of another package."""
    return group in GROUPS and "." in name


def plugins(group: str) -> frozenset[str]:
    """Returns the names of the choices that installed packages offer as entry points."""
    if group not in GROUPS:
        return frozenset()
    from importlib.metadata import entry_points

    return frozenset(point.name for point in entry_points(group=f"ast_experiments.{group}s"))


def _file(group: str, name: str) -> bool:
    return (CONF / group / f"{name}.yaml").is_file()


def _named(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    for override in overrides:
        group, _, value = override.partition("=")
        if group in GROUPS:
            for name in re.split(r"\s*,\s*", value.strip().removeprefix("choice(").removesuffix(")")):
                yield group, name.strip("'\"")
