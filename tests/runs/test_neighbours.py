"""Runs on one machine notice each other."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ast_experiments.runs.neighbours import CORES, GPU, neighbours

OTHER = "import sys, pathlib; from ast_experiments.runs.neighbours import neighbours\n"


def elsewhere(folder: Path, gpu: str, then: str) -> str:
    """Returns code of a process that runs beside this one."""
    return f"{OTHER}with neighbours(['{gpu}'], pathlib.Path('{folder}')) as found: {then}"


def test_alone(tmp_path: Path) -> None:
    for _ in range(2):
        with neighbours(["a"], tmp_path) as found:
            assert found.shared() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("gpu", "shared"), [("a", [GPU, CORES]), ("b", [CORES])])
def test_both_sides_notice_a_shorter_run(tmp_path: Path, gpu: str, shared: list[str]) -> None:
    with neighbours(["a"], tmp_path) as found:
        code = elsewhere(tmp_path, gpu, "print(found.shared())")
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert said.strip() == str(shared)
        assert found.shared() == shared
    assert list(tmp_path.iterdir()) == []


def test_other_cores_are_not_shared(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        pytest.skip("needs two cores")
    with neighbours([], tmp_path) as found:
        pass
    os.sched_setaffinity(0, cores[:1])
    try:
        with neighbours([], tmp_path) as found:
            code = elsewhere(tmp_path, "b", "print(found.shared())").replace(
                "import sys", f"import os; os.sched_setaffinity(0, [{cores[1]}]); import sys", 1
            )
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            assert (said.strip(), found.shared()) == ("[]", [])
    finally:
        os.sched_setaffinity(0, cores)


def test_a_run_that_was_killed_is_no_neighbour(tmp_path: Path) -> None:
    code = elsewhere(tmp_path, "a", "import os; os.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [path.suffix for path in tmp_path.iterdir()] == [".run"]
    with neighbours(["a"], tmp_path) as found:
        assert found.shared() == []
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_such_a_directory_notices_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with neighbours(["a"], tmp_path / "file" / "below") as found:
        assert found.shared() == []


def test_where_files_cannot_be_locked_nothing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with neighbours(["a"], tmp_path) as found:
        assert found.shared() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"cores": 5, "GPU": null}', '{"cores": [[]]}'])
def test_what_strangers_leave_is_passed_over(content: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.run")
    (tmp_path / "folder.run").mkdir()
    with (tmp_path / "other.run").open("w") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with neighbours(["a"], tmp_path) as found:
            assert found.shared() == []
