"""Checkpoints are whole or not there, and restore the random streams."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ast_experiments.core.errors import DataError, UserError
from ast_experiments.training import checkpoint, checkpoint_file
from ast_experiments.training.checkpoint_file import NAME, PREVIOUS, VERSION, load, save, settle
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
    assert sorted(p.name for p in tmp_path.iterdir()) == [NAME, PREVIOUS]
    assert checkpoint_file.read(tmp_path / PREVIOUS)["number"] == 1
    settle(tmp_path)
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
    assert sorted(p.name for p in tmp_path.iterdir()) == [NAME, PREVIOUS]


def test_another_version_of_the_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_file, "VERSION", 99)
        save(tmp_path, {})
    with pytest.raises(UserError, match=r"last\.pt has checkpoint format 99; this version reads format 2"):
        load(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (print, ("sprung",))

    torch.save({"version": 1, "trap": Trap()}, tmp_path / NAME)
    with pytest.raises(DataError, match=r"last\.pt is no checkpoint of ast-train \(.*(?i:weights)"):
        load(tmp_path)


def damaged(content: bytes) -> dict[str, bytes]:
    rng = random.Random(0)
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    flips = {}
    for number, at in enumerate(rng.sample(range(len(content)), 60)):
        flips[f"bit {number} of byte {at} flipped"] = (
            content[:at] + bytes([content[at] ^ 1 << number % 8]) + content[at + 1 :]
        )
    cuts = {f"cut at {at}": content[:at] for at in (1, 100, len(content) // 2, len(content) - 80, len(content) - 1)}
    return {
        "empty": b"",
        "text": b"root:x:0:0:root:/root:/bin/bash\n",
        "noise": rng.randbytes(5000),
        "zeros": bytes(len(content)),
        "another torch file": buffer.getvalue(),
        **cuts,
        **flips,
    }


def test_a_damaged_last_one_costs_one_and_both_damaged_are_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {"weights": torch.arange(5000.0)}
    for number in (1, 2):
        path = save(tmp_path, {"number": number, **state})
    for what, content in damaged(path.read_bytes()).items():
        path.write_bytes(content)
        caplog.clear()
        assert (load(tmp_path) or {})["number"] == 1, what
        (line,) = caplog.messages
        assert line.startswith(f"{path} is "), what
        assert line.endswith(f"going on from {tmp_path / PREVIOUS}"), what
    (tmp_path / PREVIOUS).write_bytes(b"")
    with pytest.raises(DataError, match=r"last\.pt is .*; .*previous\.pt is .*; restore the file, or delete") as raised:
        load(tmp_path)
    assert len(str(raised.value).splitlines()) == 1
    settle(tmp_path)
    assert (tmp_path / PREVIOUS).exists(), "a damaged last one is no reason to remove the other"


def test_one_of_an_earlier_version_has_no_checksum_and_is_checked_by_its_entries(tmp_path: Path) -> None:
    state = {"version": VERSION, "weights": torch.arange(5000.0)}
    torch.save(state, tmp_path / NAME)
    content = (tmp_path / NAME).read_bytes()
    assert torch.equal((load(tmp_path) or {})["weights"], state["weights"])
    for at in random.Random(1).sample(range(len(content)), 60):
        (tmp_path / NAME).write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        try:
            loaded = load(tmp_path)
        except DataError:
            continue
        assert loaded is not None
        assert torch.equal(loaded["weights"], state["weights"]), at  # the flip was between the entries


def test_every_reader_of_zip_files_reads_one(tmp_path: Path) -> None:
    path = save(tmp_path, {"number": 5})
    assert torch.load(path, weights_only=True)["number"] == 5
    with zipfile.ZipFile(path) as archive:
        assert archive.comment.startswith(b"sha256:")
        assert archive.testzip() is None


def test_a_state_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    class Part:
        def state_dict(self) -> dict[str, Any]:
            return {"a": 1}

        def load_state_dict(self, state: Any) -> None:
            state["b"]

    saver = checkpoint.Checkpointer(tmp_path)
    saver.save({"part": Part()}, {})
    with pytest.raises(UserError, match=r"does not fit this version of the code \(KeyError: 'b'\)"):
        checkpoint.Checkpointer(tmp_path).load({"part": Part()}, {})


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
