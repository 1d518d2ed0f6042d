"""What only Hydra can do: its command line (`--cfg`, `--info`, shell completion) and its launchers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ast_experiments.config.compose import PACKAGED, Source, check_files, compose, register_resolvers
from ast_experiments.config.explain import explain
from ast_experiments.config.plugins import register
from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

VERBOSE = "HYDRA_FULL_ERROR"
"""Environment variable with which Hydra raises errors instead of printing advice."""


def show(arguments: Sequence[str], source: Source = PACKAGED) -> None:
    """Runs `hydra.main` with flags that only show something; it reads its arguments from `sys.argv`.

    Args:
        arguments: Flags and overrides.
        source: The primary config.

    Raises:
        ConfigError: If the overrides do not compose.
    """
    import hydra

    check_files(arguments, source)
    argv, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        with _explained(arguments):
            folder = str(source.folder.resolve())
            hydra.main(version_base="1.3", config_path=folder, config_name=source.name)(lambda cfg: None)()
    finally:
        sys.argv = argv


def launch_jobs(
    jobs: Sequence[Sequence[str]],
    overrides: Sequence[str],
    task: Callable[[DictConfig], Any],
    source: Source = PACKAGED,
) -> None:
    """Runs jobs with the launcher that the overrides choose.

    Hydra's sweeper is left out: it knows only the product of the listed values, not what is adapted in each job.

    Args:
        jobs: Overrides of each job.
        overrides: As on the command line; Hydra's own settings among them hold for every job.
        task: Called with the config of each job, in the process that the launcher chooses.
        source: The primary config.

    Raises:
        ConfigError: If the overrides do not compose.
    """
    from hydra import initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    register_resolvers()
    with _explained(overrides), initialize_config_dir(str(source.folder.resolve()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        cfg = hydra.compose_config(source.name, list(overrides), RunMode.MULTIRUN, with_log_configuration=True)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(cfg))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
        size = cfg.hydra.sweeper.max_batch_size or len(jobs)
        for start in range(0, len(jobs), size):
            for ended in launcher.launch(jobs[start : start + size], initial_job_idx=start):
                _ = ended.return_value  # raises the error of a job that broke off


@contextmanager
def _explained(overrides: Sequence[str]) -> Iterator[None]:
    """Raises Hydra's errors as one line, unless the user asked for all of them."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register(overrides)
    verbose = os.environ.get(VERBOSE)
    os.environ[VERBOSE] = "1"
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        if verbose:
            raise
        raise ConfigError(explain(error, overrides, compose)) from error
    finally:
        if verbose is None:
            del os.environ[VERBOSE]
