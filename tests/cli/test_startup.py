"""What a command does before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ast_experiments.cli import compare
from ast_experiments.cli.main import begin

HELP = """
import sys
from ast_experiments.cli.{} import main
sys.argv = ["ast", "--help"]
try:
    main()
except SystemExit:
    assert "torch" not in sys.modules
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_says_at_once_that_the_command_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ast-train"])
    for stream, expected in ((Terminal(), "ast-train 0.1.0: loading PyTorch\n"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        begin()
        assert stream.getvalue() == expected


def test_what_loads_no_torch_does_not_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "argv", ["ast-compare", str(tmp_path)])
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit):
        compare.main()
    assert stream.getvalue().startswith("ast-compare 0.1.0: reading the runs\nerror: ")


@pytest.mark.parametrize("command", ["train", "bench", "tune", "compare", "resume", "doctor.command"])
def test_help_fits_80_columns_and_does_not_load_torch(command: str) -> None:
    call = [sys.executable, "-c", HELP.format(command)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("usage", "ast", "Usage"))
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
