"""The same files give the same ids, labels and pictures in every layout."""

import os
import sys
import types

import image_tools as tools
import numpy as np
import pytest
import torch

from ast_experiments.core.errors import ConfigError, DataError
from ast_experiments.data.encoded import cache as packing
from ast_experiments.data.encoded.checks import mislabelled
from ast_experiments.data.encoded.classes import hash_of, read_list
from ast_experiments.data.encoded.load import (
    FOLDER,
    find,
    load_folder,
    load_imagenet1k,
    load_imagenet100,
    load_imagenette,
)
from ast_experiments.data.encoded.transforms import RandomResizedCrop
from ast_experiments.data.loaders.host import HostLoader

LAYOUTS = {
    "folders": tools.folders,
    "kaggle parts": tools.kaggle,
    "parquet": tools.parquet,
    "parquet in words": lambda root, splits: tools.parquet(root / "data", splits, words=True, val="validation"),
    "parquet of the hub": lambda root, splits: tools.parquet(root, splits, words=True, suffix=True),
    "flat validation": tools.flat_val,
}
MORE = ("n04999999", "n00000001")


def load(root, load=load_folder, **settings):
    return load(str(root), **{"size": 16, "cache": str(root / "cache"), **settings})


def whole(samples):
    loader = HostLoader(samples, "cpu", transform=RandomResizedCrop(), mean=[0.5] * 3, std=[0.25] * 3, seed=0)
    return loader.fetch(np.arange(len(samples)), 1)


@pytest.fixture(scope="module")
def by_hand():
    """Labels, names and bytes in the order of (synset, file name)."""
    ranked = {split: sorted(rows) for split, rows in tools.samples().items()}
    return {s: [(tools.SYNSETS.index(r[0]), r[1].encode(), r[2]) for r in rows] for s, rows in ranked.items()}


@pytest.fixture(scope="module")
def in_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    tools.folders(root, tools.samples())
    return load(root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_labels_and_pictures_are_the_same_in_every_layout(layout, tmp_path, by_hand, in_folders):
    LAYOUTS[layout](tmp_path, tools.samples())
    dataset = load(tmp_path)
    assert dataset.classes == tools.SYNSETS
    assert dataset.fingerprint == in_folders.fingerprint
    for split in ("train", "val"):
        found = getattr(dataset, split)
        rows = zip(found.labels.tolist(), found.names, map(found.read, range(len(found))), strict=True)
        assert list(rows) == by_hand[split]
    batch, plain = whole(dataset.train), whole(in_folders.train)
    assert torch.equal(batch.images, plain.images)
    assert torch.equal(batch.labels, plain.labels)


def test_a_label_is_a_place_among_all_parts_never_within_one(tmp_path):
    for part, synset in ((1, "n03000000"), (1, "n05000000"), (2, "n01000000"), (3, "n04000000"), (4, "n02000000")):
        tools.write(tmp_path / f"train.X{part}", synset, f"{synset}_1.JPEG", tools.encode(tools.image(part)))
        tools.write(tmp_path / "val.X", synset, f"{synset}_2.JPEG", tools.encode(tools.image(part + 9)))
    dataset = load(tmp_path)
    assert "5 parts" in dataset.source
    for samples in (dataset.train, dataset.val):
        told = {samples.store.where(row).split(os.sep)[-2]: label for row, label in enumerate(samples.labels.tolist())}
        assert told == {"n01000000": 0, "n02000000": 1, "n03000000": 2, "n04000000": 3, "n05000000": 4}


def test_folders_that_systems_leave_behind_are_no_classes(tmp_path):
    tools.folders(tmp_path, tools.samples())
    for name in (".ipynb_checkpoints", "__MACOSX"):
        tools.write(tmp_path / "train", name, "1.JPEG", tools.encode(tools.image(1)))
    assert load(tmp_path).classes == tools.SYNSETS


@pytest.mark.parametrize("layout", ["folders", "parquet", "flat validation"])
def test_a_class_list_takes_its_part_of_a_larger_set(layout, tmp_path, by_hand, in_folders):
    """An ImageNet-1K root plus a class list."""
    splits = tools.samples((*tools.SYNSETS, *MORE))
    LAYOUTS[layout](tmp_path, splits)
    lines = map(" ".join, zip(tools.SYNSETS, tools.WORDS, strict=True))
    (tmp_path / "mine.txt").write_text("\n".join(lines) + "\n\n")
    dataset = load(tmp_path, load_imagenet100, class_list=str(tmp_path / "mine.txt"))
    assert dataset.classes == tools.SYNSETS
    assert [label for label, _, _ in by_hand["train"]] == dataset.train.labels.tolist()
    assert dataset.facts == {"class_list": str(tmp_path / "mine.txt"), "class_list_hash": hash_of(tools.SYNSETS)}
    whole = load(tmp_path, load_imagenet1k)
    assert len(whole.classes) == len(tools.SYNSETS) + 2
    assert "these 8 classes are no class list of ImageNet-1K: they contain 6 of 1000 of imagenet1k" in whole.source


def test_the_two_lists_of_imagenet100():
    cmc, kaggle = read_list("cmc"), read_list("kaggle")
    assert len(cmc) == len(kaggle) == 100
    assert len(cmc & kaggle) == 8
    assert (hash_of(sorted(cmc)), hash_of(sorted(kaggle))) == ("d61d354b64be", "82b5291afc03")
    assert len(read_list("imagenette")) == 10
    assert len(read_list("imagenet1k")) == 1000
    assert cmc | kaggle | read_list("imagenette") < read_list("imagenet1k")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """One image for each class of both lists of ImageNet-100, and of one more."""
    root = tmp_path_factory.mktemp("imagenet")
    data = tools.encode(tools.image(0, 16, 16))
    for synset in read_list("cmc") | read_list("kaggle") | {MORE[0]}:
        for split in ("train", "val"):
            tools.write(root / split, synset, f"{synset}_1.JPEG", data)
    return root


@pytest.mark.parametrize("name", ["cmc", "kaggle"])
def test_named_class_lists(name, imagenet, tmp_path):
    dataset = load(imagenet, load_imagenet100, class_list=name)
    assert dataset.classes == tuple(sorted(read_list(name)))
    assert dataset.facts == {"class_list": name, "class_list_hash": hash_of(dataset.classes)}
    for split in ("train", "val"):  # a folder of just these classes needs no setting
        (tmp_path / split).mkdir()
        for synset in dataset.classes:
            (tmp_path / split / synset).symlink_to(imagenet / split / synset)
    alone = load(tmp_path, load_imagenet100)
    assert (alone.facts, alone.fingerprint) == (dataset.facts, dataset.fingerprint)
    assert f"class list {name}" in alone.source


def test_classes_that_are_no_list_are_said_so(tmp_path, imagenet):
    tools.folders(tmp_path, tools.samples())
    dataset = load(tmp_path, load_imagenet100)
    assert "these 6 classes are no class list of ImageNet-100: they contain 0 of 100 of cmc" in dataset.source
    assert dataset.facts["class_list"] == "none"
    with pytest.raises(DataError, match="99 of its 100 classes are missing"):
        load(tmp_path, load_imagenet100, class_list="kaggle")
    with pytest.raises(DataError, match=r"type dataset.class_list=cmc or dataset.class_list=kaggle"):
        load(imagenet, load_imagenet100)
    with pytest.raises(DataError, match="no list cmc2"):
        load(imagenet, load_imagenet100, class_list="cmc2")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: None, "is not in|there are no images in"),
        (lambda root: root.rmdir(), "there is no folder"),
        (lambda root: [tools.write(root, name, "1.jpg", b"") for name in "ab"],
         r"has folders of images \(a, b\), but not in train/ and val/"),
        (lambda root: tools.folders(root, {"train": tools.samples()["train"]}), "no folders of classes in val"),
        (lambda root: tools.parquet(root, {"train": tools.samples()["train"]}), "neither val-"),
        (lambda root: tools.folders(root, tools.samples() | {"val": tools.samples(tools.SYNSETS[1:])["val"]}),
         "val has no images of n01440764"),
        (lambda root: [tools.kaggle(root, tools.samples()), tools.write(root / "train.X2", "n01440764",
         "n01440764_9.JPEG", b""), tools.write(root / "train.X1", "n01440764", "n01440764_9.JPEG", b"")],
         "remove one of them"),
    ],
    ids=["nothing", "no folder", "no split", "no val", "no val parquet", "missing class", "file twice"],
)  # fmt: skip
def test_what_is_not_a_data_set_is_refused(spoil, message, tmp_path):
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_folders_by_name_and_rows_spread_over_the_classes(tmp_path):
    tools.folders(tmp_path / "imagenette2-160", tools.samples())
    dataset = load(tmp_path, load_imagenette, train_rows=6, val_rows=3)
    assert dataset.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert dataset.val.labels.tolist() == [0, 2, 4]
    with pytest.raises(ConfigError, match=r"^dataset.train_rows: 25 is wrong; give a number from 1 to 24"):
        load(tmp_path, load_imagenette, train_rows=25)


def test_tables_without_synsets_keep_their_order(tmp_path):
    splits = tools.samples(tools.SYNSETS[:3])
    plain = {split: [(s, n.replace(s, "img"), d) for s, n, d in rows] for split, rows in splits.items()}
    tools.parquet(tmp_path, plain, words=True, paths=False, shards=1)
    dataset = load(tmp_path)
    assert dataset.classes == ("cassette player", "springer", "tench")
    expected = sorted((2 - tools.SYNSETS.index(s), row, d) for row, (s, _, d) in enumerate(plain["train"]))
    assert [dataset.train.read(row) for row in range(12)] == [data for _, _, data in expected]


@pytest.mark.parametrize("at", [0, 7, 19])
def test_a_file_with_the_wrong_label_does_not_name_the_class(at, tmp_path):
    splits = tools.samples()
    synset, _, data = splits["train"][at]
    other = next(one for one in tools.SYNSETS if one != synset)
    splits["train"][at] = (synset, f"{other}_999.JPEG", data)
    tools.parquet(tmp_path, splits, words=True)
    layout = find(FOLDER, str(tmp_path), lambda found: found)
    assert layout.classes == tools.SYNSETS
    (text,) = mislabelled(layout)
    assert text.endswith(f"is labelled {synset}; its name says {other}")


def test_a_copy_of_parquet_files_is_made_once_and_renewed_when_they_change(tmp_path, monkeypatch):
    tools.parquet(tmp_path, tools.samples())
    first = load(tmp_path)
    monkeypatch.setattr(packing, "_write", lambda *_: pytest.fail("copied again"))
    assert load(tmp_path).fingerprint == first.fingerprint
    monkeypatch.undo()
    changed = {split: [(s, n, data + b"\0") for s, n, data in rows] for split, rows in tools.samples().items()}
    tools.parquet(tmp_path, changed)
    assert load(tmp_path).train.read(0) == first.train.read(0) + b"\0"
    assert not [
        file for file in (tmp_path / "cache" / "packed").iterdir() if file.suffix not in {".bin", ".npy", ".lock"}
    ]


def test_a_copy_needs_room(tmp_path, monkeypatch):
    tools.parquet(tmp_path, tools.samples())
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match="GB free, but"):
        load(tmp_path)


def test_an_image_without_bytes_is_named(tmp_path):
    splits = tools.samples()
    splits["train"][3] = (*splits["train"][3][:2], None)
    tools.parquet(tmp_path, splits)
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet, row 1: the image has no bytes"):
        load(tmp_path)


class FakeTable:
    """What this project uses of a split in the `datasets` package."""

    def __init__(self, rows):
        import pyarrow as pa

        self.synsets = sorted({row[0] for row in rows})
        self.features = {"label": types.SimpleNamespace(names=self.synsets)}
        self.rows, self.column_names = rows, ["image", "label"]
        self.data = pa.table({"image": [{"bytes": data, "path": name} for _, name, data in rows]})

    def cast_column(self, name, kind):
        assert (name, kind) == ("image", "not decoded")
        return self

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        if key == "label":
            return [self.synsets.index(row[0]) for row in self.rows]
        return {"image": {"bytes": self.rows[key][2], "path": self.rows[key][1]}}


def test_a_hub_name_through_the_datasets_package(monkeypatch, in_folders):
    splits = {"train": FakeTable(tools.samples()["train"]), "validation": FakeTable(tools.samples()["val"])}
    fake = types.SimpleNamespace(
        load_dataset=lambda name: {"me/mine": splits}[name], Image=lambda decode: "not decoded"
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)
    dataset = load_folder("hub:me/mine", size=16)
    assert dataset.fingerprint == in_folders.fingerprint
    assert dataset.source == "hub:me/mine"
    monkeypatch.setitem(sys.modules, "datasets", None)
    missing = r"uv sync --inexact --extra datasets"
    for root, message in (("hub:me/mine", missing), ("hub:", "type dataset.root=hub:OWNER/NAME")):
        with pytest.raises(DataError, match=message):
            load_folder(root)


def test_a_hub_name_through_the_package_itself(tmp_path, monkeypatch, in_folders):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tools.parquet(tmp_path, tools.samples(), words=True, suffix=True, val="validation")
    assert load_folder(f"hub:{tmp_path}", size=16).fingerprint == in_folders.fingerprint


@pytest.mark.data
def test_imagenette(data_dir, tmp_path):
    dataset = load_imagenette(str(data_dir), size=64, cache=str(tmp_path), train_rows=200, val_rows=50)
    assert dataset.facts["class_list"] == "imagenette"
    assert np.bincount(dataset.train.labels).min() >= 18
    assert whole(dataset.val).images.shape == (50, 3, 64, 64)


def test_names_that_are_no_utf8_are_one_line(tmp_path):
    from ast_experiments.data.encoded.layouts import class_folders

    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"dataset\.class_list: .*list\.txt is no text in UTF-8"):
        read_list(str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_bytes(b" \n\n")
    with pytest.raises(DataError, match=r"dataset\.class_list: .*list\.txt names no class; expected one in each line"):
        read_list(str(tmp_path / "list.txt"))
    for split in ("train", "val"):
        os.makedirs(os.fsencode(tmp_path / "images" / split) + b"/caf\xe9")
    with pytest.raises(DataError, match=r"caf.*: the name of this class is no UTF-8; rename the folder"):
        class_folders(tmp_path / "images", lambda found: found)
