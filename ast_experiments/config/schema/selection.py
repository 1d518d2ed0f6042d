"""Methods, controllers and significances: the settings of each are the keyword arguments of what is built."""

from __future__ import annotations

from typing import Any

from ast_experiments.config.schema.choices import Choices
from ast_experiments.config.schema.rates import Named, Rated
from ast_experiments.selection.find import find, settings_of


def _choices(group: str) -> Choices:
    def settings(name: str) -> tuple[type, dict[str, Any]]:
        target = find(group, name)
        base = Rated if getattr(target, "rate", None) is not None else Named
        return base, {key: setting.type for key, setting in settings_of(target).items()}

    return Choices(group, settings)


METHODS, CONTROLLERS, SIGNIFICANCES = _choices("method"), _choices("controller"), _choices("significance")
