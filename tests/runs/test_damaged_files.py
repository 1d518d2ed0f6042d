"""Every kind of file that is read, damaged in many ways: read, left out, or refused in one line; never a traceback."""

from __future__ import annotations

import io
import json
import logging
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_runs import make_result, make_rows

from ast_experiments.analysis.leaderboard import leaderboard
from ast_experiments.analysis.report import summary
from ast_experiments.analysis.samples import read_samples, sample_section
from ast_experiments.cli.bench import _from_file
from ast_experiments.comparison.runs import load
from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import UserError
from ast_experiments.core.owner import read_owner
from ast_experiments.data.encoded.cache import ParquetRows, pack, packed_path
from ast_experiments.data.encoded.classes import read_list
from ast_experiments.data.encoded.decode import EncodedImage
from ast_experiments.experiments.study.arms import parse_methods, with_dense
from ast_experiments.experiments.study.journal import read_journal
from ast_experiments.experiments.study.plan import Study, StudyPlan, read_plan
from ast_experiments.experiments.tuning.objectives import Objective
from ast_experiments.experiments.tuning.search import Search, read_search
from ast_experiments.models.timm import timm_model
from ast_experiments.runs.directory import save_config
from ast_experiments.runs.record import read_result, read_rows, read_run
from ast_experiments.runs.resume import saved_config
from ast_experiments.tracking.summary import result_facts
from ast_experiments.training import checkpoint_file

COUNT, PART = (500, 1) if os.environ.get("AST_LONG") else (200, 2)
ROWS = make_rows(epochs=2, log_every=50)
RESULT = make_result(ROWS)


def damage(content: bytes, rng: random.Random) -> bytes:
    """Damages the content of a file in one of ten ways."""
    at = rng.randrange(max(1, len(content)))
    flipped = bytearray(content)
    for _ in range(rng.choice((1, 1, 30))):
        if flipped:
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    ways = [
        b"",
        content[:at],
        content[at:],
        bytes(flipped),
        bytes(flipped),
        rng.randbytes(len(content)),
        bytes(len(content)),
        content[:at] + bytes(64) + content[at + 64 :],
        content[:at] + rng.choice((b"[1]\n", b"null", b"1e999", b"{}", b"\xff\xfe", b"[" * 2000)) + content[at:],
        rng.choice(
            (b"[1]\n", b"null\n", b"5\n", b'"text"\n', b"{}\n", b"NaN", b"[" * 3000, b"\xef\xbb\xbf{}", b"---\n...\n")
        ),
    ]
    return rng.choice(ways)


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def show(folder: Path) -> None:
    record = read_run(folder)
    result_facts(summary(record))
    load([folder])
    leaderboard(folder.parent)


def show_samples(folder: Path) -> None:
    found = read_samples(folder, {"epochs": 2})
    if found is not None:
        sample_section(found)


def parquet() -> bytes:
    file = io.BytesIO()
    images = [{"bytes": bytes([n]) * 40, "path": None} for n in range(8)]
    pq.write_table(pa.table({"image": images, "label": pa.array(range(8), pa.int64())}), file)
    return file.getvalue()


def rows_of(folder: Path) -> ParquetRows:
    return ParquetRows((folder / "train.parquet",), np.zeros(8, np.int32), np.arange(8))


def read_packed(folder: Path) -> None:
    packed = pack(rows_of(folder), folder)
    assert [len(packed.read(row)) for row in range(8)] == [40] * 8


def image(format: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(file, format)
    return file.getvalue()


def decode(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        EncodedImage((folder / name).read_bytes(), str(folder / name)).crop(0, 0, 8, 8)

    return read


def weights(folder: Path) -> None:
    timm_model(4, 3, 32, arch="test_vit", pretrained=False, checkpoint=str(folder / "w.pt"), drop_rate=0, drop_path=0)


def open_search(folder: Path) -> None:
    from ast_experiments.experiments.tuning.storage import open_study

    open_study(folder / "trials.log", study_name="s", directions=["maximize"])


def make(folder: Path) -> dict[str, tuple[Callable[[Path], Any], int]]:
    """Writes one file of each kind; returns by name what reads it, and its share of all tries."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = load_config([])
    save_config(config, folder)
    (folder / ".hydra").mkdir()
    (folder / ".hydra/config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    (folder / "result.json").write_bytes(text(RESULT))
    (folder / "metrics.jsonl").write_bytes(b"".join(text(row) + b"\n" for row in ROWS))
    state = {"fingerprint": "f", "ranks": [{}], "model": {"w": torch.arange(300.0)}}
    for _ in range(2):
        checkpoint_file.save(folder, state)
    columns = {"label": np.arange(40) % 4, "visits": np.arange(40) % 3, "last_epoch": np.arange(40) % 2}
    np.savez(folder / "samples.npz", allow_pickle=False, **columns)  # pyright: ignore
    sample = {"label": 1, "predicted": 2, "confidence": 0.5, "visits": 3, "last_loss": 0.1, "altered": ["x"]}
    gallery = {"classes": ["a", "b"], "galleries": {"most": [1]}, "samples": {"1": sample}}
    (folder / "samples.json").write_bytes(text(gallery))
    arms = with_dense(parse_methods("[ast,random]"))
    StudyPlan(Study("s", ("seed=1",), arms, (0, 1)), lrs={"ast": 0.1}, baselines=[arms[1]]).write(folder)
    event = {"at": "t", "event": "finished", "run": "r", "arm": "ast", "seed": 0, "took_s": 1.5}
    (folder / "journal.jsonl").write_bytes((text(event) + b"\n") * 5)
    Search("s", ("recipe.lr=1e-3..1e-1:log",), (Objective("final_accuracy", "max"),), 3, True).write(folder)
    storage = JournalStorage(JournalFileBackend(str(folder / "trials.log")))
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("recipe.lr", 1e-3, 0.1), n_trials=3)
    (folder / "train.parquet").write_bytes(parquet())
    packed = packed_path(rows_of(folder), folder)
    read_packed(folder)
    (folder / "list.txt").write_text("n01 a\nn02 b\n")
    (folder / "study.yaml").write_text("methods: [ast, random]\nseeds: 3\n")
    (folder / ".owner").write_bytes(text({"host": "h", "pid": 1, "since": "", "machine": "", "begun": "", "token": ""}))
    torch.save(
        timm_model(4, 3, 32, arch="test_vit", pretrained=False, checkpoint=None, drop_rate=0, drop_path=0).state_dict(),
        folder / "w.pt",
    )
    images = {
        f"a.{kind.lower()}": decode(f"a.{kind.lower()}") for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
    }
    for name in images:
        (folder / name).write_bytes(image(name[2:].upper()))
    return {
        "result.json": (show, 60),
        "metrics.jsonl": (lambda folder: (show(folder), read_rows(folder / "metrics.jsonl")), 50),
        "config.yaml": (saved_config, 25),
        ".hydra/config.yaml": (saved_config, 10),
        "last.pt": (checkpoint_file.load, 50),
        "previous.pt": (lambda folder: checkpoint_file.read(folder / "previous.pt"), 30),
        "samples.npz": (show_samples, 12),
        "samples.json": (show_samples, 8),
        "plan.json": (read_plan, 35),
        "journal.jsonl": (read_journal, 25),
        "search.json": (read_search, 25),
        "trials.log": (open_search, 35),
        str(packed.relative_to(folder)): (read_packed, 15),
        str(packed.with_suffix(".npy").relative_to(folder)): (read_packed, 15),
        "train.parquet": (lambda folder: list(rows_of(folder).stream()), 20),
        "list.txt": (lambda folder: read_list(str(folder / "list.txt")), 10),
        "study.yaml": (lambda folder: _from_file(folder / "study.yaml"), 15),
        ".owner": (read_owner, 10),
        "w.pt": (weights, 8),
        **{name: (read, 7) for name, read in images.items()},
    }


def refused_in_one_line(read: Callable[[Path], Any], folder: Path, what: str) -> bool:
    """Reads a damaged file. Returns whether it was refused, in one line."""
    try:
        read(folder)
    except UserError as refused:
        said = str(refused).splitlines()
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    else:
        return False
    assert len(said) == 1, what
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    folder = tmp_path / "run"
    folder.mkdir()
    kinds = make(folder)
    done = refused = 0
    for name, (read, count) in kinds.items():
        path = folder / name
        whole = path.read_bytes()
        read(folder)
        for number in range(count // PART):
            rng = random.Random(f"{name} {number}")
            path.write_bytes(damage(whole, rng))
            if name == ".hydra/config.yaml":
                (folder / "config.yaml").write_bytes(b"a: [")
            done += 1
            refused += refused_in_one_line(read, folder, f"{name}, damage {number}")
        path.write_bytes(whole)
        (folder / "config.yaml").write_bytes((folder / ".hydra/config.yaml").read_bytes())
    print(f"{done} damaged files of {len(kinds)} kinds: {refused} refused in one line, the others read or left out")
    assert done >= COUNT


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A pipe is not waited for, and a directory is no file either."""
    caplog.set_level(logging.CRITICAL)
    kinds = make(tmp_path)
    for name, (read, _) in kinds.items():
        if name.startswith("a."):  # an image that the test itself reads
            continue
        path = tmp_path / name
        whole = path.read_bytes()
        for put in (os.mkfifo, os.mkdir):
            path.unlink()
            put(path)
            with suppress(UserError, IsADirectoryError):  # a directory may be in the way of a new copy
                read(tmp_path)
            path.rmdir() if path.is_dir() else path.unlink()
            path.write_bytes(whole)


def test_a_damaged_result_is_left_out_of_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_bytes(text(RESULT | {"run_id": name}))
    (tmp_path / "a/result.json").write_bytes(b"")
    assert read_result(tmp_path / "a") == {}
    assert "a/result.json is not valid JSON" in caplog.text
    found = load([tmp_path])
    assert [run.record.directory.name for run in found.runs] == ["b"]
    assert any("a: result.json is not a JSON object; skipped" in note for note in found.notes)
