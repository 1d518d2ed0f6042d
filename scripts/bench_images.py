"""Photographs through a network: a bare loop on pictures that lie on the device, `dense`, and stale `ast`, in one run.

    AST_DATA_DIR=... python scripts/bench_images.py                                      # Imagenette, ResNet-50, 224 px
    python scripts/bench_images.py dataset=folder dataset.root=FOLDER model.arch=vit_small_patch16_224 recipe=finetune

What is typed are overrides of the configuration. The arms take turns, one epoch each. The bare loop trains the same
network with the same optimiser and precision on random pictures: no files, no loader, no log. What `dense` reaches
of its rows a second is what reading, decoding and logging leave of the device (checkpoints are left out); the loader
alone, without a network, tells whether loading is the bottleneck. Printed are medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_tools import endless_run
from torch.nn import functional

from ast_experiments.config.compose import load_config
from ast_experiments.config.schema import Config
from ast_experiments.data.build import transform_settings
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.data.loaders.placement import build_loader
from ast_experiments.data.loaders.transforms import build_transforms
from ast_experiments.runs import build
from ast_experiments.training.hardware import Hardware, worker_count
from ast_experiments.training.optim import build_optimizer

DEFAULTS = [
    "dataset=imagenette", "model=timm", "model.arch=resnet50", "recipe=sgd", "recipe.batch_size=256",
    "recipe.eval_batch_size=256", "recipe.lr=0.1", "energy=nominal", "eval_every=1000",
]  # fmt: skip
DISTINCT = 4  # batches of random pictures


def bare_arm(config: Config, dataset: Dataset, hardware: Hardware) -> Callable[[], int]:
    """A function that trains as many rows as an epoch has, on random pictures; returns how many."""
    recipe = config.recipe
    model = build.build_model(config, dataset, hardware)
    forward = torch.compile(model) if hardware.compile else model
    optimizer = build_optimizer(
        model, recipe.optimizer, lr=1e-4, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
        decay_norm_and_bias=False,
    )  # fmt: skip
    height, width, channels = dataset.image_shape
    made = torch.randn(DISTINCT, recipe.batch_size, channels, height, width, device=hardware.device)
    pictures = [batch.to(memory_format=hardware.memory_format) for batch in made]
    labels = torch.randint(0, len(dataset.classes), (recipe.batch_size,), device=hardware.device)
    steps = len(dataset.train) // recipe.batch_size

    def epoch() -> int:
        for step in range(steps):
            with hardware.autocast():
                logits = forward(pictures[step % DISTINCT])
            functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if hardware.device.type == "cuda":
            torch.cuda.synchronize()
        return steps * recipe.batch_size

    return epoch


def loader_arm(config: Config, dataset: Dataset, hardware: Hardware) -> Callable[[], int]:
    """A function that loads an epoch to the device, and nothing else; returns how many rows."""
    settings, hw = config.dataset, config.hardware
    view, _ = build_transforms(transform_settings(settings))
    loader = build_loader(
        dataset.train, device=hardware.device, transform=view, mean=settings.mean, std=settings.std, seed=0,
        on_device=hw.data_on_device, workers=worker_count(hw.workers, hardware.device.type),
    )  # fmt: skip
    turn = iter(range(1_000_000))

    def epoch() -> int:
        number = next(turn)
        ids = np.random.default_rng(number).permutation(len(dataset.train))
        rows = sum(len(batch) for batch in loader.batches(PlannedBatches(ids, config.recipe.batch_size), number))
        if hardware.device.type == "cuda":
            torch.cuda.synchronize()
        return rows

    return epoch


def main() -> None:
    """Run the arms in turns and print rows a second, and shares of the bare loop's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, as for ast-train")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs of each arm")
    parser.add_argument("--rate", type=float, default=0.4, help="rate of the stale arm")
    args = parser.parse_args()
    overrides = [*DEFAULTS, *args.overrides]
    config = load_config([*overrides, "method=dense"])
    hardware = build.hardware_of(config.hardware)
    dataset = build.build_dataset(config)

    with tempfile.TemporaryDirectory() as scratch:
        arms: dict[str, Callable[[], int | None]] = {
            "bare": bare_arm(config, dataset, hardware),
            "loader alone": loader_arm(config, dataset, hardware),
            "dense": endless_run(dataset, Path(scratch, "dense"), *overrides, "method=dense").run_epoch,
            f"stale {args.rate:g}": endless_run(
                dataset, Path(scratch, "stale"), *overrides, "method=ast", f"method.rate={args.rate}",
                "method.rate_schedule=constant",
                "method.warmup_epochs=1",
            ).run_epoch,
        }  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        rows = dict.fromkeys(arms, 0)
        for turn in range(args.rounds + 1):
            for name, epoch in arms.items():
                if turn == 0 and name.startswith("stale"):
                    epoch()  # the warm-up epoch, which is dense and gives every sample a score
                begin = time.perf_counter()
                done = epoch()
                if turn:
                    seconds[name].append(time.perf_counter() - begin)
                    rows[name] = done or 0
    whole = len(dataset.train) // config.recipe.batch_size * config.recipe.batch_size
    median = {name: statistics.median(values) for name, values in seconds.items()}
    speed = {name: (rows[name] or whole) / value for name, value in median.items()}
    where = torch.cuda.get_device_name() if hardware.device.type == "cuda" else "CPU"
    workers = worker_count(config.hardware.workers, hardware.device.type)
    arch = getattr(config.model, "arch", config.model.name)
    print(
        f"{where}, {workers} workers, {arch} at {dataset.image_shape[0]} px, "
        f"batch {config.recipe.batch_size}, {len(dataset.train):,} images, medians of {args.rounds} rounds"
    )
    print(f"{'arm':14} {'s/epoch':>8} {'images/s':>10} {'of bare':>8} {'s of dense':>11}")
    for name, value in median.items():
        shown = "" if name.startswith("stale") else f"{speed[name]:10,.0f} {speed[name] / speed['bare']:8.3f}"
        print(f"{name:14} {value:8.2f} {shown:>19} {value / median['dense']:11.3f}")


if __name__ == "__main__":
    main()
