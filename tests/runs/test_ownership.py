"""A live run has one owner, a finished one is final, and what the disk does is one line."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from run_tools import BASE, run

from ast_experiments.cli import resume, train
from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import UserError
from ast_experiments.core.owner import NAME, owned
from ast_experiments.runs.directory import save_config
from ast_experiments.runs.identity import config_hash
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.training import checkpoint


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def call(monkeypatch: pytest.MonkeyPatch, module: Any, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as ended:
        module.main()
    return ended.value.code  # pyright: ignore


def made(folder: Path, status: str) -> list[str]:
    overrides = [*BASE, "recipe.epochs=2"]
    config = load_config(overrides)
    folder.mkdir()
    save_config(config, folder)
    result = {"status": status, "config_hash": config_hash(config), "final_accuracy": 98.17, "run_id": "a", "steps": 1}
    (folder / "result.json").write_text(json.dumps(result))
    return [*overrides, f"hydra.run.dir={folder}"]


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_finished_run_is_final(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = made(tmp_path / "run", "finished")
    before = files(tmp_path)
    arguments = overrides if command == "train" else [str(tmp_path / "run")]
    assert call(monkeypatch, train if command == "train" else resume, *arguments) == 0
    assert "run is finished: 98.17 % accuracy; nothing to do" in capsys.readouterr().out
    assert files(tmp_path) == before


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_second_process_is_refused_before_it_writes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = made(tmp_path / "run", "running")
    arguments = overrides if command == "train" else [str(tmp_path / "run")]
    with owned(tmp_path / "run"):
        before = files(tmp_path)
        assert call(monkeypatch, train if command == "train" else resume, *arguments) == 1
        assert files(tmp_path) == before
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert f"is in use by another process (host {os.uname().nodename}, pid {os.getpid()}, since 20" in line
    assert not (tmp_path / "run" / NAME).exists()


@pytest.mark.parametrize("what", ["checkpoint", "record"])
def test_a_full_disk_is_one_line_and_a_failed_run(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((checkpoint, "save") if what == "checkpoint" else (JsonlTracker, "flush")), full)
    with pytest.raises(UserError, match=r"^[^\n]*: the disk is full; free some space, then type ast-resume [^\n]*$"):
        run(tmp_path / "run", ["max_steps=3"])
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["status"] == "failed"
    assert "No space left" in result["error"]
    assert capsys.readouterr().err == ""


def test_a_damaged_config_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from ast_experiments.runs.resume import saved_config

    made(tmp_path / "run", "running")
    whole = (tmp_path / "run/config.yaml").read_bytes()
    (tmp_path / "run/.hydra").mkdir()
    for damage in (b"", b"a: [", b"- 1\n", b"\xff\xfe", whole[: len(whole) // 2], b"seed: x\n"):
        (tmp_path / "run/config.yaml").write_bytes(damage)
        (tmp_path / "run/.hydra/config.yaml").write_bytes(whole)
        caplog.clear()
        assert saved_config(tmp_path / "run").recipe.epochs == 2
        assert caplog.messages[-1].endswith(f"the config is taken from {tmp_path / 'run/.hydra/config.yaml'}")
        (tmp_path / "run/.hydra/config.yaml").write_bytes(damage)
        with pytest.raises(UserError, match=r"config\.yaml cannot be .*; restore the file, or start") as raised:
            saved_config(tmp_path / "run")
        assert len(str(raised.value).splitlines()) == 1


def test_an_unforeseen_error_is_one_line_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ast_experiments.cli.main import guarded

    def fail() -> int:
        raise KeyError("unforeseen\nthing")

    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert guarded(fail) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: KeyError: ")
    assert len(line.splitlines()) == 1
    log = Path(line.strip().rpartition("the traceback is in ")[2])
    assert "in fail" in log.read_text()
    log.unlink()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(KeyError):
        guarded(fail)
