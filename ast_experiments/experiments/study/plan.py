"""What a study is: which arms, which seeds, and the config of each arm."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ast_experiments.config.compose import compose, typed
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from ast_experiments.config.schema import Config

COSTS = ("auto", "joules", "seconds", "flops", "samples")
RESERVED = {
    "method": "name methods in methods=[...]",
    "seed": "type seeds=5, or seeds=[3,4,5]",
    "group": "the study's name is the group; type name=NAME",
    "sweep": "a study has arms; type e.g. methods=[ast:rate=0.2,ast:rate=0.4]",
    "hydra": "a study makes its own directories; type name=NAME",
    "max_steps": "a study compares whole runs; type recipe.epochs=N",
    "debug": "a study compares whole runs; try an arm with ast-train first",
}
"""Settings that a study has no use for, and what to type instead."""

_OWN = re.compile(r"(method\.\w+|(controller|significance)(\.\w+)?|recipe\.(epochs|lr|warmup_epochs))(\.\w+)?=.+")


@dataclass(frozen=True, slots=True)
class Arm:
    """A method with its settings.

    Attributes:
        label: What it is called.
        method: The choice.
        overrides: Settings of its own.
        serves: Of a baseline, what it is for: `dense_shorter:LABEL` or `rs2:LABEL`.
    """

    label: str
    method: str
    overrides: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of its directory."""
        return fit(self.label)


DENSE = Arm("dense", "dense")


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked for.

    Attributes:
        name: Of the study.
        common: Overrides for all arms.
        arms: The dense reference, then the methods.
        seeds: In order.
        lr_trials: Learning rates to try for each arm; 0 for none.
        cost: What the baselines are to cost the same in, one of `COSTS`.
    """

    name: str
    common: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    lr_trials: int = 0
    cost: str = "auto"


def fit(text: str) -> str:
    """A text made fit for the name of a directory."""
    return re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text).strip("-.")


def check_name(name: str) -> str:
    """The name of a directory, as typed.

    Raises:
        ConfigError: If it is empty or has characters that do not belong in one.
    """
    if not name or fit(name) != name:
        raise ConfigError(f"name={name}: letters, digits and . _ = , + - only; type e.g. name={fit(name) or 'NAME'}")
    return name


def parse_methods(text: str) -> list[Arm]:
    """Arms from `[ast,infobatch]`; an entry may have settings, as in `ast:rate=0.2:controller=quantile`.

    A key without a dot is one of the method. Spaces serve as colons.

    Raises:
        ConfigError: If an entry cannot be read, or has a setting that must be the same for all arms.
    """
    inside = text.strip()
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    entries = [entry.strip(" '\"") for entry in re.findall(r"(?:\[[^\]]*\]|[^,\[\]])+", inside)]
    arms = [_arm(entry) for entry in entries if entry]
    if not arms:
        raise ConfigError("methods: names nothing; type e.g. methods=[ast,infobatch,random]")
    return list(dict.fromkeys(arms))


def _arm(entry: str) -> Arm:
    method, *settings = re.split(r"[\s:]+", entry)
    if not method.isidentifier():
        raise ConfigError(f"methods: {entry!r} begins with no method; type e.g. methods=[ast,ast:rate=0.2]")
    full = [s if "." in s.split("=")[0] or s.startswith(("controller=", "significance=")) else f"method.{s}"
            for s in settings]  # fmt: skip
    for setting in full:
        if not _OWN.fullmatch(setting):
            raise ConfigError(
                f"methods: {setting} in {entry!r}: expected KEY=VALUE of method, controller, significance, "
                "recipe.epochs, recipe.lr or recipe.warmup_epochs; what all arms share is typed beside methods="
            )
    return Arm(" ".join([method, *(s.removeprefix("method.") for s in full)]), method, tuple(full))


def arms_of(methods: Iterable[Arm]) -> tuple[Arm, ...]:
    """All arms that are asked for: the dense reference always, and first."""
    return tuple(dict.fromkeys([DENSE, *methods]))


def check_common(common: Sequence[str]) -> None:
    """Refuse settings that a study makes itself.

    Raises:
        ConfigError: About the first of them.
    """
    for override in common:
        key, found, _ = override.partition("=")
        key = key.lstrip("+~")
        if not found and not override.startswith("~"):
            raise ConfigError(f"{override}: expected KEY=VALUE, and quotes around what holds spaces")
        reserved = "hydra" if key.startswith("hydra.") else key
        if reserved in RESERVED:
            raise ConfigError(f"{override}: {RESERVED[reserved]}")


def default_name(common: Sequence[str]) -> str:
    """A name that the same settings give again."""
    chosen = {key: value for key, _, value in (override.partition("=") for override in common)}
    label = chosen.get("experiment") or chosen.get("dataset") or "digits"
    return f"{fit(label)}-{hashlib.sha256(' '.join(common).encode()).hexdigest()[:6]}"


def config_of(common: Sequence[str], arm: Arm) -> Config:
    """The checked config of an arm.

    What an experiment, or a common override, sets for its own method holds for another method only as far as rates
    go: all arms have one target rate unless they say otherwise. Baselines take nothing from it.

    Raises:
        ConfigError: If the settings do not compose.
    """
    own = [override for override in arm.overrides if override.startswith("method.")]
    base = compose([*common, *(override for override in arm.overrides if override not in own)])
    if base.method.name == arm.method and not arm.serves:
        return typed(compose([*common, *arm.overrides]) if own else base)
    from omegaconf import OmegaConf

    from ast_experiments.runs.build import SETPOINT

    method = compose(["~experiment", f"method={arm.method}", *own]).method
    if not arm.serves:
        given = {re.split("[.=]", override)[1] for override in own}
        for key in SETPOINT:
            if key in base.method and key in method and key not in given:
                OmegaConf.update(method, key, base.method[key])
    OmegaConf.update(base, "method", method, merge=False)
    return typed(base)


def run_config(
    config: Config, *, study: str, seed: int, lr: float | None, tags: Iterable[str], console: bool
) -> Config:
    """The config of one run of an arm."""
    changes: dict[str, Any] = {"seed": seed, "group": study, "tags": [*config.tags, *tags]}
    if lr is not None:
        changes["recipe"] = dataclasses.replace(config.recipe, lr=lr)
    if not console:
        changes["tracking"] = dataclasses.replace(config.tracking, console=False)
    return dataclasses.replace(config, **changes)
