"""The wheel holds what it needs: configs, templates, and nothing that leans on the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv builds the wheel")
def test_wheel_runs_from_another_directory(tmp_path: Path) -> None:
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.unpack_archive(wheel, installed, "zip")
    code = "import ast_experiments, ast_experiments.cli.train as t; print(ast_experiments.__file__); t.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "debug=one_batch", "tracking.report=true"],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(str(installed))
    (result,) = (elsewhere / "outputs").rglob("result.json")
    assert json.loads(result.read_text())["status"] == "finished"
    assert (result.parent / "report.html").exists()
