"""The examples run, and the loop with selection differs in six lines from the one without."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def body(file: str, end: str) -> list[str]:
    """The statements of the function `train`."""
    text = (EXAMPLES / file).read_text()
    lines = text[text.index("    train_set, test_set = digits()") : text.index(end)].splitlines()
    return [line for line in lines if line.strip()]


def test_six_changed_lines() -> None:
    end = "    return accuracy(model, test_set)"
    without, with_it = body("plain_loop.py", end), body("plain_pytorch.py", end)
    changed = [line for line in difflib.ndiff(without, with_it) if line.startswith("+ ")]
    assert len(changed) <= 6, changed


@pytest.mark.slow
@pytest.mark.parametrize("file", ["plain_pytorch.py", "tabular_regression.py", "text_classification.py"])
def test_an_example_runs(file: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / file)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ast")
    assert lines[1].startswith("dense")
    assert len((EXAMPLES / file).read_text().splitlines()) <= 80
