"""An experiment with another choice than its own: what it sets for its own choice alone is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

GROUPS = ("dataset", "model", "method", "controller", "significance")
RATES = ("rate", "rate_schedule", "rate_final", "warmup_epochs", "final_epochs", "budget")
"""What a method's settings have in common with those of another; the rest mean something of their own."""


def fitted(overrides: Sequence[str], conf: Path) -> list[str]:
    """The overrides, and more that take back what an experiment sets for a choice that another was typed for.

    `experiment=cifar10_published method=dense` is a comparison that people type; the experiment sets `method.scoring`,
    which `dense` has not. A setting that the typed choice has not is deleted; of a method, all but the rates go back to
    the choice's own values. A setting that is typed itself is left to the schema, which may refuse it.

    Args:
        overrides: As on the command line.
        conf: Directory of the config groups.
    """
    typed = {key: value for key, _, value in (o.partition("=") for o in overrides)}
    file = conf / "experiment" / f"{typed.get('experiment')}.yaml"
    if not file.is_file() or not any(group in typed for group in GROUPS):
        return list(overrides)
    experiment = {"defaults": [], **_read(file)}
    added = []
    for group in GROUPS:
        file = conf / group / f"{typed.get(group)}.yaml"
        if group not in typed or not file.is_file():
            continue
        own = dict(_leaves(_read(file)))
        own_choice = next((d[f"override /{group}"] for d in experiment["defaults"] if f"override /{group}" in d), None)
        for key, _ in _leaves(experiment.get(group) or {}) if own_choice != typed[group] else ():
            if f"{group}.{key}" in typed:
                continue
            if key not in own:
                added.append(f"~{group}.{key}")
            elif group == "method" and key.partition(".")[0] not in RATES:
                added.append(f"{group}.{key}={json.dumps(own[key])}")
    return [*overrides, *added]


def _read(file: Path) -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    container: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return container


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
