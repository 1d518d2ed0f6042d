"""What is searched: ranges of numbers, and choices, as they are typed; each end is checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ast_experiments.config.compose import CONF, check, compose, typed
from ast_experiments.config.presets import fitted
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

    from ast_experiments.config.schema import Config

RESERVED = {
    "hydra": "a search makes its own directories; type name=NAME",
    "sweep": "a search has ranges of its own; type e.g. method.rate=0.1..0.6",
    "group": "the search's name is the group; type name=NAME",
}
"""Settings that a search has no use for, and what to type instead."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")
_LIKE_A_RANGE = re.compile(r"(?!\.\.)[^/\\'\"\s]*\.\.[^/\\'\"\s]*")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both included.

    Attributes:
        key: The setting.
        low: Least value; an int where the setting is one.
        high: Largest value.
        log: Whether to look at all orders of magnitude alike.
    """

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """Values to check, as typed."""
        return repr(self.low), repr(self.high)

    def suggest(self, trial: Trial) -> str:
        """The value of a trial, as typed."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(self.key, self.low, self.high, log=self.log))
        return repr(trial.suggest_float(self.key, self.low, self.high, log=self.log))


@dataclass(frozen=True, slots=True)
class OneOf:
    """Values of a setting, or choices of a group, without an order.

    Attributes:
        key: The setting.
        ends: The values, as typed.
    """

    key: str
    ends: tuple[str, ...]

    def suggest(self, trial: Trial) -> str:
        """The value of a trial, as typed."""
        return str(trial.suggest_categorical(self.key, self.ends))


Dimension = Range | OneOf


def parse(arguments: Iterable[str]) -> tuple[list[Dimension], list[str]]:
    """Splits a command line into what is searched and what holds for every trial.

    Searched are `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log` and `KEY=A,B,C`.

    Raises:
        ConfigError: If a range cannot be, or nothing is searched.
    """
    searched: list[Dimension] = []
    common = []
    for argument in arguments:
        key, given, value = argument.partition("=")
        if not given and not argument.startswith("~"):
            raise ConfigError(f"{argument}: expected KEY=VALUE, and quotes around what holds spaces")
        group = re.split(r"[./]", key.lstrip("+~"))[0]
        if group in RESERVED:
            raise ConfigError(f"{argument}: {RESERVED[group]}")
        dimension = _dimension(argument, key, value)
        if dimension is None:
            common.append(argument)
        elif key == "seed":
            raise ConfigError(f"{argument}: the best seed is luck; type seed=N, and `sweep=seeds` to see what it makes")
        else:
            searched.append(dimension)
    keys = [each.key for each in searched] + [each.partition("=")[0].lstrip("+") for each in common]
    twice = next((each.key for each in searched if keys.count(each.key) > 1), None)
    if twice:
        raise ConfigError(f"{twice}: is given several times; type it once")
    if not searched:
        raise ConfigError("nothing is searched; type a range, e.g. recipe.lr=1e-4..1e-1:log or method.rate=0.1..0.6")
    return searched, common


def _dimension(argument: str, key: str, value: str) -> Dimension | None:
    if _LIKE_A_RANGE.fullmatch(value):
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
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(argument)
        if override.is_sweep_override():
            if not isinstance(override.value(), ChoiceSweep):
                raise ConfigError(f"{argument}: expected {key}=LOW..HIGH, {key}=LOW..HIGH:log or {key}=A,B,C")
            return OneOf(key, tuple(dict.fromkeys(override.sweep_string_iterator())))
    except HydraException:
        pass  # composing says what is wrong with it
    return None


def overrides_of(common: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """What `ast-train` makes the same run from."""
    return fitted([*common, *(f"{key}={value}" for key, value in values.items())], CONF)


def config_of(common: Sequence[str], values: Mapping[str, str]) -> Config:
    """The checked config of a trial.

    Raises:
        ConfigError: If the settings do not go together.
    """
    config = typed(compose(overrides_of(common, values)))
    check(config)
    return config


def checked(searched: Sequence[Dimension], common: Sequence[str]) -> list[Dimension]:
    """The dimensions, ranges of whole numbers told by the schema, after every end was checked beside first ends.

    Raises:
        ConfigError: About the first end that is wrong.
    """
    first = {each.key: each.ends[0] for each in searched}
    base = config_of(common, first)
    for each in searched:
        for end in each.ends[1:]:
            config_of(common, first | {each.key: end})
    return [_numeric(each, base) if isinstance(each, Range) else each for each in searched]


def _numeric(found: Range, config: Config) -> Range:
    """The range as the schema reads its low end: of whole numbers or not."""
    value: Any = config
    for part in found.key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{found.key}: is not a number; type values, e.g. {found.key}=A,B")
    if isinstance(value, int):
        return found
    return Range(found.key, float(found.low), float(found.high), found.log)
