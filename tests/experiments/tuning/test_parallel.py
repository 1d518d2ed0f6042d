"""Searches whose trials are run by several processes at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ast_experiments.cli.tune import _at_once
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.tuning.storage import open_study

TUNE = [sys.executable, "-m", "ast_experiments.cli.tune"]
SEARCH = [
    "recipe.lr=1e-3..1e-1:log",
    "method.rate=0.2..0.6",
    "trials=12",
    "parallel=2",
    "name=s",
    "dataset.train_rows=600",
    "recipe.epochs=2",
    "tracking=jsonl",
    "tracking.report=false",
    "hardware.threads=1",
]


def tune(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*TUNE, *SEARCH], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_killed_search_makes_each_trial_once(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    search = tmp_path / "outputs/tune/s"
    process = tune(tmp_path)
    while len(list(search.glob("trials/*/result.json"))) < 4 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = tune(tmp_path)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(search / "trials.log")))
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert len(trials) == 12
    assert all(trial.state.is_finished() for trial in trials)
    assert len({tuple(trial.params.items()) for trial in trials}) == 12
    made = [json.loads(path.read_text()) for path in sorted(search.glob("trials/*/result.json"))]
    assert len(made) == 12
    assert {result["status"] for result in made} <= {"finished", "interrupted"}  # pruned ones are interrupted


def test_a_worker_waits_for_the_lock_of_another_process(tmp_path: Path) -> None:
    log = tmp_path / "trials.log"
    lock = Path(f"{log}.lock")
    kind = {"study_name": "s", "directions": ["maximize"]}
    lock.symlink_to(log)  # left by a killed process: its owner takes it away
    open_study(log, **kind)
    lock.symlink_to(log)
    held = []

    def release() -> None:
        held.append(lock.is_symlink())
        lock.unlink()

    later = threading.Timer(0.5, release)
    later.start()
    open_study(log, owner=False, **kind)
    later.join()
    assert held == [True]


def test_how_many_at_once() -> None:
    assert _at_once(["trials=3"]) == 1
    assert _at_once(["parallel=4", "trials=3"]) == 4
    with pytest.raises(ConfigError, match="parallel=0: expected how many trials at once, such as parallel=2"):
        _at_once(["parallel=0"])
