"""Choices whose settings are the arguments of what is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic.errors import PydanticUserError

from ast_experiments.config.groups import CONF
from ast_experiments.config.plugins import is_elsewhere, plugins
from ast_experiments.config.schema.fields import STRICT
from ast_experiments.core.errors import ConfigError


class Choices(Mapping[str, type]):
    """The choices of a group by name, each with the strict dataclass of its settings.

    The names are those of the group's yaml files and of the entry points of installed packages; a module of any other
    package, `my_package.easiest`, can be looked up too. What is built is imported when its choice is looked up.

    Args:
        group: Name of the group.
        settings: Called with the name of a choice; returns the dataclass of the settings that it shares with others,
            and the type of each argument of what is built.
    """

    def __init__(self, group: str, settings: Callable[[str], tuple[type, Mapping[str, Any]]]) -> None:
        self._group, self._settings = group, settings
        self._made: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        if name not in self:
            raise KeyError(name)
        if name not in self._made:
            base, arguments = self._settings(name)
            shared = {field.name for field in fields(base)}
            own = {key: kind for key, kind in arguments.items() if key not in shared}
            for key, kind in own.items():
                _check_type(f"{self._group}={name}: the setting {key}", kind)
            body = {
                "__annotations__": own,
                "__doc__": f"Settings of {self._group}={name}.",
                "__module__": __name__,
            }
            made = type(f"{name}_settings", (base,), body)
            self._made[name] = dataclass(config=STRICT, frozen=True, kw_only=True)(made)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (is_elsewhere(self._group, name) or name in self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return sorted({file.stem for file in (CONF / self._group).glob("*.yaml")} | plugins(self._group))


def _check_type(setting: str, kind: Any) -> None:
    try:
        TypeAdapter(kind)
    except PydanticUserError as error:
        raise ConfigError(
            f"{setting} has the type {getattr(kind, '__name__', kind)}; expected a number, a bool, text or a list"
        ) from error


def arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the type of each argument of a function, without `*args` and `**kwargs`."""
    hints = get_type_hints(function, include_extras=True)
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.items()
    return {name: hints[name] for name, parameter in parameters if parameter.kind not in various}
