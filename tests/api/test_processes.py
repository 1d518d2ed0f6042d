"""A loop that is killed goes on bit-equal, and real ranks share one plan."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from own_loop import PROCESSES, rank, selection_of, shares, train

STARTS_S = 120


@pytest.mark.parametrize("method", ["ast"])
def test_killed_ten_times_and_resumed(tmp_path: Path, method: str) -> None:
    train(method, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=False)
    rng = np.random.default_rng()
    kills = sorted(rng.integers(0, len(whole["trained"]) - 1, 10).tolist())
    step = PROCESSES.Value("i", 0, lock=False)
    for least in kills:
        process = PROCESSES.Process(target=train, args=(method, tmp_path / "broken.pt", step, 2))
        process.start()
        deadline = time.monotonic() + STARTS_S
        while step.value < least and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"killed too late, at {kills}"
    train(method, tmp_path / "broken.pt", workers=2)
    broken = torch.load(tmp_path / "broken.pt", weights_only=False)
    assert broken["trained"] == whole["trained"], kills
    assert all(torch.equal(broken["model"][key], value) for key, value in whole["model"].items()), kills


def test_two_gloo_ranks_share_the_plan_of_one(tmp_path: Path) -> None:
    methods = ["ast", "rs2", "infobatch", "dense"]
    processes = [PROCESSES.Process(target=rank, args=(own, 2, tmp_path, shares, methods)) for own in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(STARTS_S)
        assert process.exitcode == 0, "a rank hangs or failed"
    first, second = (torch.load(tmp_path / f"rank_{own}.pt", weights_only=False) for own in range(2))
    for method in methods:
        one, two, alone = first[method], second[method], shares(selection_of(method))
        assert len(one["ids"]) == len(two["ids"]) == len(alone["ids"])
        for (epoch, mine), (_, theirs), (whole_epoch, whole) in zip(one["ids"], two["ids"], alone["ids"], strict=True):
            assert epoch == whole_epoch
            assert mine + theirs == whole
        means = [(a + b) / 2 for a, b in zip(one["losses"], two["losses"], strict=True)]
        assert means == pytest.approx(alone["losses"], rel=1e-5)
        for key in ("scores", "visits"):
            assert np.array_equal(one[key], alone[key], equal_nan=True)
            assert key not in two or np.array_equal(two[key], alone[key], equal_nan=True)
