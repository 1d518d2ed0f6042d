"""Checkpoints are whole or not there, and restore the random streams."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ast_experiments.core.errors import UserError
from ast_experiments.training import checkpoint
from ast_experiments.training.checkpoint import NAME, load, save
from ast_experiments.training.random_state import RandomStreams

CPU = torch.device("cpu")


def test_round_trip(tmp_path: Path) -> None:
    state = {"tensor": torch.arange(3.0), "nested": {"list": [1, 2.5, "three", None, True], "pair": (1, "a")}}
    path = save(tmp_path / "made", state)
    assert path == tmp_path / "made" / NAME
    back = load(tmp_path / "made")
    assert back is not None
    assert torch.equal(back["tensor"], state["tensor"])
    assert back["nested"] == state["nested"]


def test_none_without_a_checkpoint(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    assert load(tmp_path / "nowhere") is None


def test_the_last_one_wins_and_nothing_else_stays(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path, {"number": number})
    assert (load(tmp_path) or {})["number"] == 2
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("failing", ["save", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    save(tmp_path, {"number": 1})

    def write_half(state: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("no space left")

    def refuse(*args: Any) -> None:
        raise OSError("no space left")

    target, name, instead = {
        "save": (torch, "save", write_half),
        "fsync": (os, "fsync", refuse),
        "replace": (Path, "replace", refuse),
    }[failing]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, instead)
        with pytest.raises(OSError, match="no space"):
            save(tmp_path, {"number": 2})
    assert (load(tmp_path) or {})["number"] == 1
    save(tmp_path, {"number": 3})
    assert (load(tmp_path) or {})["number"] == 3
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_another_version_of_the_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 99)
        save(tmp_path, {})
    with pytest.raises(UserError, match=r"last\.pt has checkpoint format 99; this version reads format 2"):
        load(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (print, ("sprung",))

    torch.save({"version": 1, "trap": Trap()}, tmp_path / NAME)
    with pytest.raises(Exception, match=r"(?i)weights"):
        load(tmp_path)


def test_random_streams_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> tuple[Any, ...]:
        return (torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist(), np.random.randn())

    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    np.random.randn()  # one of a pair: the other one waits in the state
    random.gauss(0, 1)
    save(tmp_path, {"random": RandomStreams(CPU).state_dict()})
    expected = (*draw(), random.gauss(0, 1))
    draw()
    RandomStreams(CPU).load_state_dict((load(tmp_path) or {})["random"])
    assert (*draw(), random.gauss(0, 1)) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_stream_of_the_device_goes_on_too() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    state = RandomStreams(device).state_dict()
    expected = torch.rand(3, device=device)
    RandomStreams(device).load_state_dict(state)
    assert torch.equal(torch.rand(3, device=device), expected)
