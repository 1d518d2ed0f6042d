"""Adapts an experiment preset when the user replaces one of its choices: settings of the old choice are dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ast_experiments.config.groups import CONF, read_choice
from ast_experiments.config.plugins import choice_values

REPLACEABLE = ("dataset", "model", "method", "controller", "significance")
RATES = ("rate", "rate_schedule", "rate_final", "warmup_epochs", "final_epochs", "budget")
"""Settings that mean the same for every method that has them."""


def adapt_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides, and more that undo the experiment's settings for choices that the user replaced.

    `experiment=cifar10_published method=dense` compares a method with its reference; but the experiment sets
    `method.pick`, which `dense` does not have. Settings that the new choice does not have are deleted. Of a method,
    settings other than the rates return to the new choice's own values. Settings that the user typed stay as typed, so
    overrides that are adapted stay as they are.

    Args:
        overrides: As on the command line, for one job.
    """
    typed = {key.lstrip("+~"): value for key, _, value in (override.partition("=") for override in overrides)}
    file = CONF / "experiment" / f"{typed.get('experiment')}.yaml"
    if not file.is_file() or not any(group in typed for group in REPLACEABLE):
        return list(overrides)
    experiment = read_choice(file)
    added = []
    for group in REPLACEABLE:
        values = choice_values(group, typed[group]) if group in typed else None
        if values is not None and _choice(experiment, group) != typed[group]:
            own = dict(_leaves(values))
            keys = [key for key, _ in _leaves(experiment.get(group) or {}) if f"{group}.{key}" not in typed]
            added += [f"~{group}.{key}" for key in keys if key not in own]
            if group == "method":
                keys = [key for key in keys if key in own and key.partition(".")[0] not in RATES]
                added += [f"{group}.{key}={json.dumps(own[key])}" for key in keys]
    return [*overrides, *added]


def _choice(experiment: Mapping[str, Any], group: str) -> str | None:
    """Returns an experiment's own choice of a group."""
    key = f"override /{group}"
    return next((default[key] for default in experiment.get("defaults", ()) if key in default), None)


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted keys and values."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
