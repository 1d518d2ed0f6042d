"""Hydra's own command line, for what only Hydra can do: launchers, `--cfg`, `--info`, shell completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ast_experiments.config.compose import PACKAGED, Source, compose
from ast_experiments.config.explain import explain
from ast_experiments.config.plugins import register
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

VERBOSE = "HYDRA_FULL_ERROR"
"""Environment variable with which Hydra raises errors instead of printing advice."""


def hydra_app(arguments: Sequence[str], task: Callable[[DictConfig], Any], source: Source = PACKAGED) -> None:
    """Runs `hydra.main`, which reads its arguments from `sys.argv`.

    Args:
        arguments: Flags and overrides.
        task: Called with the config of each job, in the process that the launcher chooses.
        source: The primary config.

    Raises:
        ConfigError: If the overrides do not compose.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register(arguments)
    argv, verbose = sys.argv, os.environ.get(VERBOSE)
    sys.argv = [argv[0], *arguments]
    os.environ[VERBOSE] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(source.folder.resolve()), config_name=source.name)(task)()
    except (HydraException, OmegaConfBaseException) as error:
        if verbose:
            raise
        raise ConfigError(explain(error, arguments, compose)) from error
    finally:
        sys.argv = argv
        if verbose is None:
            del os.environ[VERBOSE]
