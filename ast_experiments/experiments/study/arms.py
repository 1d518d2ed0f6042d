"""The arms of a study: the notation `methods=[...]`, and the config of each arm."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ast_experiments.comparison.levers import LEVERS
from ast_experiments.config.compose import compose
from ast_experiments.config.validate import nearest, validate
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.directory import folder_name

if TYPE_CHECKING:
    from ast_experiments.config.schema import Config

RESERVED = {
    "method": "list the methods, as methods=[ast,rs2]",
    "seed": "type seeds=5, or seeds=[3,4,5]",
    "group": "the study's name is the group; type name=NAME",
    "sweep": "a study compares arms; type e.g. methods=[ast:rate=0.2,ast:rate=0.4]",
    "hydra": "a study names its directories itself; type name=NAME",
    "max_steps": "a study compares whole runs; type recipe.epochs=N",
    "debug": "a study compares whole runs; try an arm with ast-train first",
}
"""Settings that a study controls itself, and what to type instead."""

TRIAL_HOLDOUT = 0.1
"""Share of the training samples that trials hold out, where the study holds out none."""

_ARM_SETTING = re.compile(
    r"(method\.\w+|(controller|significance)(\.\w+)?|"
    r"recipe\.(epochs|lr|warmup_epochs|progressive_resizing|batch_growth))(\.\w+)?=.+"
)


@dataclass(frozen=True, slots=True)
class Arm:
    """A method with its settings.

    Attributes:
        label: Name in tables and reports.
        method: Choice of `method`.
        overrides: Settings of this arm alone.
        baseline_for: For a baseline, the arms it was created for: `dense_shorter:LABEL`, `rs2:LABEL` or
            `rs2_same_schedule:LABEL`.
    """

    label: str
    method: str
    overrides: tuple[str, ...] = ()
    baseline_for: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Name of the arm's directory."""
        return folder_name(self.label)


DENSE = Arm("dense", "dense")


def parse_methods(text: str) -> list[Arm]:
    """Parses `[ast,infobatch]` into arms; an entry may have settings, as in `ast:rate=0.2:controller=quantile`.

    A key without a dot is a setting of the method. Spaces work as colons.

    Raises:
        ConfigError: If an entry cannot be parsed, or sets something that all arms must share.
    """
    arms = [_parse_arm(entry) for entry in _entries("methods", text, "[ast,infobatch,random]")]
    if not arms:
        raise ConfigError("methods: the list is empty; type e.g. methods=[ast,infobatch,random]")
    return list(dict.fromkeys(arms))


def parse_baselines(text: str, arms: Iterable[Arm]) -> tuple[str, ...]:
    """Parses which methods get baselines of their own: `[ast]` for every arm of a method, `[ast:rate=0.2]` for one arm.

    Args:
        text: A list, which may be empty.
        arms: Those of the study.

    Returns:
        Names of methods and labels of arms.

    Raises:
        ConfigError: If an entry is neither.
    """
    methods = [arm for arm in arms if arm.method != DENSE.method]
    known = {arm.method for arm in methods} | {arm.label for arm in methods}
    names = []
    for entry in _entries("baselines", text, "[ast]"):
        name = " ".join(part.removeprefix("method.") for part in re.split(r"[\s:]+", entry))
        if name not in known:
            options = nearest(as_typed(name), map(as_typed, known))
            raise ConfigError(f"baselines: {entry!r} is none of the methods that can have baselines{options}")
        names.append(name)
    return tuple(dict.fromkeys(names))


def as_typed(label: str) -> str:
    """Returns the label of an arm as `methods=` takes it."""
    return label.replace(" ", ":")


def _entries(key: str, text: str, example: str) -> list[str]:
    inside = text.strip()
    if inside.startswith("[") != inside.endswith("]") or inside.count("[") != inside.count("]"):
        raise ConfigError(f"{key}={text}: a bracket is missing; type e.g. {key}={example}")
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    entries = [entry.strip(" '\"") for entry in re.findall(r"(?:\[[^\]]*\]|[^,\[\]])+", inside)]
    return [entry for entry in entries if entry]


def _parse_arm(entry: str) -> Arm:
    method, *settings = re.split(r"[\s:]+", entry)
    if not method.isidentifier():
        raise ConfigError(f"methods: {entry!r} does not begin with a method; type e.g. methods=[ast,ast:rate=0.2]")
    full = [s if "." in s.split("=")[0] or s.startswith(("controller=", "significance=")) else f"method.{s}"
            for s in settings]  # fmt: skip
    for setting in full:
        if not _ARM_SETTING.fullmatch(setting):
            raise ConfigError(
                f"methods: {setting} in {entry!r}: expected KEY=VALUE of method, controller, significance, "
                "recipe.epochs, .lr, .warmup_epochs, .progressive_resizing or .batch_growth; "
                "type settings that all arms share outside methods="
            )
    # A setting within a mapping that may be null has to be added.
    within = tuple(f"{lever}." for lever in LEVERS)
    overrides = tuple(f"+{s}" if s.startswith(within) else s for s in full)
    return Arm(" ".join([method, *(s.removeprefix("method.") for s in full)]), method, overrides)


def with_dense(methods: Iterable[Arm]) -> tuple[Arm, ...]:
    """Puts the dense reference before the methods, each arm once."""
    return tuple(dict.fromkeys([DENSE, *methods]))


def check_common(common: Sequence[str]) -> None:
    """Refuses shared overrides that a study controls itself.

    Raises:
        ConfigError: About the first of them.
    """
    for override in common:
        key, found, _ = override.partition("=")
        key = key.lstrip("+~")
        if not found and not override.startswith("~"):
            raise ConfigError(f"{override}: expected KEY=VALUE, in quotes if the value contains spaces")
        reserved = "hydra" if key.startswith("hydra.") else key
        if reserved in RESERVED:
            raise ConfigError(f"{override}: {RESERVED[reserved]}")


def arm_config(common: Sequence[str], arm: Arm) -> Config:
    """Composes and checks the config of an arm.

    An experiment or a shared override may set values of its own method. Another method takes over only the target rate
    and what was set about its schedule, so that all arms have one target rate unless they set their own. Baselines take
    over nothing.

    Raises:
        ConfigError: If the settings do not compose.
    """
    own = [override for override in arm.overrides if override.startswith("method.")]
    base = compose([*common, *(override for override in arm.overrides if override not in own)])
    if base.method.name == arm.method and not arm.baseline_for:
        return validate(compose([*common, *arm.overrides]) if own else base)
    from omegaconf import OmegaConf

    from ast_experiments.config.plugins import choice_values
    from ast_experiments.config.presets import RATES

    method = compose(["~experiment", f"method={arm.method}", *own]).method
    if not arm.baseline_for:
        given = {re.split("[.=]", override)[1] for override in own}
        default = choice_values("method", base.method.name) or {}
        for key in RATES:
            adopted = key == "rate" or base.method.get(key) != default.get(key)
            if adopted and key in base.method and key in method and key not in given:
                OmegaConf.update(method, key, base.method[key])
    OmegaConf.update(base, "method", method, merge=False)
    return validate(base)


def run_config(
    config: Config, *, study: str, seed: int, lr: float | None, tags: Iterable[str], console: bool
) -> Config:
    """Derives the config of one run from that of its arm.

    Args:
        config: Of the arm.
        study: Name of the study, which becomes the run's group.
        seed: Of the run.
        lr: Learning rate; None for the recipe's own.
        tags: Added to those of the arm.
        console: Whether the run may print.
    """
    changes: dict[str, Any] = {"seed": seed, "group": study, "tags": [*config.tags, *tags]}
    if lr is not None:
        changes["recipe"] = dataclasses.replace(config.recipe, lr=lr)
    if not console:
        changes["tracking"] = dataclasses.replace(config.tracking, console=False)
    return dataclasses.replace(config, **changes)


def trial_config(config: Config) -> Config:
    """Returns the config of a trial: validated on held-out training samples, so that tuning never sees the test set."""
    return dataclasses.replace(config, holdout=config.holdout or TRIAL_HOLDOUT, eval_on="holdout")
