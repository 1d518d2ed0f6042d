"""One rank of a run that `runs/launcher.py` started: `python -m ast_experiments.runs.worker`."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.runs.resume import continue_run, saved_config


def main() -> None:
    """Runs the rank. An error that the user can fix is pickled for the launcher, which raises it again."""
    notes, folder, *overrides = sys.argv[1:]
    try:
        continue_run(saved_config(Path(notes)), Path(folder), overrides)
    except (UserError, Interrupted) as error:
        Path(notes, f"{os.environ['RANK'].zfill(4)}.error").write_bytes(pickle.dumps(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
