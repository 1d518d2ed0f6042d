"""Composes overrides into a config with Hydra."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ast_experiments.config.explain import SPELLINGS, explain, paths
from ast_experiments.config.groups import CONF, GROUPS, OPTIONAL
from ast_experiments.config.naming import job_name, launch_id, sweep_name
from ast_experiments.config.plugins import register
from ast_experiments.config.presets import adapt_overrides
from ast_experiments.config.sweep_values import check_count, listed_values, searched
from ast_experiments.config.validate import nearest, validate
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.yaml_files import check_bounds

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from ast_experiments.config.schema import Config


class Source(NamedTuple):
    """The primary config: its directory, which also holds the groups, and its name."""

    folder: Path = CONF
    name: str = "config"


PACKAGED = Source()


def load_config(overrides: Sequence[str]) -> Config:
    """Composes and validates the config of one run.

    Raises:
        ConfigError: If a setting is wrong.
    """
    return validate(compose(overrides))


def full_key(name: str) -> str:
    """Returns the full key of a setting, e.g. `recipe.epochs` for `epochs`; the name itself if there is none."""
    from omegaconf import OmegaConf

    config = cast("dict[Any, Any]", OmegaConf.to_container(compose(())))
    return next(iter(paths(SPELLINGS.get(name, name), config)), name)


def compose(overrides: Sequence[str], *, hydra: bool = False, source: Source = PACKAGED) -> DictConfig:
    """Composes overrides, without checking the values.

    Args:
        overrides: As on the command line, for one job. A preset is adapted to other choices (`config/presets.py`).
        hydra: Whether to include Hydra's own node.
        source: The primary config.

    Raises:
        ConfigError: If they do not compose.
        DataError: If a file of choices that are not the package's is too large to be read.
    """
    from hydra import compose as hydra_compose

    check_deletions(overrides)
    check_files(overrides, source)
    register_resolvers()
    register(overrides)
    overrides = adapted(overrides, source)
    try:
        with _initialized(source.folder):
            return hydra_compose(source.name, overrides=list(overrides), return_hydra_config=hydra)
    except Exception as error:  # of Hydra, OmegaConf and YAML: the overrides and the files that they name are the cause
        raise ConfigError(explain(error, overrides, partial(compose, source=source))) from error


def check_files(overrides: Sequence[str], source: Source) -> None:
    """Checks the files of choices that are not the package's before Hydra, which knows no bounds, reads them.

    Raises:
        ConfigError: If there is no such directory or primary config.
        DataError: If one is too large.
    """
    primary = source.folder / f"{source.name.removesuffix('.yaml')}.yaml"
    if not primary.is_file():
        raise ConfigError(f"--config-path, --config-name: there is no file {primary}")
    added = searched(overrides)
    if missing := next((folder for folder in added if not folder.is_dir()), None):
        raise ConfigError(f"hydra.searchpath: there is no directory {missing}")
    for folder in (source.folder, *added):
        if folder != CONF:
            _check_folder(folder)


@cache
def _check_folder(folder: Path) -> None:
    for depth in ("", "*/", "*/*/"):  # of choices, of groups, and of groups of groups as in hydra/launcher
        for file in folder.glob(f"{depth}*.yaml"):
            check_bounds(file)


@contextmanager
def _initialized(folder: Path) -> Iterator[None]:
    """Initialises Hydra with a directory of configs, also within a job that Hydra launched."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            yield
    finally:
        state.hydra = before


def adapted(overrides: Sequence[str], source: Source) -> list[str]:
    """Returns the overrides of a job with those that adapt an experiment of the package to the other choices."""
    return adapt_overrides(overrides) if source == PACKAGED else list(overrides)


def split_jobs(overrides: Sequence[str], source: Source = PACKAGED) -> list[list[str]]:
    """Returns the overrides of each job: every combination of the listed values; one job if none are listed.

    Raises:
        ConfigError: If an override cannot be parsed, or there are too many jobs.
    """
    values: dict[str, list[str]] = {}
    folders = (source.folder, *searched(overrides))
    for override in _parse(overrides):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in listed_values(override, folders)]
        elif override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: a sweep needs a list of values; type {key}=A,B,C")
        else:
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
    check_count(math.prod(map(len, values.values())), " ".join(key for key in values if len(values[key]) > 1))
    return [list(job) for job in itertools.product(*values.values())]


def check_deletions(overrides: Sequence[str]) -> None:
    """Refuses to leave out a group that every run needs.

    Raises:
        ConfigError: If an override does.
    """
    for override in overrides:
        group, _, _ = override.removeprefix("~").partition("=")
        if override.startswith("~") and group in GROUPS and group not in OPTIONAL:
            names = nearest("", (file.stem for file in (CONF / group).glob("*.yaml")))
            raise ConfigError(f"~{group}: every run needs a {group}; type {group}=NAME{names}")


def list_values(override: str) -> list[str] | None:
    """Returns the values that an override lists, as typed; None if it lists none or cannot be parsed.

    Raises:
        ConfigError: If it is a sweep of another kind, such as `range(1,5)`.
    """
    from hydra.core.override_parser.types import ChoiceSweep

    try:
        (parsed,) = _parse([override])
    except ConfigError:
        return None
    if not parsed.is_sweep_override():
        return None
    if not isinstance(parsed.value(), ChoiceSweep):
        raise ConfigError(f"{override}: expected a list of values; type {parsed.get_key_element()}=A,B,C")
    return list(dict.fromkeys(parsed.sweep_string_iterator()))


def _parse(overrides: Sequence[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except Exception as error:  # the parser's, and those of the numbers in an override
        raise ConfigError(explain(error, overrides, compose)) from error


def register_resolvers() -> None:
    """Registers the resolvers that name run directories in conf/config.yaml."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("launch_id", launch_id, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
