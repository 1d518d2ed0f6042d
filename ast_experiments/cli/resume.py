"""`ast-resume RUN_DIR`: continues a run that was interrupted or killed, or that failed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ast_experiments.cli.main import guarded
from ast_experiments.config.checks import check
from ast_experiments.config.compose import register_resolvers
from ast_experiments.config.schema import Config
from ast_experiments.config.validate import validate
from ast_experiments.core.errors import ConfigError, UserError

EXAMPLES = """\
  ast-resume outputs/digits/RUN
  ast-resume outputs/digits/RUN hardware.auto_batch=true   after running out of memory
  ast-resume outputs/digits/RUN hardware.max_hours=8.5     if the session has a time limit"""


def main() -> None:
    """Entry point of `ast-resume`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="ast-resume",
        description="Continue a run from its last checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="run directory, below outputs/")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings that do not change the results")
    args = parser.parse_args()
    resume(args.run, args.changes)
    return 0


def resume(folder: Path, changes: Sequence[str] = ()) -> None:
    """Go on with the run in a directory; a finished one is left alone.

    Args:
        folder: The run directory.
        changes: Overrides of settings that change no figure, such as `hardware.max_hours=8.5`.

    Raises:
        UserError: If it is not a run directory.
        ConfigError: If a change would make it another run.
    """
    from omegaconf import OmegaConf

    from ast_experiments.runs import result as results

    config = _config(folder, changes)
    check(config)
    before = results.read(folder) or {}
    if before.get("status") == "finished":
        print(f"{folder} is finished: {before.get('final_accuracy', float('nan')):.2f} % accuracy")
        return
    typed_in = folder / ".hydra" / "overrides.yaml"
    overrides = OmegaConf.load(typed_in) if typed_in.is_file() else []
    _execute(config, folder, [str(override) for override in overrides])


def go_on(folder: Path, overrides: Sequence[str]) -> None:
    """The part of one process in the run of a directory; `overrides` were typed, for the record."""
    _execute(_config(folder), folder, overrides)


def _config(folder: Path, changes: Sequence[str] = ()) -> Config:
    # config.yaml is what ran, resolved; a run killed in its first moments has only what Hydra wrote.
    config_file = next((f for f in (folder / "config.yaml", folder / ".hydra" / "config.yaml") if f.is_file()), None)
    if config_file is None:
        raise UserError(f"{folder} is not a run directory (no config.yaml); type ast-resume outputs/DATASET/RUN")
    from omegaconf import OmegaConf

    from ast_experiments.runs.build import config_hash

    register_resolvers()
    saved = OmegaConf.load(config_file)
    wrong = next((change for change in changes if "=" not in change), None)
    if wrong is not None:
        raise ConfigError(f"{wrong}: cannot be read; expected key=value")
    config = validate(OmegaConf.merge(saved, OmegaConf.from_dotlist(list(changes))))  # pyright: ignore[reportArgumentType]
    if changes and config_hash(config) != config_hash(validate(saved)):  # pyright: ignore[reportArgumentType]
        raise ConfigError(f"{' '.join(changes)}: would make another run of it; start one with ast-train")
    return config


def _execute(config: Config, folder: Path, overrides: Sequence[str]) -> None:
    from ast_experiments.runs.run import execute

    _log_to(folder)
    execute(config, folder.resolve(), overrides)


def _log_to(folder: Path) -> None:
    import logging

    logging.basicConfig(
        filename=folder / "train.log",
        level=logging.INFO,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        force=True,
    )
    console, ours = logging.StreamHandler(), logging.getLogger("ast_experiments")
    console.setLevel(logging.WARNING)
    console.setFormatter(logging.Formatter("warning: %(message)s"))
    ours.handlers = [console]


if __name__ == "__main__":
    main()
