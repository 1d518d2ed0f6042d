"""Rewrites the errors of Hydra and OmegaConf as one line: the key, what is wrong, what to type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from ast_experiments.config.groups import GROUPS, LAUNCHERS, OPTIONAL
from ast_experiments.config.validate import first_line, nearest
from ast_experiments.core.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA_ERRORS = (
    (r"(\w+) appears more than once", "{0}: is already set; drop the +: {0}=NAME"),
    (r"use 'override (\w+):", "{0}: is already set; drop the +: {0}=NAME"),
    (r"Could not append to config\. An item is already at '([^']+)'", "{0}: is already set; type it without the +"),
    (r"Ambiguous value for argument '([^']+)'", "{0}: several values make a sweep; type ast-train -m"),
    (r"Could not delete[^']*'([^']+)'", "{0}: cannot be deleted: it does not exist, or every run needs it"),
    (r"Could not find '([^']+)'", "{0}: no such choice"),
)
"""Patterns of Hydra's messages, and what to print instead."""
SCORINGS = {
    "stale": "ast",
    "gather": "ast_fresh",
    "masked": "ast_masked",
    "fresh": "selective_backprop_fresh",
}
"""Methods that were values of `method.scoring`."""
SPELLINGS = {
    "learning_rate": "lr", "num_epochs": "epochs", "batchsize": "batch_size", "bs": "batch_size", "wd": "weight_decay",
    "num_workers": "workers",
}  # fmt: skip
"""Names that other programs have for settings."""


def explain(error: Exception, overrides: Sequence[str], compose: Callable[[Sequence[str]], DictConfig]) -> str:
    """Returns one line for an error that Hydra or OmegaConf explain in several.

    Args:
        error: Raised while `overrides` were composed.
        overrides: As typed.
        compose: Composes overrides; used to list the settings beside an unknown one.
    """
    from hydra.errors import MissingConfigException

    if line := _of_no_setting(error, overrides):
        return line
    text = f"{error}\n{error.__cause__ or ''}"
    override = getattr(error, "override", None)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error.missing_cfg_file or "", error.options or ())
    if isinstance(override, str):
        blanks = re.search(r"\s=|^[^=]*=\s", override) or any(each.startswith("=") for each in overrides)
        hint = "without blanks around =" if blanks else "with quotes around special characters"
        return f"{override}: cannot be parsed; expected key=value, {hint}"
    if unknown:
        return _unknown_key(unknown.group(1), overrides, compose)
    if "must be a string or a list" in text:
        return _no_choice(overrides)
    matches = ((re.search(pattern, text), line) for pattern, line in HYDRA_ERRORS)
    return next((line.format(match.group(1)) for match, line in matches if match), first_line(error))


def _of_no_setting(error: Exception, overrides: Sequence[str]) -> str | None:
    """Returns a line about an error that a config file or an endless number caused; None for others."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}" if mark else "a config file"
        return f"{where}: is not valid YAML ({getattr(error, 'problem', None) or first_line(error)})"
    if "integer string conversion" in str(error):
        return f"{max(overrides, key=len)[:40]}...: the number has too many digits"
    if isinstance(error, RecursionError):
        return "the config files include each other in a circle; see the defaults of those that you chose or wrote"
    if not isinstance(error, HydraException | OmegaConfBaseException | ValueError):
        return f"the settings do not compose ({type(error).__name__}: {first_line(error)}); type ast-train --help"
    return None


def _unknown_choice(file: str, options: Sequence[str]) -> str:
    group, _, name = str(file).rpartition("/")
    if group == "hydra/launcher" and name in LAUNCHERS:
        return f"{group}={name}: is not installed; type uv sync --inexact --extra {LAUNCHERS[name]}"
    if _defined(group, name):
        return (
            f"{group}={name}: has no config file; write conf/{group}/{name}.yaml with its name and settings, "
            "as CONTRIBUTING.md shows"
        )
    return f"{group}={name}: no such choice{nearest(name, options)}"


def _defined(group: str, name: str) -> bool:
    """Returns whether the package has a choice in Python, right or wrong."""
    from ast_experiments.data.find import loader
    from ast_experiments.models.find import builder
    from ast_experiments.selection.find import PACKAGES, find

    if group in ("method", "significance"):
        return name.isidentifier() and find_spec(f"{PACKAGES[group]}.{name}") is not None
    finders = {"dataset": loader, "model": builder, "controller": partial(find, "controller")}
    try:
        finders[group](name)
    except (KeyError, ImportError, AttributeError, UserError):
        return False
    return True


def _no_choice(overrides: Sequence[str]) -> str:
    pairs = (override.partition("=") for override in overrides)
    wrong = ((key, value) for key, _, value in pairs if (key in GROUPS and not value.isidentifier()) or value == "null")
    group, value = next(wrong, ("group", "?"))
    leave = f", or ~{group} to leave it out" if group in OPTIONAL else ""
    return f"{group}={value}: a group needs a choice; type {group}=NAME{leave}"


def _unknown_key(key: str, overrides: Sequence[str], compose: Callable[[Sequence[str]], DictConfig]) -> str:
    """Lists the settings beside an unknown one."""
    choices = [o for o in overrides if "." not in o.split("=")[0] and o.split("=")[0] in GROUPS]
    parent, _, leaf = key.rpartition(".")
    moved = _moved(key, overrides)
    if moved:
        return moved
    try:
        node = compose(choices)
        if key.startswith(("method.budget", "method.rate")) and "rate" not in node["method"]:
            own = f"no such setting of method={node['method']['name']}, which sets its own rate"
            return f"{key}: {own}; a rate or a budget can be given to {_rated()}"
        for part in parent.split(".") if parent else ():
            node = node[part]
        names = [str(name) for name in node]
        label = f"{parent}={node['name']}" if parent and "name" in names else "the config"
    except Exception:
        return f"{key}: no such setting; type ast-train --cfg job to see all"
    from omegaconf import OmegaConf

    own = SPELLINGS.get(leaf, leaf)
    full = paths(own, cast("dict[Any, Any]", OmegaConf.to_container(compose(choices))))
    if full and (own != leaf or not get_close_matches(leaf, names, 1, 0.75)):
        value = next((o.partition("=")[2] for o in overrides if o.lstrip("+~").startswith(f"{key}=")), "") or "..."
        return f"{key}: no such setting of {label}; type {' or '.join(f'{path}={value}' for path in full[:4])}"
    if not parent:
        names = sorted({*names, *GROUPS})
    return f"{key}: no such setting of {label}{nearest(leaf, [name for name in names if name != 'name'])}"


def paths(name: str, node: Mapping[Any, Any], prefix: str = "") -> list[str]:
    """Returns the full keys of the settings called `name`, the shortest first."""
    found = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            found += paths(name, value, f"{prefix}{key}.")
        elif key == name != "name":
            found.append(f"{prefix}{key}")
    return sorted(found, key=lambda path: path.count("."))


def _moved(key: str, overrides: Sequence[str]) -> str | None:
    """Returns what to type instead of a setting that has become a choice; None for others."""
    if key != "method.scoring":
        return None
    value = next((o.partition("=")[2] for o in overrides if o.lstrip("+").startswith("method.scoring=")), "")
    methods = [SCORINGS[value]] if value in SCORINGS else list(SCORINGS.values())
    return f"{key}: is part of the choice of method; type {' or '.join(f'method={name}' for name in methods)}"


def _rated() -> str:
    from ast_experiments.config.schema import CHOICES
    from ast_experiments.config.schema.rates import Rated

    return ", ".join(name for name, choice in CHOICES["method"].items() if issubclass(choice, Rated))
