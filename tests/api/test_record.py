"""A run directory of a loop of your own, next to others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ast_experiments import Meter, Record, record, select
from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.runs import load
from ast_experiments.core.errors import UserError

BLOCKED = ("hydra", "omegaconf", "wandb", "timm")


def a_run(folder: Path, method: str, seed: int, epochs: int = 5) -> Path:
    rate = {"rate": 0.4} if method in ("ast", "rs2") else {}
    selection = select(method, dataset_size=200, batch_size=16, epochs=epochs, seed=seed, **rate)
    settings = {"epochs": epochs, "lr": 0.1}
    with (
        Meter() as meter,
        record(
            folder, dataset="mine", model="mlp", seed=seed, selection=selection, meter=meter, settings=settings,
            flops=(1e6, 2e6), data_fingerprint="abc",
        ) as run,
    ):  # fmt: skip
        for _ in selection.epochs():
            with meter.phase("train"):
                for batch in selection.batches:
                    selection.loss(torch.tensor(batch), torch.ones(len(batch)))
                    run.step({"train/loss": 1.0})
            run.epoch(accuracy=90.0 + seed + epochs)
    return folder


def test_a_run_is_recorded_and_compared(tmp_path: Path) -> None:
    for seed in range(3):
        a_run(tmp_path / f"dense_{seed}", "dense", seed)
        a_run(tmp_path / f"short_{seed}", "dense", seed, epochs=2)
        a_run(tmp_path / f"rs2_{seed}", "rs2", seed)
        a_run(tmp_path / f"ast_{seed}", "ast", seed)
    result = json.loads((tmp_path / "ast_0" / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["method"] == "ast"
    assert result["controller"] == "pi"
    assert result["mean_activation_rate"] == pytest.approx(0.4, abs=0.03)
    assert result["flops"]["train"] == result["rows_trained"] * 3e6
    assert result["energy"]["why_not"]
    rows = [json.loads(line) for line in (tmp_path / "ast_0" / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows].count("epoch") == 5
    assert sum(row.get("rows/trained", 0) > 0 for row in rows if row["kind"] == "epoch") == 5
    assert (tmp_path / "ast_0" / "report.html").is_file()
    loaded = load([tmp_path])
    assert len(loaded.runs) == 12
    assert not loaded.notes
    found = compare(loaded, "mine", x="flops")
    assert {result.verdict.word for result in found.results} & {"equal", "undecided", "wins", "loses"}


def one_step_and_an_error(run: Record) -> None:
    run.step({"train/loss": 1.0}, rows=16)
    raise ZeroDivisionError("by hand")


def test_a_failed_loop_says_so(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), record(tmp_path / "run", dataset="d", model="m", seed=0) as run:
        one_step_and_an_error(run)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"] == "ZeroDivisionError: by hand"
    assert result["rows_trained"] == 16
    with pytest.raises(UserError, match="holds a run already; name another folder, or delete it"):
        record(tmp_path / "run", dataset="d", model="m", seed=0)


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    code = f"""
import sys
from ast_experiments import record
with record(r"{tmp_path / "run"}", dataset="d", model="m", seed=0) as run:
    print("ready", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(UserError, match=rf"run is in use by another process .*, pid {other.pid}, since"):
            record(tmp_path / "run", dataset="d", model="m", seed=0)
        other.communicate(b"\n")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"
    assert not list((tmp_path / "run").glob(".owner*"))
    with pytest.raises(UserError, match="holds a run already"):
        record(tmp_path / "run", dataset="d", model="m", seed=1)
    assert not list((tmp_path / "run").glob(".owner*"))


def test_phases_of_a_meter() -> None:
    with Meter() as meter:
        with meter.phase("train", rows=32):
            meter.count(16)
        inside = pytest.raises(UserError, match="phase 'train' begins inside phase 'val'")
        with meter.phase("val"), inside, meter.phase("train"):
            pass
        assert meter.rows() == 48
        assert meter.seconds("train") > 0
        assert meter.joules() is None or meter.source
        assert meter.result()["seconds"].keys() == {"train", "val"}


def test_works_without_hydra_wandb_and_timm(tmp_path: Path) -> None:
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import torch
import ast_experiments, ast_experiments.functional
from ast_experiments import Meter, record, select
for name in ast_experiments.__all__:
    getattr(ast_experiments, name)
for name in ("random", "rs2", "curriculum", "infobatch", "selective_backprop", "orderdp", "seta", "dense"):
    select(name, dataset_size=100, batch_size=10, epochs=3)
selection = select("ast", dataset_size=100, batch_size=10, epochs=3, rate=0.5)
with Meter() as meter, record(r"{tmp_path / "run"}", dataset="d", model="m", seed=0, selection=selection) as run:
    for epoch in selection.epochs():
        for batch in selection.batches:
            selection.loss(torch.tensor(batch), torch.ones(len(batch)))
        run.epoch(accuracy=1.0)
assert not any(name.partition(".")[0] in {BLOCKED!r} for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_import_is_light() -> None:
    code = """
import sys, time
begin = time.process_time()
import ast_experiments
assert "torch" not in sys.modules and "pydantic" not in sys.modules
print(time.process_time() - begin)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 0.1  # seconds more than `import torch`
