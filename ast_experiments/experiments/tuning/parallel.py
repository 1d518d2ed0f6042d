"""Runs the trials of a search several at once. This process draws their values; worker processes make the runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.experiments.orders import Handler, serve
from ast_experiments.experiments.pool import Pool
from ast_experiments.experiments.runner import resumable
from ast_experiments.experiments.tuning.search import SearchSession, read_search
from ast_experiments.experiments.tuning.space import check_space, parse_space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

POLL_S = 0.5
WORKER = "ast_experiments.experiments.tuning.parallel"


def run_trials(session: SearchSession, at_once: int) -> Iterator[FrozenTrial]:
    """Runs every remaining trial, several at once; yields each when it has ended.

    Args:
        session: Of the search.
        at_once: How many.

    Raises:
        Interrupted: On a signal, after everything is saved.
    """
    from ast_experiments.training.stop import Stop

    pool: Pool[int] = Pool(session.folder, at_once, WORKER)
    with resumable(f"ast-tune {session.folder} parallel={at_once}", session.status), pool, Stop() as stop:
        reason = None
        while True:
            while reason is None and pool.free and (trial := session.next_trial(pool.running)) is not None:
                session.values(trial)  # draws them
                pool.start(trial.number, {"trial": trial.number})
            if not pool.running:
                break
            for ended in pool.wait(POLL_S):
                if ended.interrupted is not None:
                    reason = reason or ended.interrupted
                    pool.interrupt()
                    continue
                if ended.error is not None:
                    session.fail(session.trial(ended.run), ended.error)
                    print(f"error: trial {ended.run}: {ended.error}", file=sys.stderr, flush=True)
                yield session.study.trials[ended.run]
            if stop.received is not None and reason is None:
                reason = stop.received
                pool.interrupt()
        if reason is not None:
            raise Interrupted(reason)


def worker(folder: Path) -> Handler:
    """Returns what makes the run of a trial, in a worker process.

    Raises:
        UserError: If the directory is not that of a search.
    """
    search = read_search(folder)
    if search is None:
        raise UserError(f"{folder} is not the directory of a search")
    typed, common = parse_space(search.arguments)
    session = SearchSession(search, folder, common, check_space(typed, common), owner=False)

    def carry_out(order: dict[str, Any]) -> dict[str, Any]:
        session.run_trial(session.trial(order["trial"]))
        return {"seconds": 0.0}

    return carry_out


if __name__ == "__main__":
    serve(worker)
