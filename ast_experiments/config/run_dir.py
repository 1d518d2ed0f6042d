"""The run directory as Hydra leaves it: `.hydra/` with the composed config, and log records in train.log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.core.errors import ConfigError, DataError
from ast_experiments.core.files import write_atomic

if TYPE_CHECKING:
    from omegaconf import DictConfig

WRITTEN = ("train.log", "config.yaml", "result.json", "report.html")
STARTED = ("metrics.jsonl", "checkpoints")


@contextmanager
def run_directory(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """Creates a run directory for the length of a block, and redirects logging to it.

    If the block raises a ConfigError or a DataError before the run has trained anything, what was written is removed.

    Args:
        cfg: Composed, with Hydra's own node.
        folder: The run directory.
    """
    from hydra.core.utils import configure_log
    from omegaconf import OmegaConf, open_dict

    folder = folder.resolve()
    settings = cfg.copy()
    OmegaConf.set_readonly(settings, False)
    with open_dict(settings):
        settings.hydra.runtime.output_dir = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        configure_log(settings.hydra.job_logging, settings.hydra.verbose)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        _remove(folder)
        raise ConfigError(f"hydra.job_logging: cannot be used ({error.__cause__ or error})") from error
    if settings.hydra.output_subdir is not None:
        _save(settings, folder / settings.hydra.output_subdir)
    try:
        yield
    except (ConfigError, DataError):
        if not any((folder / name).exists() for name in STARTED):
            _remove(folder)
        raise


def _save(settings: DictConfig, folder: Path) -> None:
    from omegaconf import OmegaConf

    folder.mkdir(exist_ok=True)
    own = OmegaConf.masked_copy(settings, [key for key in map(str, settings) if key != "hydra"])
    parts = {
        "config": own,
        "hydra": OmegaConf.masked_copy(settings, "hydra"),
        "overrides": settings.hydra.overrides.task,
    }
    for name, part in parts.items():
        write_atomic(folder / f"{name}.yaml", OmegaConf.to_yaml(part))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # other files are in it
        folder.rmdir()
