"""Schemas of data sets and networks, derived from the functions that load or build them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

from pydantic.dataclasses import dataclass

from ast_experiments.config.groups import CONF
from ast_experiments.config.schema.fields import STRICT, Choice


class Derived(Mapping[str, Choice]):
    """The choices of a group: one for each of its yaml files. A choice is imported when it is looked up.

    Args:
        group: Name of the group.
        place: Returns where a choice is built, `module:function`.
        function: Imports the function of a choice. Its arguments are settings, annotated with types and ranges.
        base: Returns the dataclass of the settings that a choice shares with others.
        given: Arguments that are no settings.
    """

    def __init__(
        self,
        group: str,
        place: Callable[[str], str],
        function: Callable[[str], Callable[..., Any]],
        base: Callable[[str], type],
        given: tuple[str, ...] = (),
    ) -> None:
        self._group, self._place, self._function, self._base, self._given = group, place, function, base, given

    def __getitem__(self, name: str) -> Choice:
        if name not in self._names():
            raise KeyError(name)
        base = self._base(name)
        known = {*self._given, *(field.name for field in fields(base))}
        own = {key: kind for key, kind in arguments(self._function(name)).items() if key not in known}
        return Choice(_schema(base, tuple(own.items())), self._place(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return sorted(file.stem for file in (CONF / self._group).glob("*.yaml"))


def arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the type of each argument of a function, without `*args` and `**kwargs`."""
    hints = get_type_hints(function, include_extras=True)
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.items()
    return {name: hints[name] for name, parameter in parameters if parameter.kind not in various}


@cache
def _schema(base: type, own: tuple[tuple[str, Any], ...]) -> type:
    """Returns the strict dataclass of some settings; choices with the same settings share it."""
    if not own:
        return base
    body = {"__annotations__": dict(own), "__module__": __name__}
    return dataclass(config=STRICT, frozen=True, kw_only=True)(type("Settings", (base,), body))
