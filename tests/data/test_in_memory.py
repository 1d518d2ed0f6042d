import builtins
import hashlib
import io
import json
import os
import pickle
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq
from torchvision import datasets

from ast_experiments.core.errors import ConfigError, DataError
from ast_experiments.data.in_memory import load as sources
from ast_experiments.data.in_memory.load import load_cifar10, load_cifar100

ROWS = {"train": 50, "test": 20}
NAMES = [f"name {i}" for i in range(10)]
HUB_NAMES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": NAMES}}}}
UNREACHABLE = "http://127.0.0.1:9/cifar.tar.gz"


def pixels(split):
    return np.random.default_rng(len(split)).integers(0, 256, (ROWS[split], 32, 32, 3)).astype(np.uint8)


def labels(split, classes=10):
    return (np.arange(ROWS[split]) * 7) % classes


def encode(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(folder, image="img", metadata=None, shards=2, change=None):
    folder.mkdir(parents=True, exist_ok=True)
    for split in ROWS:
        rows = [{"bytes": encode(p), "path": "x.png"} for p in pixels(split)]
        columns = {image: pa.array(rows), "label": pa.array(labels(split))}
        table = pa.table(change(columns) if change else columns)
        if metadata:
            table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
        cuts = np.linspace(0, len(table), shards + 1).astype(int)
        for k in range(shards):
            part = table.slice(cuts[k], cuts[k + 1] - cuts[k])
            pq.write_table(part, folder / f"{split}-{k:05d}-of-{shards:05d}.parquet", row_group_size=9)


def write_torchvision(root, monkeypatch):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def put(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(split, part):
        flat = pixels(split)[part].transpose(0, 3, 1, 2).reshape(-1, 3072)
        return {"data": flat, "labels": labels(split)[part].tolist()}

    train = [
        put("data_batch_1", batch("train", slice(30))),
        put("data_batch_2", batch("train", slice(30, 50))),
    ]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [put("test_batch", batch("test", slice(20)))])
    name, md5 = put("batches.meta", {"label_names": NAMES})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sources, "TRAIN_ROWS", ROWS["train"])
    monkeypatch.setattr(sources, "TEST_ROWS", ROWS["test"])
    monkeypatch.setattr(datasets.CIFAR10, "url", UNREACHABLE)


def check(dataset, train=50, val=20):
    np.testing.assert_array_equal(dataset.train.images, pixels("train")[:train])
    np.testing.assert_array_equal(dataset.train.labels, labels("train")[:train])
    np.testing.assert_array_equal(dataset.val.images, pixels("test")[:val])
    np.testing.assert_array_equal(dataset.val.labels, labels("test")[:val])


@pytest.mark.parametrize("place", [".", "data", "cifar10", "cifar10/data", "cifar10/plain_text"])
@pytest.mark.parametrize("image", ["img", "image"])
def test_parquet_is_found(tmp_path, place, image):
    write_parquet(tmp_path / place, image, metadata=HUB_NAMES)
    dataset = load_cifar10(tmp_path)
    check(dataset)
    assert dataset.classes == tuple(NAMES)
    assert str(tmp_path) in dataset.source


@pytest.mark.parametrize("metadata", [None, {"info": None}, {"info": {"features": {}}}])
def test_classes_without_metadata_are_the_usual_ones(tmp_path, metadata):
    write_parquet(tmp_path, metadata=metadata)
    assert load_cifar10(tmp_path).classes == sources.CIFAR10.classes


@pytest.mark.parametrize("place", [".", "cifar10"])
def test_torchvision_files_are_found(tmp_path, monkeypatch, place):
    write_torchvision(tmp_path / place, monkeypatch)
    dataset = load_cifar10(tmp_path)
    check(dataset)
    assert dataset.classes == tuple(NAMES)
    (folder,) = (tmp_path / place).glob("cifar-10-batches-py")
    check(load_cifar10(folder))  # the folder itself as root


@pytest.mark.parametrize("rows", [(7, 20), (25, 1), (31, 3), (50, 20)])
def test_first_rows(tmp_path, monkeypatch, rows):
    write_parquet(tmp_path / "a")
    write_torchvision(tmp_path / "b", monkeypatch)
    for folder in "ab":
        check(load_cifar10(tmp_path / folder, train_rows=rows[0], val_rows=rows[1]), *rows)
        with pytest.raises(ConfigError, match=r"^dataset\.train_rows: 51 is wrong; .* 1 to 50"):
            load_cifar10(tmp_path / folder, train_rows=51)


def test_first_rows_leave_other_files_unread(tmp_path, monkeypatch):
    folder = write_torchvision(tmp_path, monkeypatch)
    (folder / "data_batch_2").write_bytes(b"")
    check(load_cifar10(tmp_path, train_rows=30), 30)


def test_cifar100_reads_fine_labels(tmp_path, monkeypatch):
    monkeypatch.setitem(ROWS, "train", 100)
    monkeypatch.setitem(ROWS, "test", 100)
    monkeypatch.setattr(sources, "TRAIN_ROWS", 100)
    monkeypatch.setattr(sources, "TEST_ROWS", 100)

    def change(columns):
        fine, coarse = labels("train", 100), labels("train", 20)
        return {"img": columns["img"], "coarse_label": pa.array(coarse), "fine_label": pa.array(fine)}

    write_parquet(tmp_path / "cifar100", change=change)
    dataset = load_cifar100(tmp_path)
    np.testing.assert_array_equal(dataset.train.labels, labels("train", 100))
    assert (len(dataset.classes), dataset.classes[7]) == (100, "class 07")


@pytest.mark.parametrize("metadata", [HUB_NAMES, None])
def test_cifar10_is_not_taken_for_cifar100(tmp_path, metadata):
    write_parquet(tmp_path, metadata=metadata)
    with pytest.raises(DataError, match=r"names 10 classes|lacks some of the 100 classes"):
        load_cifar100(tmp_path)


def replaced(name, make):
    return lambda columns: {**columns, name: make(columns[name])}


def spoiled(rows, row, entry):
    return pa.array([entry if i == row else old for i, old in enumerate(rows.to_pylist())], rows.type)


LAST = "test-00001-of-00002.parquet"
SMALL_IMAGE = {"bytes": encode(np.zeros((8, 8, 3), np.uint8)), "path": "x.png"}
WRONG_COLUMNS = {
    "no image column": (lambda c: {"label": c["label"], "x": c["img"]}, "expected one of .'img', 'image'"),
    "no label column": (lambda c: {"img": c["img"], "y": c["label"]}, "expected one of .'label'"),
    "bare bytes": (replaced("img", lambda c: c.field("bytes")), "img is binary"),
    "label names": (replaced("label", lambda c: c.cast(pa.string())), "label is string"),
    "missing label": (replaced("label", lambda c: spoiled(c, 3, None)), "have no label"),
    "label too large": (replaced("label", lambda c: spoiled(c, 3, 10)), "outside 0..9"),
    "negative label": (replaced("label", lambda c: spoiled(c, 3, -1)), "outside 0..9"),
    "no bytes": (replaced("img", lambda c: spoiled(c, 3, {"path": "x.png"})), "no bytes"),
    "not an image": (
        replaced("img", lambda c: spoiled(c, 3, {"bytes": b"not an image", "path": "x.png"})),
        "cannot be read",
    ),
    "another size": (replaced("img", lambda c: spoiled(c, 3, SMALL_IMAGE)), "expected .32, 32"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_COLUMNS.values(), ids=WRONG_COLUMNS)
def test_wrong_columns_name_the_file(tmp_path, change, message):
    write_parquet(tmp_path, change=change)
    with pytest.raises(DataError, match=rf"train-00000-of-00002\.parquet.*{message}"):
        load_cifar10(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def scratch_pages(path):
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)


DAMAGE = {
    "cut off": (lambda f: cut(f / LAST), LAST),
    "scratched": (lambda f: scratch_pages(f / LAST), LAST),
    "shard missing": (lambda f: (f / LAST).unlink(), "1 files test-.*count 2"),
    "split missing": (lambda f: [p.unlink() for p in f.glob("test-*")], "no test-"),
    "rows missing": (lambda f: pq.write_table(pq.read_table(f / LAST)[:5], f / LAST), "15 rows, expected 20"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_parquet_is_refused(tmp_path, damage, message):
    write_parquet(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_damaged_torchvision_files_are_refused(tmp_path, monkeypatch, name, damage):
    damage(write_torchvision(tmp_path, monkeypatch) / name)
    with pytest.raises(DataError, match=name):
        load_cifar10(tmp_path)


def test_pyarrow_is_asked_for(tmp_path, monkeypatch):
    write_parquet(tmp_path)
    original = builtins.__import__

    def without_pyarrow(name, *args, **kwargs):
        if name == "pyarrow":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(DataError, match=r"uv sync --inexact --extra parquet"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("download", [False, True])
def test_nothing_found_says_what_to_do_in_one_line(tmp_path, download):
    root = tmp_path / "new"
    with pytest.raises(DataError) as caught:
        load_cifar10(root, download=download)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(root), "train-*.parquet", "dataset.root=", "AST_DATA_DIR", UNREACHABLE):
        assert part in message
    assert ("downloading failed" if download else "downloading is off") in message
    assert not root.exists() or not list(root.iterdir())


@pytest.mark.parametrize(
    ("whole", "message"),
    [(True, "is not unpacked .*; type tar -xzf"), (False, "is damaged, or no archive .*; get")],
)
def test_an_archive_is_told_from_random_bytes(tmp_path, whole, message):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(np.random.default_rng(0).bytes(5000))
    if whole:
        with tarfile.open(archive, "w:gz"):
            pass
    with pytest.raises(DataError, match=f"^{archive} {message}"):
        load_cifar10(tmp_path, download=False)


def test_download_arrives_whole_or_not_at_all(tmp_path, monkeypatch):
    made = write_torchvision(tmp_path / "server", monkeypatch)
    timeouts = []

    def download(self):
        timeouts.append(socket.getdefaulttimeout())
        target = Path(self.root) / made.name
        target.mkdir()
        for file in made.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
            if len(timeouts) == 1:
                raise OSError("connection lost")

    monkeypatch.setattr(datasets.CIFAR10, "download", download)
    with pytest.raises(DataError, match="connection lost"):
        load_cifar10(tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    check(load_cifar10(tmp_path / "root"))
    assert [p.name for p in (tmp_path / "root").iterdir()] == [made.name]
    check(load_cifar10(tmp_path / "root", download=False))
    assert len(timeouts) == 2
    assert all(timeouts)
    assert socket.getdefaulttimeout() is None


def test_import_is_cheap():
    code = (
        "import sys, ast_experiments.data, ast_experiments.data.in_memory.load;"
        "print({'torch', 'torchvision', 'sklearn', 'pyarrow', 'PIL'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.data
@pytest.mark.long
def test_real_files_of_both_kinds_are_the_same(tmp_path, monkeypatch):
    place = os.environ.get("AST_DATA_DIR")
    if not place or not (script := Path(place) / "make_torchvision_cifar10.py").is_file():
        pytest.skip("AST_DATA_DIR does not name the folder of data sets")
    monkeypatch.setattr(sources, "TRAIN_ROWS", 50_000)
    monkeypatch.setattr(sources, "TEST_ROWS", 10_000)
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    ours, theirs = load_cifar10(place, download=False), load_cifar10(tmp_path, download=False)
    assert "parquet" in ours.source
    assert "torchvision" in theirs.source
    assert ours.classes == theirs.classes == sources.CIFAR10.classes
    assert ours.fingerprint == theirs.fingerprint
    for split in ("train", "val"):
        mine, other = getattr(ours, split), getattr(theirs, split)
        np.testing.assert_array_equal(mine.images, other.images)
        np.testing.assert_array_equal(mine.labels, other.labels)
    np.testing.assert_array_equal(theirs.train.images, datasets.CIFAR10(tmp_path).data)
    limited = load_cifar10(place, download=False, train_rows=700, val_rows=300)
    np.testing.assert_array_equal(limited.train.images, ours.train.images[:700])
