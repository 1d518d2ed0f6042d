"""The commands of the tutorial, in its order, on smaller runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
FEWER = {
    "ast-train": ("recipe.epochs=2", "tracking=jsonl"),
    "ast-bench": ("recipe.epochs=2", "tracking=jsonl"),
    "ast-tune": ("recipe.epochs=2", "trials=2", "tracking=jsonl"),
}
"""Settings that make the runs of a command short, typed behind those of the tutorial."""


def typed() -> list[list[str]]:
    """The words of each command, without `uv run`."""
    lines = re.findall(r"^(?: {4}|\$ )?(?:uv run (?:--extra \w+ )*)(ast-.*)$", TUTORIAL.read_text(), re.MULTILINE)
    return [shlex.split(line.partition(" #")[0]) for line in lines]


@pytest.mark.long
def test_the_tutorial_runs_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    commands = typed()
    assert {words[0] for words in commands} >= {"ast-train", "ast-compare", "ast-bench", "ast-tune", "ast-resume"}
    for program, *words in commands:
        fewer = FEWER.get(program, ())
        keys = {setting.partition("=")[0] for setting in fewer}
        own = [word for word in words if word.partition("=")[0] not in keys]
        if program == "ast-resume":  # the last run stands for the one that the tutorial stops
            own = [str(max((tmp_path / "outputs" / "digits").iterdir(), key=lambda run: run.stat().st_mtime))]
        module = f"ast_experiments.cli.{program.removeprefix('ast-')}"
        ended = subprocess.run(
            [sys.executable, "-m", module, *own, *fewer],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, (program, own, ended.stdout[-2000:], ended.stderr[-2000:])
