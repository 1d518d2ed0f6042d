"""Ways to make the runs of a study: one after another, several processes, or jobs of a Hydra launcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ast_experiments.config.groups import REMOTE_LAUNCHERS
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.study.plan import StudyPlan

LAUNCHER = "hydra/launcher"


@dataclass(frozen=True, slots=True)
class Engine:
    """How the runs of a study are made.

    Attributes:
        jobs: Processes on this machine; 1 makes the runs in this process.
        launcher: Overrides of a Hydra launcher; empty for none.
    """

    jobs: int = 1
    launcher: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Choice of the launcher; empty for none."""
        return next((each.partition("=")[2] for each in self.launcher if each.startswith(f"{LAUNCHER}=")), "")

    @property
    def at_once(self) -> int:
        """How many runs go on together, as far as it is known."""
        workers = next((each.partition("=")[2] for each in self.launcher if "launcher.n_jobs=" in each), "")
        return int(workers) if workers.isdecimal() and int(workers) else self.jobs

    @property
    def typed(self) -> str:
        """The arguments that choose this engine, after a space; empty for the default."""
        return "".join(f" {each}" for each in self.launcher or ([f"jobs={self.jobs}"] if self.jobs > 1 else []))

    @property
    def remote(self) -> bool:
        """Whether the runs have machines of their own."""
        return self.name in REMOTE_LAUNCHERS

    def check(self, plan: StudyPlan) -> None:
        """Refuses to count costs in joules or seconds of runs that share a machine.

        Raises:
            ConfigError: If the study does.
        """
        from ast_experiments.comparison.runs import MEASURED

        cost = plan.cost or plan.study.cost
        if cost not in MEASURED or self.remote or (self.jobs == 1 and not self.launcher):
            return
        typed = f"jobs={self.jobs}" if self.jobs > 1 else f"{LAUNCHER}={self.name}"
        if plan.cost:
            raise ConfigError(
                f"{typed}: name={plan.study.name} counts costs in {cost}, and runs that share a machine cannot be "
                f"compared in {cost}; type it without {typed.partition('=')[0]}="
            )
        raise ConfigError(f"{typed}: runs that share a machine cannot be compared in {cost}; type cost=flops")


def split_engine(arguments: Sequence[str]) -> tuple[Engine, list[str]]:
    """Splits the arguments of `ast-bench` into how to run and what to run.

    Returns:
        The engine, and the other arguments in order.

    Raises:
        ConfigError: If `jobs` is no number above 0, or a launcher's setting comes without a launcher.
    """
    jobs, launcher, others = "1", [], []
    for argument in arguments:
        key, found, value = argument.partition("=")
        if key == "jobs" and found:
            jobs = value
        elif found and key.lstrip("+").startswith((LAUNCHER, "hydra.launcher.")):
            launcher.append(argument)
        else:
            others.append(argument)
    if not jobs.isdecimal() or not 0 < int(jobs) < 1000:
        raise ConfigError(f"jobs={jobs}: expected how many runs at once, such as jobs=2")
    engine = Engine(int(jobs), tuple(launcher))
    if launcher and not engine.name:
        raise ConfigError(f"{launcher[0]}: a setting of no launcher; type hydra/launcher=joblib {launcher[0]}")
    if launcher and engine.jobs > 1:
        raise ConfigError(f"jobs={jobs}: the launcher decides how many run at once; type only one of the two")
    return (Engine(engine.jobs) if engine.name == "basic" else engine), others
