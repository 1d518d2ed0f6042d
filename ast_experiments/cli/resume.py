"""`ast-resume RUN_DIR`: go on with a run that was interrupted, killed or failed."""

from __future__ import annotations

import argparse
from pathlib import Path

from ast_experiments.compose import check, register_resolvers, typed
from ast_experiments.errors import UserError
from ast_experiments.train import guarded


def main() -> None:
    """Entry point of `ast-resume`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="ast-resume",
        description="Go on with a run from its last checkpoint.",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="directory that ast-train made, below outputs/")
    resume(parser.parse_args().run)
    return 0


def resume(folder: Path) -> None:
    """Go on with the run in a directory; a finished one is left alone.

    Raises:
        UserError: If it is not a run directory.
    """
    # config.yaml is what ran, resolved; a run killed in its first moments has only what Hydra wrote.
    config_file = next((f for f in (folder / "config.yaml", folder / ".hydra" / "config.yaml") if f.is_file()), None)
    if config_file is None:
        raise UserError(f"{folder} is not a run directory (no config.yaml); type ast-resume outputs/DATASET/RUN")
    from omegaconf import OmegaConf

    register_resolvers()
    config = typed(OmegaConf.load(config_file))  # pyright: ignore[reportArgumentType]
    check(config)
    from ast_experiments.training import result as results
    from ast_experiments.training.launch import execute

    before = results.read(folder) or {}
    if before.get("status") == "finished":
        print(f"{folder} is finished: {before.get('final_accuracy', float('nan')):.2f} % accuracy")
        return
    typed_in = folder / ".hydra" / "overrides.yaml"
    overrides = OmegaConf.load(typed_in) if typed_in.is_file() else []
    _log_to(folder)
    execute(config, folder.resolve(), [str(override) for override in overrides])


def _log_to(folder: Path) -> None:
    import logging

    logging.basicConfig(
        filename=folder / "train.log",
        level=logging.INFO,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        force=True,
    )


if __name__ == "__main__":
    main()
