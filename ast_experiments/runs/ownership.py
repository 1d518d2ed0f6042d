"""Keeps other processes out of a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ast_experiments.core.errors import UserError
from ast_experiments.core.files import remove_parts, short_path
from ast_experiments.core.owner import owned
from ast_experiments.core.process import launched


@contextmanager
def owned_run(folder: Path) -> Iterator[None]:
    """Owns a run directory for the length of a block; under torchrun rank 0 owns it for all ranks.

    Args:
        folder: Created if missing.

    Raises:
        UserError: On every rank, if another process owns it.
    """
    if not launched():
        with owned(short_path(folder)):
            remove_parts(folder / "checkpoints")
            yield
        return
    from ast_experiments.core import distributed

    distributed.init()
    with ExitStack() as stack:
        error = ""
        if distributed.rank() == 0:
            try:
                stack.enter_context(owned(folder))
            except (UserError, OSError) as refused:
                error = str(refused)
        if error := distributed.broadcast_object(error):
            raise UserError(error)
        yield
