"""Hydra launcher `ray`: each job of a sweep is a task of a Ray cluster. Hydra finds it in `hydra_plugins`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


class RayLauncher(Launcher):
    """Runs jobs as tasks of Ray. A job whose worker dies starts again on another one, and resumes.

    Args:
        address: Of a running cluster; None starts one on this machine, which ends with the command.
        workers: Jobs at once, on a cluster that this command starts.
        cpus: Cores of each job.
        gpus: GPUs of each job; a fraction shares one.
        retries: How often a job whose worker died starts again.
        init: Further arguments of `ray.init`.
    """

    def __init__(
        self, address: str | None, workers: int, cpus: float, gpus: float, retries: int, init: Mapping[str, Any]
    ) -> None:
        self._address, self._workers, self._init = address, workers, init
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra hands to each launcher."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs all jobs, and returns how each ended, in order.

        Args:
            job_overrides: Overrides of each job.
            initial_job_idx: Number of the first one.
        """
        import ray  # pyright: ignore[reportMissingImports]

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        ray.init(**self._cluster())
        try:
            start = ray.remote(**self._options)(_execute)
            jobs = enumerate(job_overrides, start=initial_job_idx)
            common = (self._context, self._config, self._task, Singleton.get_state())
            tasks = [start.remote(number, list(overrides), *common) for number, overrides in jobs]
            try:
                return [_result(ray, task) for task in tasks]
            except KeyboardInterrupt:
                for task in tasks:
                    ray.cancel(task)
                ray.wait(tasks, num_returns=len(tasks))  # they save
                raise
        finally:
            ray.shutdown()

    def _cluster(self) -> dict[str, Any]:
        own: dict[str, Any] = {"address": self._address}
        if self._address is None:
            cpus, gpus = self._options["num_cpus"], self._options["num_gpus"]
            own = {"num_cpus": max(1, round(cpus * self._workers)), "include_dashboard": False}
            own |= {"num_gpus": max(1, round(gpus * self._workers))} if gpus else {}
        return own | dict(OmegaConf.to_container(OmegaConf.create(dict(self._init))))  # type: ignore[call-overload]


def _execute(
    number: int,
    overrides: Sequence[str],
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    state: dict[Any, Any],
) -> JobReturn:
    """Runs one job in a worker."""
    setup_globals()
    Singleton.set_state(state)
    own = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(own):
        own.hydra.job.id, own.hydra.job.num = f"{own.hydra.job.name}_{number}", number
    HydraConfig.instance().set_config(own)
    return run_job(task, own, "hydra.sweep.dir", "hydra.sweep.subdir", context)


def _result(ray: Any, task: Any) -> JobReturn:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        failed = JobReturn()
        failed.status, failed.return_value = JobStatus.FAILED, error
        return failed
