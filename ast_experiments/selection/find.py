"""Finds methods, controllers and significances by the name of their choice.

A choice `easiest` is, in this order:

* the entry point of that name in the group `ast_experiments.methods` (`.controllers`, `.significances`) of an installed
  package,
* the module of that name in `ast_experiments.selection.methods` (`.control`, `.significance`).

A name with a dot is a module of any package, `my_package.easiest`, or one of several in it, `my_package.easiest:Easy`.
A method's module defines one subclass of `Method`, a controller's one of `Controller`, and a significance's module a
function of the module's name.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

from ast_experiments.core.errors import ConfigError

PACKAGES: Mapping[str, str] = {
    "method": "ast_experiments.selection.methods",
    "controller": "ast_experiments.selection.control",
    "significance": "ast_experiments.selection.significance",
}
"""Package of each group."""
BUILT = ("controller", "significance")
"""Arguments of a method that the run builds: choices of their own."""


class Setting(NamedTuple):
    """A keyword argument of a method, controller or significance.

    Attributes:
        type: Its annotation, with the range.
        default: Its default; `MISSING` without one.
    """

    type: Any
    default: Any


MISSING = inspect.Parameter.empty
"""Default of an argument without one."""


@cache
def find(group: str, name: str) -> Callable[..., Any]:
    """Returns the class or function of a choice.

    Args:
        group: `method`, `controller` or `significance`.
        name: The choice.

    Raises:
        ConfigError: If there is none or it is not what the group needs.
        UserError: If a method has a misspelt hook or one that takes other arguments.
    """
    found: Any
    points = [point for point in entry_points(group=f"ast_experiments.{group}s") if point.name == name]
    if points:
        found = points[0].load()
        found = _of_module(group, name, found) if isinstance(found, ModuleType) else found
    elif "." in name:
        if not all(part.isidentifier() for part in name.replace(":", ".").split(".")):
            raise ConfigError(f"{group}={name}: is no name of a module; type e.g. {group}=my_package.my_module")
        module, _, attribute = name.partition(":")
        there = _imported(group, name, module)
        if attribute and not hasattr(there, attribute):
            raise ConfigError(f"{group}={name}: the module {module} has no {attribute}")
        found = getattr(there, attribute) if attribute else _of_module(group, name, there)
    else:
        found = _of_module(group, name, _imported(group, name, f"{PACKAGES[group]}.{name}"))
    base = _base(group)
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{group}={name}: {found!r} is no subclass of {base.__module__}.{base.__name__}")
    if group == "method":
        from ast_experiments.selection.hooks import check_hooks

        check_hooks(found)  # pyright: ignore[reportArgumentType]
    if group == "significance":
        from ast_experiments.selection.significance import inputs_of

        inputs_of(found)
    return found


def settings_of(target: Callable[..., Any]) -> dict[str, Setting]:
    """Returns the settings of a method, controller or significance: its keyword arguments with types and defaults.

    Raises:
        ConfigError: If an argument has no type, or stands for any number of arguments.
    """
    named = f"{target.__module__}.{target.__qualname__}"
    typed = target if not isinstance(target, type) or is_dataclass(target) else target.__init__
    hints = get_type_hints(typed, include_extras=True) if inspect.isfunction(typed) or isinstance(typed, type) else {}
    settings = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name in BUILT or (not isinstance(target, type) and parameter.kind is not parameter.KEYWORD_ONLY):
            continue
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise ConfigError(f"{named}: takes *{name}, which gives no names of settings; name each argument")
        if name not in hints:
            raise ConfigError(f"{named}: the setting {name} has no type; write e.g. {name}: int = 1")
        settings[name] = Setting(hints[name], parameter.default)
    return settings


def _base(group: str) -> type | None:
    """Imports the base class of a group; None for significances, which are functions."""
    if group == "method":
        from ast_experiments.selection.method import Method

        return Method
    if group == "controller":
        from ast_experiments.selection.control.controller import Controller

        return Controller
    return None


def _imported(group: str, name: str, module: str) -> ModuleType:
    if "." in name and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{group}={name}: there is no module {module}; it must be installed or in the current directory"
            ) from error
        raise


def _of_module(group: str, name: str, module: ModuleType) -> Callable[..., Any]:
    base, last = _base(group), module.__name__.rpartition(".")[2]
    if base is None:
        if not inspect.isfunction(getattr(module, last, None)):
            raise ConfigError(f"{group}={name}: the module {module.__name__} defines no function {last}")
        return getattr(module, last)
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    own = [each for each in own if issubclass(each, base)]
    if len(own) == 1:
        return own[0]
    if not own:
        raise ConfigError(f"{group}={name}: the module {module.__name__} defines no subclass of {base.__name__}")
    names = ", ".join(each.__name__ for each in own)
    raise ConfigError(
        f"{group}={name}: the module {module.__name__} defines {names}; type e.g. {group}={name}:{own[-1].__name__}"
    )
