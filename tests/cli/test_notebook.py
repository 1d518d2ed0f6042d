"""The Kaggle notebook, cell by cell, on a CPU: a session that ends too early, and the one after it."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import image_tools
import pytest

from ast_experiments.cli import resume as resumption
from ast_experiments.cli.doctor import command as doctor
from ast_experiments.cli.doctor import machine as doctor_machine
from ast_experiments.cli.train import main
from ast_experiments.config.naming import LAUNCH
from ast_experiments.core import process

NOTEBOOK = Path(__file__).resolve().parents[2] / "scripts" / "kaggle_imagenet100.ipynb"
COMMANDS: dict[str, Callable[[], None]] = {
    "ast-train": main,
    "ast-resume": resumption.main,
    "ast-doctor": doctor.main,
}
TINY = (
    "model.arch=test_resnet model.pretrained=false dataset.size=32 recipe.batch_size=8 recipe.epochs=12 "
    "hardware.workers=0 dataset.stored_size=null"
)


def cells() -> list[str]:
    """Code as Python: a command line becomes a call. The installation is left out."""
    found = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in found if "install" not in cell["metadata"].get("tags", [])]
    joined = [re.sub(r"\\\n\s*", " ", source) for source in sources]
    return [re.sub(r"^(\s*)!(.*)$", r"\1shell(r'''\2''')", source, flags=re.MULTILINE) for source in joined]


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    image_tools.kaggle(tmp_path / "data", image_tools.samples())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_machine, "PROBE_S", 0.1)
    shown: list[str] = []
    display = SimpleNamespace(HTML=lambda filename: filename, display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython.display", display)  # pyright: ignore[reportArgumentType]

    def session(name: str, hours_ago: float, **settings: str) -> dict[str, int]:
        (tmp_path / name).mkdir()
        given = {"WORK": str(tmp_path / name), "DATA": str(tmp_path / "data"), "HARDWARE": "cpu", "HOURS": "8.5"}
        given |= {
            "BEFORE": "",
            "MORE": TINY,
            "SOURCE": "",
            "EXPERIMENT": "imagenet100_two_stage",
            "LEFT": "",
        } | settings
        for key, value in given.items():
            monkeypatch.setenv(key, value)
        codes = {}

        def shell(line: str) -> None:
            command, *arguments = shlex.split(os.path.expandvars(line))
            late = "experiment=imagenet100_quick_test" not in arguments
            monkeypatch.setattr(process, "STARTED", time.monotonic() - 3600 * hours_ago * late)
            monkeypatch.setattr(sys, "argv", [command, *arguments])
            monkeypatch.delenv(LAUNCH, raising=False)
            with pytest.raises(SystemExit) as left:
                COMMANDS[command]()
            codes[command] = int(left.value.code or 0)

        namespace: dict[str, object] = {"shell": shell}
        for source in cells():
            exec(source, namespace)
        return codes

    assert session("first", hours_ago=9.0) == {"ast-doctor": 0, "ast-train": 75}
    out = capsys.readouterr().out
    assert "ok     layout" in out
    assert "quick_test {'status': 'finished', 'epochs': 12" in out
    assert re.search(r"full {'status': 'interrupted', 'error': 'stopped by hardware.max_hours=8\.[45]", out)
    assert session("second", 0.0, BEFORE=str(tmp_path / "first")) == {"ast-doctor": 0, "ast-train": 0, "ast-resume": 0}
    assert "full {'status': 'finished', 'epochs': 12" in capsys.readouterr().out
    assert shown == ["full/report.html"] * 2
    assert (tmp_path / "second" / "full" / "report.html").exists()
