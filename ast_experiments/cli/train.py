"""`ast-train`: compose an experiment from the command line and run it, or sweep over several."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.cli.help import usage
from ast_experiments.cli.main import EXIT_FAILED, guarded
from ast_experiments.config.compose import compose, register_resolvers
from ast_experiments.config.explain import explain
from ast_experiments.config.groups import CONF
from ast_experiments.config.naming import launch_id
from ast_experiments.config.presets import adapt_overrides
from ast_experiments.config.validate import validate
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.process import is_main_process

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ast_experiments.config.preflight import Sweep

register_resolvers()


def job(cfg: DictConfig) -> float | None:
    """One run, inside Hydra; returns its final accuracy in percent.

    Raises:
        Exception: Whatever the run raised, after it was written down.
    """
    from hydra.core.hydra_config import HydraConfig

    from ast_experiments.runs.run import execute

    hydra = HydraConfig.get()
    result = execute(validate(cfg), Path(hydra.runtime.output_dir), list(hydra.overrides.task))
    return result.get("final_accuracy")


def main() -> None:
    """Entry point of `ast-train`."""
    sys.exit(guarded(_main))


def _main() -> int:
    _meet()
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    args = get_args_parser().parse_args()
    if args.help:
        print(usage())
        return 0
    if not (args.config_path or args.config_name or args.config_dir):
        more = adapt_overrides(args.overrides)[len(args.overrides) :]
        sys.argv += more
        args.overrides += more
    looks = args.hydra_help or args.cfg or args.info or args.shell_completion
    sweep = None
    if not (looks or args.config_path or args.config_name):
        searchpath = [f"hydra.searchpath=[file://{Path(args.config_dir).resolve()}]"] if args.config_dir else []
        from ast_experiments.config.preflight import preflight

        sweep = preflight([*searchpath, *args.overrides], args.multirun)
    raised: list[BaseException] = []

    def task(cfg: DictConfig) -> Any:
        try:
            return job(cfg)
        except BaseException as error:  # kept from Hydra, which would wrap it in advice about itself
            raised.append(error)
            if isinstance(error, ConfigError):
                _leave_nothing()

    verbose = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def hand_over(run: Callable[[DictConfig], Any]) -> None:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run)()
        if raised:
            raise raised[0]

    try:
        if sweep is not None:
            return _sweep(sweep, hand_over)
        hand_over(job if args.multirun else task)
    except (HydraException, OmegaConfBaseException) as error:
        if verbose:
            raise
        raise ConfigError(explain(error, args.overrides, compose)) from error
    return 0


def _sweep(sweep: Sweep, hand_over: Callable[[Callable[[DictConfig], Any]], None]) -> int:
    """All jobs of a sweep; exits with a failure if one of them has not finished."""
    from ast_experiments.experiments import sweep as sweeping

    # Workers may not inherit the name that the directory was given here.
    folder = str(sweep.folder).replace("'", r"\'")
    sys.argv.append(f"hydra.sweep.dir='{folder}'")
    if is_main_process():
        sweeping.begin(sweep)
    finished = True
    try:
        with sweeping.report_failures(sweep):
            hand_over(sweeping.job)
    finally:
        if is_main_process():
            finished = sweeping.conclude(sweep)
    return 0 if finished else EXIT_FAILED


def _meet() -> None:
    """Under torchrun: all ranks take the run directory of rank 0, which alone writes into it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    from ast_experiments.config.naming import LAUNCH
    from ast_experiments.core import distributed

    distributed.init()
    os.environ[LAUNCH] = distributed.broadcast_object(launch_id())
    if distributed.rank() > 0:
        sys.argv += ["hydra.output_subdir=null", "hydra.job_logging.root.handlers=[]"]


def _leave_nothing() -> None:
    """Remove what a run that never began has written, and its directory if nothing else is in it."""
    from hydra.core.hydra_config import HydraConfig

    folder = Path(HydraConfig.get().runtime.output_dir)
    if (folder / "metrics.jsonl").exists() or (folder / "checkpoints").exists():
        return
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    for name in ("train.log", "config.yaml", "result.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's files are in it
        folder.rmdir()


if __name__ == "__main__":
    main()
