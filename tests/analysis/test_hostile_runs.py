"""Twenty hostile run directories beside two good ones: no script runs, no traceback, and the good ones are shown."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_experiments.analysis.gains.page import write_sweep
from ast_experiments.analysis.report import write_report
from ast_experiments.cli import compare

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
Make = Callable[..., Any]


def evil_names(result: dict[str, Any]) -> dict[str, Any]:
    """Puts HTML into every text and every name."""

    def each(value: Any) -> Any:
        if isinstance(value, dict):
            return {f"{key}{EVIL}": each(inner) for key, inner in value.items()} | {
                k: each(v) for k, v in value.items()
            }
        if isinstance(value, list):
            return [each(inner) for inner in value]
        return EVIL if isinstance(value, str) else value

    return each(result) | {"status": "finished", "error": EVIL, "notes": [EVIL]}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def hostile(result: dict[str, Any]) -> dict[str, Any]:
    """Returns contents of result.json by name: text is written as it is, anything else as JSON."""
    numbers = {key: value for key, value in result.items() if isinstance(value, int | float)}
    return {
        "html in every name": evil_names(result),
        "html as method": result | {"method": EVIL, "dataset": EVIL, "model": EVIL, "controller": EVIL},
        "html as overrides": result | {"overrides": [f"{EVIL}={EVIL}", "controller.kp=<b>"], "tags": [EVIL]},
        "huge numbers": result | dict.fromkeys(numbers, 1e308) | {"seconds": {"train": 1e308, "val": 1e308}},
        "integers without end": result | dict.fromkeys(numbers, 10**400),
        "negative numbers": result | dict.fromkeys(numbers, -1e300),
        "nan": result | dict.fromkeys(numbers, float("nan")),
        "infinity": result | dict.fromkeys(numbers, float("inf")) | {"control": {"rms_error": float("inf")}},
        "text for numbers": result | dict.fromkeys(numbers, "1"),
        "numbers for text": {key: 7 for key in result},
        "lists for all": {key: [[]] for key in result},
        "null for all": dict.fromkeys(result),
        "missing keys": {"status": "finished"},
        "empty": {},
        "a later version": result
        | {"version": 99, "energy": {"v2": {"joules": [1, 2]}}, "seconds": {"train": {"gpu": 1}}},
        "nested without end": result | {"selection": nested(500), "extra": nested(500)},
        "cut": json.dumps(result)[:200],
        "binary": "\0\udcff\x00",
        "a list": [result],
        "very long texts": result | {"method": "m" * 200_000, "error": "e" * 2_000_000, "status": "failed"},
    }


@pytest.fixture
def runs(tmp_path: Path, controlled_rows: list[dict[str, Any]], result_of: Make, run_in: Make) -> Path:
    root, result = tmp_path / "sweep", result_of(controlled_rows)
    for seed in (0, 1):
        own = {"run_id": f"g{seed}", "seed": seed, "overrides": [f"controller.kp=0.777{seed}"]}
        run_in(root / f"good{seed}", controlled_rows[-60:], result | own)
    cases = hostile(result)
    assert len(cases) == 20
    for number, content in enumerate(cases.values()):
        folder = run_in(root / f"bad{number}", controlled_rows[-5:], None)
        own = {"run_id": f"b{number}"} if isinstance(content, dict) and "run_id" in content else {}
        text = content if isinstance(content, str) else json.dumps(content | own if own else content)
        (folder / "result.json").write_bytes(text.encode(errors="surrogateescape"))
        if number % 2:
            row = {
                "kind": "epoch",
                "step": 1,
                "epoch": 1e308,
                "val/accuracy": "high",
                f"{EVIL}/x": 1,
                "time/<b>_s": 1e308,
            }
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + '\n{"kind": 5, "epoch": []}\n[1]\n{"kind": "st')
        if number % 3 == 0:
            (folder / "config.yaml").write_text(f"method: {{name: '{EVIL.replace(chr(39), '')}'}}\ncontroller: text\n")
        if number % 5 == 1:
            (folder / "samples.npz").write_bytes(b"PK\x03\x04junk")
            (folder / "samples.json").write_text(json.dumps({"classes": EVIL, "samples": {"1": {"picture": EVIL}}}))
    return root


def no_script_runs(page: Path) -> None:
    """Opens a page in a headless browser, where there is one; elsewhere looks for the tag."""
    html = page.read_text()
    assert not re.search(r"<script>document|<img src=x", html), page
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert "<title>owned</title>" not in dom, page


@pytest.mark.slow
def test_hostile_runs(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, table = write_sweep(runs)
    for gain in ("0.7770", "0.7771"):
        assert gain in table.read_text()
        assert gain in page.read_text()
    no_script_runs(page)
    monkeypatch.setattr(sys, "argv", ["ast-compare", str(runs), "--by", "dataset", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert "Traceback" not in said.err
    html = (tmp_path / "out/compare.html").read_text()
    assert "cifar10" in html
    no_script_runs(tmp_path / "out/compare.html")
    for number in range(20):
        report = write_report(runs / f"bad{number}")
        if number in (0, 1, 2):
            no_script_runs(report)
