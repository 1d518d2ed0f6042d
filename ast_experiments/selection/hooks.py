"""Checks that a method's hooks are spelt and shaped as those of the base class."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from ast_experiments.core.errors import UserError
from ast_experiments.selection.method import Method

HELPERS = frozenset({"bind", "parts", "random", "permutation", "full_batches", "train", "train_all", "refuse_unused"})
HOOKS = tuple(name for name, value in vars(Method).items() if inspect.isfunction(value) and not name.startswith("_"))


def check_hooks(method: type[Method]) -> None:
    """Refuses a method with a misspelt hook or one that takes other arguments.

    Raises:
        UserError: One line that names the hook and what it should be.
    """
    for owner in method.__mro__:
        if owner is Method:
            break
        for name, value in vars(owner).items():
            if not name.startswith("_"):
                _check(f"{owner.__module__}.{owner.__qualname__}.{name}", name, value)
    missing = sorted(getattr(method, "__abstractmethods__", ()))
    if missing:
        raise UserError(f"{method.__module__}.{method.__qualname__}: has no method {signature(missing[0])}; write it")


def _check(where: str, name: str, value: Any) -> None:
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    if name in HELPERS:
        raise UserError(f"{where}: is a helper of the base class that must stay as it is; use another name")
    if name not in HOOKS:
        near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.75)
        if near and inspect.isfunction(function):
            raise UserError(f"{where}: is no hook of a method; write {signature(near[0])}, or _{name} for a helper")
        return
    if not inspect.isfunction(function):
        raise UserError(f"{where}: must be a method; write {signature(name)}")
    wanted = list(inspect.signature(getattr(Method, name)).parameters)
    given = [None] * (len(wanted) - isinstance(value, staticmethod))
    try:
        inspect.signature(function).bind(*given)
    except TypeError as error:
        raise UserError(f"{where}: takes other arguments than it is given; write {signature(name)}") from error


def signature(hook: str) -> str:
    """Returns how a hook is declared, e.g. `plan(self, epoch, target, history)`."""
    return f"{hook}({', '.join(inspect.signature(getattr(Method, hook)).parameters)})"
