"""Images a second and core: this project's loader beside timm's, on the same files, with the same augmentation.

    AST_DATA_DIR=... python scripts/bench_loader.py --size 224
    AST_DATA_DIR=... python scripts/bench_loader.py --size 224 --side 375 --jitter    as large as ImageNet's, colours
    python scripts/bench_loader.py --root FOLDER                            train/CLASS/*.jpg of your own

Both decode, crop, scale, flip, perhaps change colours, and normalise, in one process on one thread. CPU seconds are
counted, so that other programs on the machine do not count, and the arms take turns. timm runs in both of its forms,
with and without its prefetcher, and the quicker one is compared. Wanted: a ratio of 1 or more; and with 60 % of the
samples skipped, 43 % of the time or less.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ast_experiments.config.compose import load_config
from ast_experiments.data.build import transform_settings
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.data.loaders.host import HostLoader
from ast_experiments.data.loaders.transforms import build_transforms
from ast_experiments.runs.build import build_dataset

BATCH = 64
SKIPPED = 0.6


def encoded_images(args: argparse.Namespace) -> tuple[EncodedImages, Any]:
    """The training samples, and the settings of their data set."""
    name = "folder" if args.root else "imagenette"
    overrides = [f"dataset={name}", f"dataset.size={args.size}", f"recipe.batch_size={BATCH}"]
    overrides += [f"dataset.root={args.root}"] if args.root else []
    overrides += [f"dataset.{key}=0.4" for key in ("brightness", "contrast", "saturation")] if args.jitter else []
    config = load_config(overrides)
    return build_dataset(config).train.first(args.rows), config.dataset  # pyright: ignore[reportReturnType]


def write_files(photos: EncodedImages, folder: Path, side: int | None) -> None:
    """Writes the images as files in folders by class, where both loaders read them."""
    from PIL import Image

    for row, label in enumerate(photos.labels):
        data = photos.read(row)
        if side:
            buffer = io.BytesIO()
            image = Image.open(io.BytesIO(data)).convert("RGB")
            image.resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            data = buffer.getvalue()
        for split in ("train", "val"):
            home = folder / split / f"class{label:04d}"
            home.mkdir(parents=True, exist_ok=True)
            (home / f"{row:07d}.jpg").write_bytes(data)


def ours(folder: Path, settings: Any, share: float) -> Callable[[int], int]:
    """A function that loads an epoch, or a random share of it, with this project's loader."""
    from ast_experiments.data.encoded.load import load_folder

    photos = load_folder(str(folder), size=settings.size).train
    view, _ = build_transforms(transform_settings(settings))
    loader = HostLoader(photos, "cpu", transform=view, mean=settings.mean, std=settings.std, seed=0)

    def epoch(turn: int) -> int:
        ids = np.random.default_rng(turn).permutation(len(photos))[: round(share * len(photos))]
        return sum(len(batch) for batch in loader.batches(PlannedBatches(ids, BATCH, keep_short=True), turn))

    return epoch


def timms(folder: Path, settings: Any, prefetcher: bool) -> Callable[[int], int]:
    """A function that loads an epoch with timm's loader."""
    from timm.data.dataset import ImageDataset
    from timm.data.loader import create_loader

    loader = create_loader(
        ImageDataset(str(folder / "train")),
        input_size=(3, settings.size, settings.size),
        batch_size=BATCH,
        is_training=True,
        scale=tuple(settings.crop_scale),
        ratio=tuple(settings.crop_ratio),
        color_jitter=settings.brightness,
        interpolation=settings.interpolation,
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        num_workers=0,
        persistent_workers=False,
        use_prefetcher=prefetcher,
        device=torch.device("cpu"),
    )
    return lambda turn: sum(len(labels) for _, labels in loader)


def main() -> None:
    """Runs the arms in turns and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="height and width of the pictures")
    parser.add_argument("--side", type=int, help="re-encode the images with a shorter side of so many pixels")
    parser.add_argument("--rows", type=int, default=1000, help="images of an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each arm")
    parser.add_argument("--jitter", action="store_true", help="brightness, contrast and saturation by 0.4")
    parser.add_argument("--root", help="folder with train/CLASS/ and val/CLASS/ instead of Imagenette")
    args = parser.parse_args()
    torch.set_num_threads(1)
    photos, settings = encoded_images(args)
    with tempfile.TemporaryDirectory() as scratch:
        write_files(photos, Path(scratch), args.side)
        arms = {
            "ours": ours(Path(scratch), settings, 1.0),
            "timm, prefetcher": timms(Path(scratch), settings, prefetcher=True),
            "timm, plain": timms(Path(scratch), settings, prefetcher=False),
            f"ours, {SKIPPED:.0%} skipped": ours(Path(scratch), settings, 1 - SKIPPED),
        }
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(args.rounds + 1):
            for name, epoch in arms.items():
                begin = time.process_time()
                epoch(turn)
                if turn:  # the first round warms up
                    seconds[name].append(time.process_time() - begin)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"{len(photos):,} images, pictures of {args.size} px, medians of {args.rounds} rounds, CPU seconds of one core"
    )
    for name, value in median.items():
        rows = len(photos) * (1 - SKIPPED if "skipped" in name else 1)
        print(f"{name:20} {value:7.2f} s {rows / value:8.0f} images/s")
    first, prefetched, plain, skipping = median.values()
    print(f"ours / timm: {min(prefetched, plain) / first:.2f}   wanted >= 1")
    print(f"work that skipping {SKIPPED:.0%} saves: {1 - skipping / first:.1%}   wanted >= 57 %")


if __name__ == "__main__":
    main()
