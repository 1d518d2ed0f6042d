"""The search space: ranges and choices as the user types them. Every end is checked before the search starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ast_experiments.config.checks import check
from ast_experiments.config.compose import list_values, load_config
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

    from ast_experiments.config.schema import Config

RESERVED = {
    "hydra": "a search names its directories itself; type name=NAME",
    "sweep": "a search has ranges instead; type e.g. method.rate=0.1..0.6",
    "group": "the search's name is the group; type name=NAME",
}
"""Settings that a search controls itself, and what to type instead."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")
_LIKE_A_RANGE = re.compile(r"(?!\.\.)[^/\\'\"\s]*\.\.[^/\\'\"\s]*")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both included.

    Attributes:
        key: The setting.
        low: Smallest value; an int if the setting is one.
        high: Largest value.
        log: Search on a logarithmic scale.
    """

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def extremes(self) -> tuple[str, ...]:
        """Values to check before the search starts, as typed."""
        return repr(self.low), repr(self.high)

    def suggest(self, trial: Trial) -> str:
        """Returns the value that a trial draws, as typed."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(self.key, self.low, self.high, log=self.log))
        return repr(trial.suggest_float(self.key, self.low, self.high, log=self.log))


@dataclass(frozen=True, slots=True)
class Categorical:
    """Values without an order: of a setting, or choices of a group.

    Attributes:
        key: The setting or group.
        choices: The values, as typed.
    """

    key: str
    choices: tuple[str, ...]

    @property
    def extremes(self) -> tuple[str, ...]:
        """Values to check before the search starts, as typed: all of them."""
        return self.choices

    def suggest(self, trial: Trial) -> str:
        """Returns the value that a trial draws, as typed."""
        return str(trial.suggest_categorical(self.key, self.choices))


Dimension = Range | Categorical


def parse_space(arguments: Iterable[str]) -> tuple[list[Dimension], list[str]]:
    """Splits command-line arguments into the search space and the overrides that all trials share.

    Dimensions are `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log` and `KEY=A,B,C`.

    Raises:
        ConfigError: If a dimension is wrong, or there is none.
    """
    space: list[Dimension] = []
    common = []
    for argument in arguments:
        key, given, value = argument.partition("=")
        if not given and not argument.startswith("~"):
            raise ConfigError(f"{argument}: expected KEY=VALUE, in quotes if the value contains spaces")
        group = re.split(r"[./]", key.lstrip("+~"))[0]
        if group in RESERVED:
            raise ConfigError(f"{argument}: {RESERVED[group]}")
        dimension = _parse_dimension(argument, key, value)
        if dimension is None:
            common.append(argument)
        elif key == "seed":
            raise ConfigError(f"{argument}: the best seed is luck; type seed=N, and `sweep=seeds` to see its effect")
        else:
            space.append(dimension)
    keys = [each.key for each in space] + [each.partition("=")[0].lstrip("+") for each in common]
    twice = next((each.key for each in space if keys.count(each.key) > 1), None)
    if twice:
        raise ConfigError(f"{twice}: is given several times; type it once")
    if not space:
        raise ConfigError("the search space is empty; type e.g. recipe.lr=1e-4..1e-1:log or method.rate=0.1..0.6")
    return space, common


def _parse_dimension(argument: str, key: str, value: str) -> Dimension | None:
    if _LIKE_A_RANGE.fullmatch(value):
        return _parse_range(argument, key, value)
    try:
        values = list_values(argument)
    except ConfigError:
        raise ConfigError(f"{argument}: expected {key}=LOW..HIGH, {key}=LOW..HIGH:log or {key}=A,B,C") from None
    return Categorical(key, tuple(values)) if values else None


def _parse_range(argument: str, key: str, value: str) -> Range:
    found = _RANGE.fullmatch(value)
    if found is None:
        raise ConfigError(f"{argument}: expected numbers, {key}=LOW..HIGH or {key}=LOW..HIGH:log")
    low, high = (float(end) for end in found.groups()[:2])
    if not low < high < float("inf"):
        raise ConfigError(f"{argument}: the low end comes first; type {key}={found[2]}..{found[1]}")
    if found[3] and low <= 0:
        raise ConfigError(f"{argument}: a log range begins above 0; type e.g. {key}={high / 1e3:g}..{high:g}:log")
    whole = all(re.fullmatch(r"[+-]?\d+", end) for end in found.groups()[:2])
    return Range(key, *((int(low), int(high)) if whole else (low, high)), log=bool(found[3]))


def trial_overrides(common: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Returns the overrides from which `ast-train` makes the run of a trial."""
    return [*common, *(f"{key}={value}" for key, value in values.items())]


def trial_config(common: Sequence[str], values: Mapping[str, str]) -> Config:
    """Composes and checks the config of a trial.

    Raises:
        ConfigError: If a setting is wrong, or settings contradict each other.
    """
    config = load_config(trial_overrides(common, values))
    check(config)
    return config


def check_space(space: Sequence[Dimension], common: Sequence[str]) -> list[Dimension]:
    """Composes a config for every extreme of every dimension, with the first extremes of the others.

    Returns:
        The dimensions; a range holds ints exactly if the schema declares its setting as int.

    Raises:
        ConfigError: About the first value that is wrong.
    """
    first = {each.key: each.extremes[0] for each in space}
    base = trial_config(common, first)
    for each in space:
        for value in each.extremes[1:]:
            trial_config(common, first | {each.key: value})
    return [_typed_range(each, base) if isinstance(each, Range) else each for each in space]


def _typed_range(found: Range, config: Config) -> Range:
    """Converts the ends of a range to the type that the schema gave its low end."""
    value: Any = config
    for part in found.key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{found.key}: is not a number; type its values, e.g. {found.key}=A,B")
    if isinstance(value, int):
        return found
    return Range(found.key, float(found.low), float(found.high), found.log)
