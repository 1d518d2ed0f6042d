"""`ast-train`: compose an experiment from the command line and run it, or sweep over several."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.cli.usage import usage
from ast_experiments.compose import CONF, explain, preflight, register_resolvers, typed
from ast_experiments.errors import ConfigError, Interrupted, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 75

register_resolvers()


def job(cfg: DictConfig) -> float | None:
    """One run, inside Hydra; returns its final accuracy in percent, for sweepers that optimise.

    Raises:
        Exception: Whatever the run raised, after it was written down.
    """
    from hydra.core.hydra_config import HydraConfig

    from ast_experiments.training.launch import execute

    hydra = HydraConfig.get()
    result = execute(typed(cfg), Path(hydra.runtime.output_dir), list(hydra.overrides.task))
    return result.get("final_accuracy")


def main() -> None:
    """Entry point of `ast-train`."""
    sys.exit(guarded(_main))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; errors that the user can mend are shown as one line. Returns the exit code."""
    try:
        return command()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except (Interrupted, KeyboardInterrupt):
        print("interrupted; go on with ast-resume and the run directory", file=sys.stderr)
        return EXIT_INTERRUPTED


def _main() -> int:
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    args = get_args_parser().parse_args()
    if args.help:
        print(usage())
        return 0
    looks = args.hydra_help or args.cfg or args.info or args.shell_completion
    sweep = None
    if not (looks or args.config_dir or args.config_path or args.config_name):
        sweep = preflight(args.overrides, args.multirun)
    raised: list[BaseException] = []

    def task(cfg: DictConfig) -> Any:
        if sweep is not None:
            return job(cfg)
        try:
            return job(cfg)
        except BaseException as error:  # kept from Hydra, which would wrap it in advice about itself
            raised.append(error)

    verbose = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job if sweep else task)()
        if raised:
            raise raised[0]
    except (HydraException, OmegaConfBaseException) as error:
        if verbose:
            raise
        raise ConfigError(explain(error, args.overrides)) from error
    finally:
        if sweep is not None:
            _leaderboard(sweep)
    return 0


def _leaderboard(sweep: Path) -> None:
    if not sweep.is_dir():
        return
    from ast_experiments.analysis.leaderboard import leaderboard, print_leaderboard, write_leaderboard

    rows = leaderboard(sweep)
    if rows:
        print_leaderboard(rows)
        for path in write_leaderboard(sweep):
            print(path)


if __name__ == "__main__":
    main()
