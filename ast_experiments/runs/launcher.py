"""Starts one process for each rank of a data-parallel run that was not started with torchrun."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ast_experiments.config.schema import Config
from ast_experiments.core import process
from ast_experiments.core.errors import Interrupted, LostProcess, UserError
from ast_experiments.core.files import short_path
from ast_experiments.runs.directory import save_config
from ast_experiments.training.stop import Stop

POLL_S = 0.1
GRACE_S = 20.0
"""Seconds after the failure of one rank until the others are killed."""


def run_ranks(config: Config, folder: Path, overrides: Sequence[str], count: int) -> None:
    """Runs an experiment in several processes, and waits until they end.

    Args:
        config: Of the run.
        folder: The run directory.
        overrides: As typed, for the record.
        count: Number of processes.

    Raises:
        Interrupted: If a signal stopped them; everything is saved.
        UserError: If one of them failed.
    """
    with tempfile.TemporaryDirectory() as notes, Stop() as stop:
        save_config(config, Path(notes))
        command = [sys.executable, "-m", "ast_experiments.runs.worker", notes, str(folder), *overrides]
        with _started(command, count) as ranks:
            signalled, failed_at = None, None
            while any(rank.poll() is None for rank in ranks):
                if stop.first is not None and signalled is None:
                    signalled = stop.first
                    for rank in ranks:
                        rank.send_signal(signalled)
                if failed_at is None and any(rank.poll() for rank in ranks):
                    failed_at = time.monotonic()
                if failed_at is not None and time.monotonic() - failed_at > GRACE_S:
                    break  # the others wait for a rank that has gone
                time.sleep(POLL_S)
            codes = [rank.poll() for rank in ranks]
        raised = {int(note.stem): pickle.loads(note.read_bytes()) for note in sorted(Path(notes).glob("*.error"))}
        lost = {rank: error for rank, error in raised.items() if isinstance(error, LostProcess)}
        told = [error for rank, error in raised.items() if rank not in lost]
        for error in sorted(told, key=lambda error: isinstance(error, Interrupted)):
            raise error
        if signalled is not None and -signalled in codes:  # before a rank could handle the signal
            raise Interrupted(f"{signalled.name}; resume with: ast-resume {short_path(folder)}")
        for rank, code in sorted(enumerate(codes), key=lambda end: end[1] or 0):  # killed processes first
            if code and rank not in lost:
                raise UserError(f"process {rank} of {count} ended with exit code {code}; see {folder / 'train.log'}")
        for error in lost.values():
            raise error


@contextmanager
def _started(command: Sequence[str], count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts the processes in their own sessions, so that Ctrl-C reaches only this one; kills them at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    try:
        for rank in range(count):
            environment = _environment(rank, count, port)
            ranks.append(subprocess.Popen(command, env=environment, start_new_session=True))
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


def _environment(rank: int, count: int, port: int) -> Mapping[str, str]:
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    return {**threads, **os.environ, **rendezvous, **own, "AST_EXPERIMENTS_STARTED": str(process.STARTED)}
