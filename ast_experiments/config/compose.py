"""From the command line to a checked `Config`; the only place besides the entry point that knows Hydra."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ast_experiments.config.naming import job_name, launch_id, sweep_name
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ast_experiments.config.schema import Config

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
GROUPS = (
    "dataset", "model", "method", "controller", "significance", "recipe", "hardware", "energy", "tracking",
    "experiment", "sweep", "debug",
)  # fmt: skip
ELSEWHERE = frozenset({"slurm", "submitit_slurm"})
"""Launchers whose jobs run on other machines."""
LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "slurm": "submitit"}
"""Launchers that come with an extra, and its name."""


class Sweep(NamedTuple):
    """What a command line sweeps over.

    Attributes:
        folder: Directory of the sweep.
        jobs: Overrides of each job.
        launcher: Choice of `hydra/launcher`.
        hashes: Of each job's config.
    """

    folder: Path
    jobs: list[list[str]]
    launcher: str
    hashes: list[str]


def register_resolvers() -> None:
    """Resolvers of the names of run directories."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("launch_id", launch_id, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def typed(cfg: DictConfig) -> Config:
    """The checked config of one run.

    Raises:
        ConfigError: One line for each setting that is unknown, of the wrong type or out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from ast_experiments.config.schema import CHOICES, SHARED, Config

    try:
        settings: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_first_line(error)) from error
    for group, choices in CHOICES.items():
        node = settings.get(group)
        name = node.get("name") if isinstance(node, dict) else None
        if name not in choices:
            raise ConfigError(f"{group}: {name!r} is not a choice{_nearest(str(name), choices)}")
        settings[group] = _validated(choices[name].schema, node, group, f"{group}={name}")
    for group, schema in SHARED.items():
        settings[group] = _validated(schema, settings.get(group), group, f"this {group}")
    return _validated(Config, settings, "", "the config")


def check(config: Config, elsewhere: bool = False) -> None:
    """What the schema cannot know: whether the device is there, and whether timm knows the architecture.

    Args:
        config: Of a run.
        elsewhere: Whether another machine will run it: nothing is asked of this one's devices.

    Raises:
        ConfigError: If not.
    """
    import torch

    from ast_experiments.config.schema.model import CifarResNetConfig
    from ast_experiments.runs.build import build_setpoint, builder, settings_of
    from ast_experiments.training.hardware import check_device, check_precision, check_processes, check_shared

    hw = config.hardware
    if not elsewhere:
        check_precision(check_device(hw.device), hw.precision)
        check_processes(hw.device, hw.processes)
    if isinstance(hw.processes, int) and hw.batch_scale == 1:
        check_shared(config.recipe.batch_size, hw.processes)
    if hw.auto_batch and getattr(config.method, "scoring", None) == "masked":
        raise ConfigError(
            "hardware.auto_batch: method.scoring=masked weighs whole batches, which cannot be trained in parts; "
            "type hardware.auto_batch=false and a smaller recipe.batch_size"
        )
    checkpoint = getattr(config.model, "checkpoint", None)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ConfigError(f"model.checkpoint: there is no file {checkpoint}")
    build_setpoint(config)
    if config.tracking.tensorboard:
        from ast_experiments.tracking.tensorboard import check_installed

        check_installed()
    _check_mixing(config)
    _check_budget(config)
    _check_side_network(config)
    if hasattr(config.model, "arch"):
        from ast_experiments.models.timm import check_arch

        problem = check_arch(config.model.arch)
        if problem:
            raise ConfigError(f"model.arch: {problem}")
    if isinstance(config.model, CifarResNetConfig):
        with torch.device("meta"):  # the network without its weights: does it have a stem to replace?
            builder("model", config.model.name)(10, 3, 32, **settings_of(config.model))


def _check_side_network(config: Config) -> None:
    if config.method.name == "rho_loss" and not config.holdout:
        from ast_experiments.selection.methods.rho_loss import NONE_HELD_OUT

        raise ConfigError(NONE_HELD_OUT)
    if getattr(config.method, "proxy_arch", None):
        from ast_experiments.models.timm import check_arch

        problem = check_arch(config.method.proxy_arch)
        if problem:
            raise ConfigError(f"method.proxy_arch: {problem}")


def _check_budget(config: Config) -> None:
    """Refuse budgets that no target rate can keep."""
    from ast_experiments.config.schema.controller import SundewReportConfig

    budget, method = getattr(config.method, "budget", None), config.method
    kind = next((kind for kind, amount in vars(budget).items() if amount is not None), None) if budget else None
    if kind is None or method.name != "ast":
        return
    if method.scoring == "masked":
        raise ConfigError(
            f"method.budget.{kind}: method.scoring=masked costs the same at every rate, so no rate keeps a budget; "
            "type method.scoring=gather or stale"
        )
    if method.pick in (None, "threshold") and isinstance(config.controller, SundewReportConfig):
        raise ConfigError(
            f"method.budget.{kind}: controller={config.controller.name} does not hold the rate that it is given, which "
            "a budget is kept by; type controller=pi, quantile or topk"
        )


def _check_mixing(config: Config) -> None:
    from ast_experiments.config.schema import CHOICES

    recipe = config.recipe
    given = [name for name in ("mixup", "cutmix", "soft_labels") if getattr(recipe, name)]
    reason = CHOICES["method"][config.method.name].unmixable
    if config.method.name == "ast" and config.method.scoring == "masked" and (recipe.mixup or recipe.cutmix):
        from ast_experiments.selection.methods.ast_fresh import UNMIXABLE

        raise ConfigError(f"recipe.{given[0]}: {UNMIXABLE}")
    if given and reason:
        raise ConfigError(
            f"recipe.{given[0]}: does not work with method={config.method.name}: {reason}; "
            f"type recipe.{given[0]}={'null' if given[0] == 'soft_labels' else '0'}"
        )


def compose(overrides: Sequence[str], *, hydra: bool = False) -> DictConfig:
    """The config that overrides compose, unchecked.

    Args:
        overrides: As on the command line.
        hydra: Whether to include Hydra's own node.

    Raises:
        ConfigError: If they do not compose.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose("config", overrides=list(overrides), return_hydra_config=hydra)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(explain(error, overrides)) from error


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job that a command line starts; one without a sweep."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise ConfigError(explain(error, overrides)) from error
    return [list(job) for batch in batches for job in batch]


def preflight(overrides: Sequence[str], multirun: bool) -> Sweep | None:
    """Check every job of a command line before anything is started or written.

    Args:
        overrides: As on the command line.
        multirun: Whether `-m` was given.

    Returns:
        The sweep if it is one, else None.

    Raises:
        ConfigError: About the first job that is wrong.
    """
    from omegaconf import OmegaConf

    for override in overrides:
        key = override.partition("=")[0]
        if key.endswith(".name") and key.removesuffix(".name") in GROUPS:
            group = key.removesuffix(".name")
            raise ConfigError(f"{key}: belongs to the choice; type {group}=NAME to choose another")
    cfg = compose(jobs(overrides)[0], hydra=True)
    if not multirun and not str(cfg.hydra.get("mode")).endswith("MULTIRUN"):
        check(typed(compose(overrides)))
        return None
    params: Any = OmegaConf.to_container(cfg.hydra.sweeper).get("params") or {}  # pyright: ignore
    swept = [f"{key}={value}" for key, value in params.items()]
    found = jobs([*swept, *overrides])
    launcher = str(cfg.hydra.runtime.choices["hydra/launcher"])
    configs = [typed(compose(job)) for job in found]
    for config in configs:
        check(config, elsewhere=launcher in ELSEWHERE)
    found = [[o for o in job if not o.startswith(("hydra.", "hydra/"))] for job in found]
    _check_names(found)
    from ast_experiments.runs.build import config_hash

    # Without a name of its own a sweep is named by its jobs, so that the same command finds it again.
    jobs_hash = hashlib.sha256("\n".join(sorted(map(job_name, found))).encode()).hexdigest()[:8]
    folder = Path(str(cfg.hydra.sweep.dir).replace(launch_id(), jobs_hash))
    return Sweep(folder, found, launcher, [config_hash(config) for config in configs])


def _check_names(found: Sequence[Sequence[str]]) -> None:
    """Refuse jobs that would share a directory."""
    named: dict[str, Sequence[str]] = {}
    for job in found:
        name = job_name(job)
        if name in named:
            raise ConfigError(
                f"{' '.join(named[name]) or 'the job'} and {' '.join(job) or 'another'}: two jobs of one sweep that do "
                "not differ in what a run is; name each value once, and not in tracking, group or tags"
            )
        named[name] = job


SAYINGS = (
    (r"(\w+) appears more than once", "{0}: is chosen already; type {0}=NAME without the +"),
    (r"use 'override (\w+):", "{0}: is chosen already; type {0}=NAME without the +"),
    (r"Could not append to config\. An item is already at '([^']+)'", "{0}: is in the config; type it without the +"),
    (r"Ambiguous value for argument '([^']+)'", "{0}: several values make a sweep; type ast-train -m"),
    (r"Could not delete[^']*'([^']+)'", "{0}: cannot be left out: it is not there, or every run needs it"),
    (r"Could not find '([^']+)'", "{0}: no such choice"),
)


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """One line for what Hydra or OmegaConf say in several."""
    from hydra.errors import MissingConfigException

    text = f"{error}\n{error.__cause__ or ''}"
    override = getattr(error, "override", None)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if isinstance(error, MissingConfigException):
        group, _, name = str(error.missing_cfg_file or "").rpartition("/")
        said = f"{group}={name}: no such choice{_nearest(name, error.options or ())}"
        if group == "hydra/launcher" and name in LAUNCHERS:
            said = f"{group}={name}: is not installed; type uv sync --inexact --extra {LAUNCHERS[name]}"
    elif isinstance(override, str):
        said = f"{override}: cannot be read; expected key=value, with quotes around special characters"
    elif unknown:
        said = _unknown_key(unknown.group(1), overrides)
    elif "must be a string or a list" in text:
        given = (override.partition("=") for override in overrides)
        wrong = (
            (key, value) for key, _, value in given if (key in GROUPS and not value.isidentifier()) or value == "null"
        )
        group, value = next(wrong, ("group", "?"))
        leave = f", or ~{group} to leave it out" if group in ("experiment", "sweep", "debug") else ""
        said = f"{group}={value}: a group needs a choice; type {group}=NAME{leave}"
    else:
        found = ((re.search(pattern, text), saying) for pattern, saying in SAYINGS)
        said = next((saying.format(match.group(1)) for match, saying in found if match), _first_line(error))
    return said


def _unknown_key(key: str, overrides: Sequence[str]) -> str:
    """Names the nearest settings beside an unknown one."""
    chosen = [o for o in overrides if "." not in o.split("=")[0] and o.split("=")[0] in GROUPS]
    parent, _, leaf = key.rpartition(".")
    try:
        node = compose(chosen)
        if key.startswith(("method.budget", "method.rate")) and "rate" not in node["method"]:
            own = f"no such setting of method={node['method']['name']}, which sets its own rate"
            return f"{key}: {own}; a rate or a budget can be given to {', '.join(_rated())}"
        for part in parent.split(".") if parent else ():
            node = node[part]
        there = [str(name) for name in node]
        label = f"{parent}={node['name']}" if parent and "name" in there else "the config"
    except Exception:
        return f"{key}: no such setting; `ast-train --cfg job` shows all"
    if not parent:
        there = sorted({*there, *GROUPS})
    return f"{key}: no such setting of {label}{_nearest(leaf, [n for n in there if n != 'name'])}"


def _rated() -> list[str]:
    from ast_experiments.config.schema import CHOICES
    from ast_experiments.config.schema.method import RatedConfig

    return sorted(name for name, choice in CHOICES["method"].items() if issubclass(choice.schema, RatedConfig))


def _nearest(name: str, options: Iterable[str]) -> str:
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    nearest = f"; nearest: {', '.join(close)}" if close else ""
    return f"{nearest}; there are: {', '.join(options)}" if options else nearest


def _validated(schema: type, values: dict[str, Any], prefix: str, label: str) -> Any:
    from pydantic import ValidationError

    if not isinstance(values, dict):
        raise ConfigError(f"{prefix}: {values!r} is wrong; choose one, e.g. type {prefix}=NAME")
    try:
        return schema(**values)
    except ValidationError as error:
        names = [f.name for f in dataclasses.fields(schema) if f.name != "name"]
        lines = [_problem(detail, prefix, label, names) for detail in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _problem(detail: Any, prefix: str, label: str, names: list[str]) -> str:
    where = ".".join(str(part) for part in (prefix, *detail["loc"]) if part != "")
    kind, message = detail["type"], detail["msg"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: no such setting of {label}{_nearest(str(detail['loc'][-1]), names)}"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where}: is missing; {label} needs it"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    return f"{where}: {detail['input']!r} is wrong; {message[0].lower()}{message[1:]}"


def _first_line(error: Exception) -> str:
    text = str(error) or str(error.__cause__ or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")), "")
    return f"{key}: {lines[0]}" if key and lines else (lines[0] if lines else type(error).__name__)
