"""`ast-train`: composes an experiment from the command line and runs it, or sweeps over several."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.cli.help import usage
from ast_experiments.cli.main import EXIT_FAILED, Parser, begin, guarded
from ast_experiments.config.compose import Source, adapted, compose
from ast_experiments.config.groups import CONF
from ast_experiments.config.naming import LAUNCH, keep_launch, kept_launch, launch_id
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.process import is_main_process, launched

if TYPE_CHECKING:
    from ast_experiments.config.preflight import Sweep

QUIET = ("hydra.output_subdir=null", "hydra.job_logging.root.handlers=[]")
"""Overrides of ranks that write nothing."""


def main() -> None:
    """Entry point of `ast-train`."""
    sys.exit(guarded(_main))


def _main() -> int:
    arguments = sys.argv[1:]
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    if args.help:
        print(usage())
        return 0
    if args.version:
        print(f"ast-experiments {version('ast-experiments')}")
        return 0
    source = Source(Path(args.config_path or CONF), args.config_name or "config")
    overrides = list(args.overrides)
    if args.config_dir:
        overrides.insert(0, _search(Path(args.config_dir)))
    if flags := _flags(args):
        from ast_experiments.config.hydra_app import show

        show([*adapted(overrides, source), *flags], source)
        return 0
    begin()
    _share_launch_id()
    from ast_experiments.config.preflight import preflight

    sweep = preflight(overrides, args.multirun, source)
    if not is_main_process():
        overrides += QUIET
    return _run(overrides, source) if sweep is None else _sweep(sweep, overrides, source)


def _parser() -> argparse.ArgumentParser:
    """The flags of a Hydra application; `cli/help.py` describes them."""
    parser = Parser(prog="ast-train", add_help=False)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    for flags in (
        ("--help", "-h"), ("--multirun", "-m"), ("--run", "-r"), ("--hydra-help",), ("--version",), ("--resolve",),
        ("--shell-completion", "-sc"),
    ):  # fmt: skip
        parser.add_argument(*flags, action="store_true")
    for flags in (("--config-dir", "-cd"), ("--config-path", "-cp"), ("--config-name", "-cn"), ("--package", "-p")):
        parser.add_argument(*flags)
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    info = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=info)
    return parser


def _flags(args: argparse.Namespace) -> list[str]:
    """Returns the flags that only show something, for Hydra; empty if a run is to start."""
    shows = ("hydra_help", "shell_completion", "cfg", "info")
    if not any(getattr(args, name) for name in shows):
        return []
    flags = [f"--{name.replace('_', '-')}" for name in (*shows[:2], "resolve") if getattr(args, name)]
    flags += [f"--{name}={getattr(args, name)}" for name in ("cfg", "info", "package") if getattr(args, name)]
    return flags


def _search(folder: Path) -> str:
    """Returns the override that adds a directory of choices.

    Raises:
        ConfigError: If there is no such directory.
    """
    if not folder.is_dir():
        raise ConfigError(f"--config-dir: there is no directory {folder}")
    return f"hydra.searchpath=['file://{folder.resolve()}']"


def _run(overrides: Sequence[str], source: Source) -> int:
    """Runs one experiment."""
    from ast_experiments.analysis.reporting import reporting
    from ast_experiments.config.run_dir import run_directory
    from ast_experiments.config.validate import validate
    from ast_experiments.runs.directory import RunDirectory
    from ast_experiments.runs.ownership import owned_run
    from ast_experiments.runs.run import execute

    composed = compose(overrides, hydra=True, source=source)
    folder = Path(composed.hydra.run.dir).resolve()
    config = validate(compose(overrides, source=source))
    with owned_run(folder):
        if line := RunDirectory(folder, config).finished_line():
            if is_main_process():
                print(line)
            return 0
        with run_directory(composed, folder), reporting(folder, wanted=config.tracking.report and is_main_process()):
            execute(config, folder, list(composed.hydra.overrides.task))
    return 0


def _sweep(sweep: Sweep, overrides: Sequence[str], source: Source) -> int:
    """Runs all jobs of a sweep. Returns EXIT_FAILED if one of them has not finished."""
    from ast_experiments.experiments.launcher import launch
    from ast_experiments.experiments.sweep import begin, conclude, report_failures, run_sweep
    from ast_experiments.runs.ownership import owned_run

    finished = True
    with owned_run(sweep.folder):
        if is_main_process():
            begin(sweep)
        try:
            with report_failures(sweep):
                (run_sweep if sweep.launcher == "basic" else launch)(sweep, overrides, source)
        finally:
            if is_main_process():
                finished = conclude(sweep)
    return 0 if finished else EXIT_FAILED


def _share_launch_id() -> None:
    """Under torchrun, gives all ranks one launch id, so that they use one run directory.

    Each machine keeps it as long as its torchrun lives: after an elastic restart, the run goes on in its directory.
    """
    if launched():
        from ast_experiments.core import distributed

        distributed.init()
        known = distributed.gather_objects(kept_launch())
        chosen = distributed.broadcast_object(next(filter(None, known), "") or launch_id())
        os.environ[LAUNCH] = chosen
        keep_launch(chosen)


if __name__ == "__main__":
    main()
