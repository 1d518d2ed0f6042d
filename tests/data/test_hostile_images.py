"""Files that are no images, or images of a kind that is not read: left out and counted, or refused in one line."""

import os
import subprocess
import sys

import image_tools as tools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ast_experiments.core.errors import DataError
from ast_experiments.data.encoded.checks import scan
from ast_experiments.data.encoded.decode import EncodedImage
from ast_experiments.data.encoded.image_files import EXTENSIONS, describe_left_out
from ast_experiments.data.encoded.load import FOLDER, find, load_folder

PIXELS = tools.image(3, 24, 24)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\nshowpage\n%%EOF\n"
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"


def load(root):
    return load_folder(str(root), size=16)


def pair(root, **more):
    """A data set of two classes, and more files of train/cat by name."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            tools.write(root / split, name, "0.jpg", tools.encode(PIXELS))
    for name, data in more.items():
        tools.write(root / "train", "cat", name, data)
    return root


def names(samples, label=0):
    return [os.fsdecode(name) for name in samples.names[samples.labels == label]]


def test_the_same_files_as_torchvision_reads():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert {end.decode() for end in EXTENSIONS} == set(IMG_EXTENSIONS)


def test_every_image_of_a_nested_folder_is_read_as_torchvision_does(tmp_path):
    from torchvision.datasets import ImageFolder

    kinds = {"b.tif": "TIFF", "c.TIFF": "TIFF", "d.ppm": "PPM", "e.bmp": "BMP", "f.webp": "WEBP", "g.Png": "PNG"}
    pair(tmp_path, **{name: tools.encode(PIXELS, kind) for name, kind in kinds.items()})
    (tmp_path / "train/cat/h.pgm").write_bytes(tools.encode(PIXELS, "PPM", "L"))
    for place in ("cat/second/deep", "dog/second"):
        tools.write(tmp_path / "train", place, "0.jpg", tools.encode(PIXELS))
    (tmp_path / "train/dog/loop").symlink_to(tmp_path / "train/dog")
    samples = load(tmp_path).train
    (tmp_path / "train/dog/loop").unlink()  # torchvision follows it forty times
    theirs = ImageFolder(str(tmp_path / "train")).samples
    ours = [(samples.store.where(row), label) for row, label in enumerate(samples.labels.tolist())]
    assert sorted(ours) == sorted(theirs)
    assert names(samples, 1) == ["0.jpg", "second/0.jpg"]
    for row in range(len(samples)):
        assert samples.image(row).crop(0, 0, 24, 24).shape == (24, 24, 3)


def test_what_is_left_out_is_counted_by_train_and_doctor(tmp_path, caplog):
    pair(tmp_path, **{"a.gif": b"", "b.gif": b"", "c.jfif": b"", ".d.jpg": b"", ".DS_Store": b"", "notes": b""})
    (tmp_path / "train/stray.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "train/dog/pipe.jpg")
    (tmp_path / "train/dog/zero.jpg").symlink_to("/dev/zero")
    dataset = load(tmp_path)
    reasons = "(2 .gif, 1 .jfif, 1 beside the class folders, 1 hidden, 2 no regular file, 1 without an end)"
    assert len(dataset.train) == 2
    assert f"train: 8 files are left out {reasons}; read are" in caplog.text
    assert dataset.facts["data_left_out"] in caplog.text
    layout = find(FOLDER, str(tmp_path), lambda found: found)
    assert list(describe_left_out(layout.left_out)) == [dataset.facts["data_left_out"]]


@pytest.mark.parametrize("data", [POSTSCRIPT, PDF, b"P9 1 1", b"hello"], ids=["PostScript", "PDF", "no PPM", "text"])
def test_other_formats_never_reach_pillow(data, monkeypatch):
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("started another program"))
    with pytest.raises(DataError, match=r"^x\.png cannot be decoded .it is none of JPEG, PNG, WEBP, BMP, TIFF"):
        EncodedImage(data, "x.png")


WHOLE = {kind: tools.encode(PIXELS, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")}


@given(
    kind=st.sampled_from(sorted(WHOLE)),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_a_damaged_image_is_decoded_or_refused_in_one_line(kind, cut, flips):
    data = bytearray(WHOLE[kind][: max(8, round(len(WHOLE[kind]) * (1 - cut / 2)))])
    for at, bits in flips:
        data[int(at * (len(data) - 1))] ^= bits
    try:
        image = EncodedImage(bytes(data), "x.png")
        image.turned  # noqa: B018
        if image.height * image.width < 10**7:
            image.crop(0, 0, image.height, image.width)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_an_orientation_is_said_and_not_applied(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    pair(tmp_path)
    Image.fromarray(tools.image(1, 24, 40)).save(tmp_path / "train/cat/1.jpg", exif=exif)
    layout = find(FOLDER, str(tmp_path), lambda found: found)
    assert scan(layout.splits["train"]).turned == 1
    assert scan(layout.splits["val"]).turned == 0
    dataset = load(tmp_path)
    (row,) = np.flatnonzero(dataset.train.names == b"1.jpg")
    assert dataset.train.image(int(row)).height == 24
    said = "train: 1 of 3 images looked at have an EXIF orientation, which is ignored"
    assert said in caplog.text
    assert dataset.facts["data_turned"].startswith(said)


def test_images_looked_at_for_an_orientation_are_few_and_damaged_ones_do_no_harm(tmp_path, caplog):
    pair(tmp_path, **{f"{n}.jpg": b"damaged" for n in range(2, 300)})
    train = load(tmp_path).train
    assert train.turned(len(train)) == (0, 2)
    assert sum(train.turned(64)) <= 2
    assert "EXIF" not in caplog.text


def test_damaged_metadata_write_nothing_to_the_terminal():
    broken = tools.encode(PIXELS, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\xff\xff\0\0\xff\xff")
    code = """
import sys
from ast_experiments.data.encoded.decode import EncodedImage
image = EncodedImage(sys.stdin.buffer.read(), "x")
image.turned
image.crop(0, 0, 8, 8)
"""
    done = subprocess.run([sys.executable, "-c", code], input=broken, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


LABELS = {
    "fractions": ([0.9, 1.9], "the label 0.9 is wrong"),
    "no numbers": ([0.0, float("nan")], "the label nan is wrong"),
    "text": (["a", "b"], "the label 'a' is wrong"),
    "numbers as text": (["0", "1"], "the label '0' is wrong"),
    "lists": ([[0], [1]], "is wrong; expected class indices"),
    "negative": ([-1, 1], "the label -1 is wrong"),
    "missing": ([None, 1], "some rows have no label"),
    "huge": ([0, 2**40], "the label 1099511627776 is more than there are classes"),
    "above int64": (np.array([0, 2**63 + 5], np.uint64), f"the label {2**63 + 5} is wrong"),
}


def table(root, labels, images=None):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = images or [{"bytes": tools.encode(PIXELS), "path": f"{row}.jpg"} for row in range(len(labels))]
    for split in ("train", "val"):
        pq.write_table(pa.table({"image": images, "label": labels}), root / f"{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_tables_are_whole_numbers(kind, tmp_path):
    labels, message = LABELS[kind]
    table(tmp_path, labels)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("labels", [[0.0, 1.0], [False, True], [0, 1]], ids=str)
def test_whole_numbers_of_any_type_are_labels(labels, tmp_path):
    table(tmp_path, labels)
    assert find(FOLDER, str(tmp_path), lambda found: found).splits["train"].labels.tolist() == [0, 1]


def test_an_image_column_without_bytes_is_refused(tmp_path):
    table(tmp_path, [0, 1], [b"x", b"y"])
    with pytest.raises(DataError, match="the column image is binary, expected a struct with a field bytes"):
        load(tmp_path)
