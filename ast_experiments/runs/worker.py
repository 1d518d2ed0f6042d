"""One rank of a run that `runs/launcher.py` started: `python -m ast_experiments.runs.worker`."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.runs.resume import continue_run, saved_config

POLL_S = 0.2


def main() -> None:
    """Runs the rank. An error that the user can fix is pickled for the launcher, which raises it again."""
    notes, folder, *overrides = sys.argv[1:]
    logging.raiseExceptions = False
    _end_with_parent()
    try:
        continue_run(saved_config(Path(notes)), Path(folder), overrides)
    except (UserError, Interrupted) as error:
        _note(notes, error)
    except Exception as error:
        logging.getLogger(__name__).info("rank %s failed", os.environ["RANK"], exc_info=True)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        _note(notes, UserError(f"{reason}; the traceback is in {Path(folder) / 'train.log'}"))


def _note(notes: str, error: BaseException) -> NoReturn:
    Path(notes, f"{os.environ['RANK'].zfill(4)}.error").write_bytes(pickle.dumps(error))
    raise SystemExit(1)


def _end_with_parent() -> None:
    """Ends this rank when the launcher is killed: then nobody owns the run directory any more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    main()
