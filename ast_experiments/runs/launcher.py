"""The processes of a data-parallel run, started here where nobody typed torchrun."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import ast_experiments
from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.training.stop import Stop

POLL_S = 0.1
GRACE_S = 20.0
"""Seconds that the other ranks have to end when one of them has failed."""


def run_ranks(folder: Path, overrides: Sequence[str], count: int) -> None:
    """Run what `config.yaml` of a run directory says in so many processes, and wait for their end.

    Args:
        folder: The run directory.
        overrides: What was typed, for the record.
        count: Number of processes.

    Raises:
        Interrupted: If a signal stopped them; everything is saved.
        UserError: What stopped one of them.
    """
    with tempfile.TemporaryDirectory() as notes, Stop() as stop:
        command = [sys.executable, "-m", "ast_experiments.runs.launcher", notes, str(folder), *overrides]
        with _started(command, count) as ranks:
            told, failed_at = False, None
            while any(rank.poll() is None for rank in ranks):
                if stop.received is not None and not told:
                    told = True
                    for rank in ranks:
                        rank.send_signal(signal.SIGINT)
                if failed_at is None and any(rank.poll() for rank in ranks):
                    failed_at = time.monotonic()
                if failed_at is not None and time.monotonic() - failed_at > GRACE_S:
                    break  # the others wait for one that is gone
                time.sleep(POLL_S)
            codes = [rank.poll() for rank in ranks]
        raised = [pickle.loads(note.read_bytes()) for note in sorted(Path(notes).iterdir())]
        for error in sorted(raised, key=lambda error: isinstance(error, Interrupted)):
            raise error
        for rank, code in sorted(enumerate(codes), key=lambda end: end[1] or 0):  # one that was killed comes first
            if code:
                raise UserError(f"process {rank} of {count} ended with exit code {code}; see {folder / 'train.log'}")


@contextmanager
def _started(command: Sequence[str], count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, in sessions of their own so that Ctrl-C reaches them through this one; none outlives it."""
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
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    return {**threads, **os.environ, **meeting, **own, "AST_EXPERIMENTS_STARTED": str(ast_experiments.STARTED)}


def main() -> None:
    """One rank; what stops it is left as a note for the process that started it."""
    from ast_experiments.cli.resume import go_on

    notes, folder, *overrides = sys.argv[1:]
    try:
        go_on(Path(folder), overrides)
    except (UserError, Interrupted) as error:
        Path(notes, os.environ["RANK"].zfill(4)).write_bytes(pickle.dumps(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
