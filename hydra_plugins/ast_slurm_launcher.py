"""Hydra launcher `slurm`: submitit's, which here needs no accounting and waits for every job of the sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ast_experiments.core.errors import UserError

ASK_S = 30
"""Most seconds between two looks at the queue; there are more of them at the start of a job."""


class SlurmLauncher(Launcher):
    """Runs jobs on SLURM. A job that ends without a result, by `scancel` for example, fails once all have ended.

    Args:
        params: As submitit's launcher takes them.
    """

    def __init__(self, **params: Any) -> None:
        self._params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra hands to each launcher."""
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        self._submitit = submitit_launcher.SlurmLauncher(**self._params)
        self._submitit.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs all jobs, and returns how each ended, in order.

        Args:
            job_overrides: Overrides of each job.
            initial_job_idx: Number of the first one.
        """
        from submitit.slurm import slurm

        # submitit makes the job of one submission from the class of the executor, those of several from the module's.
        slurm.SlurmExecutor.job_class = slurm.SlurmJob = job_class()
        ended = self._submitit.launch(job_overrides, initial_job_idx)
        for each, overrides in zip(ended, job_overrides, strict=True):
            each.overrides = list(overrides)
        return ended


def read_queue(lines: str) -> dict[str, dict[str, str]]:
    """Returns the state of each job, by its id, from `squeue` with the format `%i|%T`."""
    pairs = (line.split("|") for line in lines.splitlines() if "|" in line)
    return {number.strip(): {"JobID": number.strip(), "State": state.strip()} for number, state in pairs}


@cache
def job_class() -> type[Any]:
    """Returns submitit's job, with another way to see and to say that it has ended."""
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    class Queue(SlurmInfoWatcher):
        """Asks `squeue`, which knows every job that has not ended; `sacct` needs accounting."""

        def _make_command(self) -> list[str] | None:
            if not self._registered - self._finished:
                return None
            return ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T"]

        def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
            found = read_queue(string if isinstance(string, str) else string.decode())
            return {number: found.get(number, {"State": "ENDED"}) for number in self._registered}

    class Job(SlurmJob[Any]):
        watcher = Queue(delay_s=ASK_S)

        def results(self) -> list[Any]:
            try:
                return super().results()
            except (UncompletedJobError, FailedJobError):
                state = self.watcher.get_state(self.job_id, mode="force").split()[0].lower()
                said = f"SLURM's job {self.job_id} has no result ({state}); its output: {self.paths.stderr}"
                failed = JobReturn()
                failed.status, failed.return_value = JobStatus.FAILED, UserError(said)
                return [failed]

    return Job
