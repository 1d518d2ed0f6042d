"""Small images, written in every layout that data sets come in."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ast_experiments.data.encoded.images import EncodedImages

SYNSETS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916")
WORDS = ("tench", "springer", "cassette player", "chain saw", "church", "horn")
# Numbers of unequal length, so that the rank of a file name is not that of its number.
NUMBERS = {"train": (10, 9, 100, 7), "val": (293, 31)}


def encode(pixels, kind="JPEG", mode="RGB", **settings):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **settings)
    return file.getvalue()


def image(seed, height=40, width=56):
    """Smooth colours, different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3)).astype(np.uint8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def samples(synsets=SYNSETS):
    """split -> [(synset, file name, encoded image)], in no useful order."""
    made = {}
    for at, (split, numbers) in enumerate(NUMBERS.items()):
        rows = []
        for number in numbers:
            for label, synset in enumerate(synsets):
                pixels = image(1000 * at + 10 * number + label, 40 + number % 9, 56 - label)
                rows.append((synset, f"{synset}_{number}.JPEG", encode(pixels)))
        made[split] = rows
    return made


PLAIN = {"mean": [0.5] * 3, "std": [0.25] * 3, "seed": 5}


@dataclass
class Kept:
    """A store in memory that remembers what was read."""

    images: list
    reads: list = field(default_factory=list)

    def __len__(self):
        return len(self.images)

    def read(self, row):
        self.reads.append(row)
        return self.images[row]

    def where(self, row):
        return f"image {row}"

    def take(self, rows):
        return Kept([self.images[row] for row in rows])


def encoded_images(count=12, size=16, images=None, **settings):
    images = images or [encode(image(row, 30 + row, 50 - row)) for row in range(count)]
    names = np.array([b"%d" % row for row in range(len(images))])
    return EncodedImages(Kept(images), np.arange(len(images)) % 3, names, size, **settings)


def grey_levels(images):
    return ((images * 0.25 + 0.5) * 255).round()


def write(folder, synset, name, data):
    (folder / synset).mkdir(parents=True, exist_ok=True)
    (folder / synset / name).write_bytes(data)


def folders(root: Path, splits):
    for split, rows in splits.items():
        for row in rows:
            write(root / split, *row)


def kaggle(root: Path, splits):
    """Four parts with different classes each, dealt so that no part's order is that of the whole."""
    synsets = sorted({row[0] for row in splits["train"]})
    part = {synset: (5 * place + 3) % 4 + 1 for place, synset in enumerate(synsets)}
    for synset, name, data in splits["train"]:
        write(root / f"train.X{part[synset]}", synset, name, data)
    for row in splits["val"]:
        write(root / "val.X", *row)
    (root / "Labels.json").write_text('{"n03394916": "horn"}')


def parquet(root: Path, splits, *, words=False, suffix=False, val="val", paths=True, shards=2):
    """Hugging Face's layout: classes named by synset or in words, synsets at the end of file names or not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir(parents=True, exist_ok=True)
    synsets = sorted({row[0] for row in splits["train"]}, reverse=words)  # in words, the order is another
    names = [WORDS[SYNSETS.index(s)] for s in synsets] if words else synsets
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    info = {"info": {"features": features}}
    for split, rows in splits.items():
        for shard in range(shards):
            part = rows[shard::shards]
            files = [name.replace(".JPEG", f"_{synset}.JPEG") if suffix else name for synset, name, _ in part]
            images = [{"bytes": r[2], "path": f if paths else None} for r, f in zip(part, files, strict=True)]
            table = pa.table({"image": images, "label": [synsets.index(r[0]) for r in part]})
            table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
            file = f"{val if split == 'val' else split}-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(table, root / file, row_group_size=5)


def flat_val(root: Path, splits):
    """ImageNet-1K on Kaggle: validation files without folders, and a list of their classes."""
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    folders(base, {"train": splits["train"]})
    (base / "val").mkdir()
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", "PredictionString"])
        for synset, name, data in splits["val"]:
            (base / "val" / name).write_bytes(data)
            table.writerow([name.removesuffix(".JPEG"), f"{synset} 1 2 3 4 {synset} 5 6 7 8"])
