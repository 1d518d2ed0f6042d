"""Explains errors of a run: out of memory, dead workers, disks."""

from __future__ import annotations

import errno
from pathlib import Path

from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.core.errors import EvalOutOfMemory, LostProcess, OutOfMemory, UserError
from ast_experiments.core.files import short_path
from ast_experiments.selection.build import build_method
from ast_experiments.training.hardware import out_of_memory

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOST_WORDS = (
    "Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe", "Socket closed",
    "Timed out waiting", "timeout", "gloo/transport", "remote process exited", "NCCL",
)  # fmt: skip
"""What torch.distributed says when it cannot reach a process."""


def explain(error: Exception, config: Config, folder: Path) -> Exception:
    """Returns an error of one line that says what to type, if one is known; otherwise the error itself."""
    again = f"ast-resume {short_path(folder)}"
    if out_of_memory(error):
        recipe, scale = config.recipe, config.hardware.batch_scale
        rows, less = f"recipe.batch_size={recipe.batch_size}", f"recipe.batch_size={max(1, recipe.batch_size // 2)}"
        if isinstance(error, EvalOutOfMemory):
            rows, less = (f"recipe.eval_batch_size={n}" for n in (error.rows, max(1, error.rows // 2)))
        elif scale != 1:
            rows, less = f"{rows} hardware.batch_scale={scale:g}", f"hardware.batch_scale={scale / 2:g}"
        method = build_method(config.method, config.controller, config.significance)
        whole = config.hardware.auto_batch or method.trains_every_row
        resume = "" if whole else f"resume with: {again} hardware.auto_batch=true, or "
        return OutOfMemory(f"out of memory with {rows}; {resume}start a new run with {less}")
    if distributed.size() > 1 and _lost(error):
        return LostProcess(
            f"another of the {distributed.size()} processes has gone or no longer answers; the run is saved up to its "
            f"last checkpoint; start all processes again with: torchrun ... -m ast_experiments.cli.resume {folder}"
        )
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        said = str(error).splitlines()[0].partition(".")[0]
        return UserError(
            f"{said}: the host probably ran out of memory; resume with fewer workers: {again} hardware.workers=1"
        )
    if isinstance(error, OSError) and error.errno in FULL:
        name = f", writing {Path(error.filename).name}" if error.filename else ""
        return UserError(f"{short_path(folder)}: the disk is full{name}; free some space, then type {again}")
    if isinstance(error, OSError):
        return UserError(f"{folder}: {error}; fix this, then type {again}")
    return error


def _lost(error: Exception) -> bool:
    """Returns whether torch.distributed could not reach another process."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_WORDS)
