"""The examples run, and the loop with selection differs in six lines from the one without."""

from __future__ import annotations

import difflib
import importlib.util
import re
import runpy
from pathlib import Path
from typing import Any

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


def test_the_loop_of_the_readme_runs_as_it_is() -> None:
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["selection"].metrics()["rows/trained"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "needs"),
    [
        ("plain_pytorch.py", "torch"),
        ("tabular_regression.py", "sklearn"),
        ("text_classification.py", "matplotlib"),
        ("lightning_digits.py", "lightning"),
        ("huggingface_text.py", "transformers"),
    ],
)
def test_an_example_runs(
    file: str, needs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / file), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ast", "dense"))]
    assert lines[-2].startswith("ast")
    assert lines[-1].startswith("dense")


@pytest.mark.parametrize(("folder", "most"), [("examples", 80), ("ast_experiments/integrations", 100)])
def test_examples_and_adapters_are_short(folder: str, most: int) -> None:
    for file in (EXAMPLES.parent / folder).glob("*.py"):
        assert len(file.read_text().splitlines()) <= most, file
