"""Makes runs of a study in a process of its own: `python -m ast_experiments.experiments.study.worker`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ast_experiments.core.errors import UserError
from ast_experiments.experiments.orders import serve
from ast_experiments.experiments.runner import run_job
from ast_experiments.experiments.study.plan import read_plan
from ast_experiments.experiments.study.queue import StudyQueue


class StudyRuns:
    """Makes the runs of a study that its plan names.

    Args:
        folder: The study's directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: StudyQueue | None = None

    def run(self, path: str, title: str = "", *, logs: bool = True) -> dict[str, Any]:
        """Makes one run.

        Args:
            path: Of the run, relative to the study's directory.
            title: Names it in messages.
            logs: As for `run_job`.

        Returns:
            Its wall time `seconds`, and `error` if it failed.

        Raises:
            Interrupted: On a signal, after everything is saved.
            UserError: If the plan has no such run, or the GPU no longer answers.
        """
        run = self._read().named(path)
        assert self._queue is not None
        job = self._queue.job(run)
        outcome = run_job(dataclasses.replace(job, title=title or job.title), logs=logs)
        return {"seconds": outcome.seconds} | ({} if outcome.error is None else {"error": outcome.error})

    def carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        """Makes the run of an order, which holds its path `run` and its `title`."""
        return self.run(order["run"], order["title"])

    def _read(self) -> StudyQueue:
        """Reads the plan again, which has changed with every decision; keeps what was composed."""
        plan = read_plan(self._folder)
        if plan is None:
            raise UserError(f"{self._folder} is not the directory of a study")
        if self._queue is None:
            self._queue = StudyQueue(plan, self._folder)
        self._queue.plan = plan
        return self._queue


if __name__ == "__main__":
    serve(lambda folder: StudyRuns(folder).carry_out)
