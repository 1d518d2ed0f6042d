"""Checks composed settings against the schema, with one line for each error, and resolves them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.text import EXPECTED, expectation

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ast_experiments.config.schema import Config

MOST_LINES = 3
"""Most lines of one error."""


def validate(cfg: DictConfig) -> Config:
    """Returns the typed config of one run, with settings that are left to the model filled in.

    Raises:
        ConfigError: One line for each setting that is unknown, has the wrong type or is out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from ast_experiments.config.resolve import resolve
    from ast_experiments.config.schema import CHOICES, SHARED, Config, RunConfig

    try:
        settings: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error)) from error
    except RecursionError as error:
        raise ConfigError("the settings refer to each other in a circle; see those with ${...}") from error
    settings = {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}
    # First what needs no import of torch, so that an error there comes at once.
    for group, schema in SHARED.items():
        settings[group] = _build(schema, settings.get(group), group, f"this {group}")
    own = {key: value for key, value in settings.items() if key not in CHOICES and key not in SHARED}
    _build(RunConfig, own, "", "the config", Config)
    for group, choices in CHOICES.items():
        node = settings.get(group)
        name = node.get("name") if isinstance(node, dict) else None
        if not isinstance(name, str) or name not in choices:
            raise ConfigError(f"{group}: {name!r} is not a choice{nearest(str(name), choices)}")
        settings[group] = _build(choices[name], node, group, f"{group}={name}")
    return resolve(_build(Config, settings, "", "the config"))


def nearest(name: str, options: Iterable[str]) -> str:
    """Returns the end of an error message that lists the options, those most similar to `name` first."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    text = f"; nearest: {', '.join(close)}" if close else ""
    return f"{text}; there are: {', '.join(options)}" if options else text


def first_line(error: Exception) -> str:
    """Returns the first line of an error of Hydra or OmegaConf, after the key that it is about."""
    text = str(error) or str(error.__cause__ or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")), "")
    return f"{key}: {lines[0]}" if key and lines else (lines[0] if lines else type(error).__name__)


def _build(schema: type, values: Any, prefix: str, label: str, listed: type | None = None) -> Any:
    """Builds settings; `listed` is the dataclass whose settings a message lists, `schema` itself if None."""
    from pydantic import ValidationError

    if not isinstance(values, dict):
        raise ConfigError(f"{prefix}: {values!r} is wrong; type {prefix}=NAME to select a choice")
    try:
        return schema(**{str(key): value for key, value in values.items()})
    except ValidationError as error:
        names = [field.name for field in dataclasses.fields(listed or schema) if field.name != "name"]
        lines = [_explain(detail, prefix, label, names) for detail in _joined(error.errors(), _unions(schema))]
        lines = list(dict.fromkeys(lines))
        if len(lines) > MOST_LINES:
            lines[MOST_LINES - 1 :] = [f"and {len(lines) - MOST_LINES + 1} more wrong settings"]
        raise ConfigError("\n".join(lines)) from error


def _unions(schema: Any) -> frozenset[str]:
    """Returns the settings of several types, such as `int | str | None`; null alone makes no union."""
    found = set()
    for name, field in schema.__pydantic_fields__.items():
        members = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else ()
        if len([member for member in members if member is not NoneType]) > 1:
            found.add(name)
    return frozenset(found)


def _joined(errors: Sequence[Any], unions: frozenset[str]) -> list[dict[str, Any]]:
    """Makes one error of those of a union, which pydantic lists for each member, named behind the setting."""
    joined: dict[Any, dict[str, Any]] = {}
    for detail in errors:
        loc = detail["loc"]
        if not loc or loc[0] not in unions:
            joined[id(detail)] = dict(detail)
        elif loc[0] not in joined:
            joined[loc[0]] = {**detail, "loc": loc[:1]}
        else:
            joined[loc[0]]["type"] = "union"
            joined[loc[0]]["msg"] += f" or {detail['msg'].removeprefix(EXPECTED)}"
    return list(joined.values())


def _explain(detail: Mapping[str, Any] | Any, prefix: str, label: str, names: list[str]) -> str:
    """Words one of pydantic's errors."""
    key = ".".join(str(part) for part in (prefix, *detail["loc"]) if part != "")
    kind = detail["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: no such setting of {label}{nearest(str(detail['loc'][-1]), names)}"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key}: is missing; {label} needs it"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "list_type" and isinstance(detail["input"], str | int):
        return f"{key}: a list is expected; type '{key}=[{detail['input']}]'"
    return f"{key}: {detail['input']!r} is wrong; {expectation(detail)}"
