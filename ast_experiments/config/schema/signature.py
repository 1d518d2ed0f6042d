"""Schemas of methods, controllers and significances, derived from the signatures of what is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic.dataclasses import dataclass

from ast_experiments.config.groups import CONF
from ast_experiments.config.schema.fields import STRICT, Choice
from ast_experiments.config.schema.rates import Named, Rated
from ast_experiments.selection.find import MISSING, elsewhere, find, plugins, settings_of


class Signatures(Mapping[str, Choice]):
    """The choices of a group whose settings are the keyword arguments of what is built.

    They are imported when they are looked up. The names are those of the group's yaml files and of the entry points of
    installed packages; a module of any other package, `my_package.easiest`, can be looked up too.

    Args:
        group: `method`, `controller` or `significance`.
    """

    def __init__(self, group: str) -> None:
        self._group = group

    def __getitem__(self, name: str) -> Choice:
        if name not in self:
            raise KeyError(name)
        return Choice(schema_of(self._group, name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (elsewhere(name) or name in self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return sorted({file.stem for file in (CONF / self._group).glob("*.yaml")} | set(plugins(self._group)))


@cache
def schema_of(group: str, name: str) -> type:
    """Returns the strict dataclass of a choice's settings.

    A method with a target rate has the settings of `Rated` before its own.
    """
    target = find(group, name)
    base = Rated if getattr(target, "rate", None) is not None else Named
    body = {
        "__annotations__": {key: setting.type for key, setting in settings_of(target).items()},
        "__doc__": f"Settings of {group}={name}.",
        "__module__": __name__,
    }
    return dataclass(config=STRICT, frozen=True, kw_only=True)(type(f"{name}_settings", (base,), body))


def defaults_of(group: str, name: str) -> dict[str, Any]:
    """Returns the settings of a choice without a yaml file: its name and the defaults; `???` marks those without."""
    target = find(group, name)
    rate = getattr(target, "rate", None)
    settings: dict[str, Any] = {"name": name}
    if rate is not None:
        settings |= {
            "rate": rate,
            "rate_schedule": "constant",
            "rate_final": None,
            "warmup_epochs": target.warmup_epochs,  # pyright: ignore[reportFunctionMemberAccess]
            "final_epochs": 0,
            "budget": dict.fromkeys(("samples", "flops", "seconds", "joules")),
        }
    for key, setting in settings_of(target).items():
        default = "???" if setting.default is MISSING else setting.default
        settings[key] = list(default) if isinstance(default, tuple) else default
    return settings
