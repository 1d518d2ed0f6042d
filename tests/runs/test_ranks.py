"""Two ranks under torchrun do what one does, and go on where they were stopped."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_tools import assert_same_run, run, stable_rows, weights

from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError, UserError

METHODS = {
    "dense": ["method=dense"],
    "random": ["method=random"],
    "stale": [],
    "quantile, intensity": ["controller=quantile", "significance=loss_intensity", "significance.variant=comparison"],
    "gather": ["method=ast_fresh", "method.packing=false", "controller=quantile"],
    "gather, published": [
        "method=ast_fresh",
        "method.packing=false",
        "controller=sundew_report",
        "significance=loss_intensity",
        "method.rate=0.1",
    ],
    "masked": ["method=ast_masked"],
    "label noise": ["method=random", "dataset.label_noise=0.3"],
    "in parts": ["method=dense", "hardware.auto_batch=true"],
    "clip, ema, soft": ["recipe.clip_grad=0.5", "recipe.ema_decay=0.9", "recipe.label_smoothing=0.1"],
}
# Adam would divide gradients that are nothing but rounding by their own size.
PRECISE = [
    "recipe.optimizer=sgd",
    "recipe.lr=0.05",
    "hardware.precision=float32",
    "model.dropout=0.0",
    "dataset.train_rows=330",
    "max_steps=20",
]
STOPPED = {"stale": [], "packed": ["method=ast_fresh", "method.packing=true"]}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directories of everything that two ranks do, from one start of torchrun."""
    root = tmp_path_factory.mktemp("ranks")
    jobs = [(str(root / name), [*PRECISE, *overrides], None) for name, overrides in METHODS.items()]
    for name, overrides in STOPPED.items():
        # Ranks meet every 32 loaded batches to agree on a stop, here every 2.
        jobs.append((str(root / f"{name} whole"), ["dataset.train_rows=600", *overrides], None))
        jobs += [(str(root / f"{name} broken"), ["dataset.train_rows=600", *overrides], stop) for stop in (5, 14, None)]
    table = root / "jobs.json"
    table.write_text(json.dumps(jobs))
    here = Path(__file__).parents[1] / "tools"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(here / "ranks_worker.py"), str(table)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_equal_one(tmp_path: Path, two_ranks: Path, name: str) -> None:
    run(tmp_path / "one", [*PRECISE, *METHODS[name]])
    mine, theirs = weights(tmp_path / "one"), weights(two_ranks / name)
    assert max((mine[key] - theirs[key]).abs().max() for key in mine) < TOLERANCE
    one, two = stable_rows(tmp_path / "one"), stable_rows(two_ranks / name)
    assert [row.keys() for row in one] == [row.keys() for row in two]
    for a, b in zip(one, two, strict=True):
        for key in a:
            same = a[key] == b[key] if isinstance(a[key], str) else close(a[key], b[key])
            assert same, (key, a[key], b[key])


def test_ranks_agree_on_the_rows_of_a_part(two_ranks: Path) -> None:
    batch = json.loads((two_ranks / "in parts" / "result.json").read_text())["batch"]
    assert (batch["rows"], batch["processes"], batch["at_once"]) == (32, 2, 5)


@pytest.mark.parametrize("name", STOPPED)
def test_two_ranks_go_on_bit_equal(two_ranks: Path, name: str) -> None:
    whole, broken = two_ranks / f"{name} whole", two_ranks / f"{name} broken"
    assert json.loads((broken / "result.json").read_text())["resumed"] == 2
    assert_same_run(whole, broken)


def test_a_checkpoint_of_two_ranks_is_not_taken_up_by_one(two_ranks: Path) -> None:
    with pytest.raises(UserError, match=r"written by 2 processes, not 1; type: ast-resume .* hardware.processes=2"):
        run(two_ranks / "stale whole", ["dataset.train_rows=600"])


def test_batches_that_ranks_cannot_share_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "size", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with pytest.raises(ConfigError, match=r"32 rows cannot be shared by 3 processes; type recipe.batch_size=33"):
        run(tmp_path, [])
