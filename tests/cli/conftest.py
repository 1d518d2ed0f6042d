"""Calls `ast-train` as a stranger types it, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Done

from ast_experiments.cli.train import main
from ast_experiments.config.naming import LAUNCH


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls `ast-train` in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def call(*arguments: str) -> Done:
        if "hydra/launcher=joblib" in arguments:
            # Its workers live on after a call, in the directory and with the environment of that call.
            loky = pytest.importorskip("joblib.externals.loky")
            loky.get_reusable_executor().shutdown(wait=True)
        monkeypatch.setenv(LAUNCH, "")
        monkeypatch.delenv(LAUNCH)
        monkeypatch.setattr(sys, "argv", ["ast-train", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return Done(int(left.value.code or 0), *capfd.readouterr())

    return call
