"""Cost of an epoch: a bare PyTorch loop, `dense`, and stale `ast`, side by side in one run.

    python scripts/bench_loop.py                        # synthetic images of CIFAR-10's shape
    AST_DATA_DIR=... python scripts/bench_loop.py --real

All arms train SimpleCNN with the same precision, memory format, augmentation, batch size and optimiser, and take
turns, one epoch each, so that drift of the machine hits them alike. Printed are medians over the rounds, as ratios:
the bare loop's seconds over dense's (at least 0.95 is wanted) and stale's over dense's at each rate r
(at most 1.05 r + 0.03 is wanted).
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
from torch import Tensor, nn
from torch.nn import functional

from ast_experiments.config.compose import compose, load_config
from ast_experiments.config.validate import validate
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.data.in_memory.transforms import pad
from ast_experiments.data.loaders.normalise import Normalise
from ast_experiments.models.simple_cnn import SimpleCNN
from ast_experiments.runs import build
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.training.optim import build_optimizer


def synthetic(rows: int) -> Dataset:
    """Random images in CIFAR-10's shape: the arithmetic costs the same, whatever is in the pictures."""
    rng = np.random.default_rng(0)

    def images(n: int) -> Images:
        return Images(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.int64))

    return Dataset("synthetic", images(rows), images(100), tuple("0123456789"), "random pixels")


def framework_arm(dataset: Dataset, folder: Path, *overrides: str) -> Callable[[], None]:
    """A function that runs one epoch of this project's loop; without checkpoints, which come by the minute."""
    config = validate(
        compose(
            ["experiment=cifar10_dense", "tracking=jsonl", "tracking.report=false", "recipe.epochs=1000", *overrides]
        )
    )
    folder.mkdir()
    tracker = Trackers([JsonlTracker(folder / "metrics.jsonl")])
    run = build.build_run(config, folder, lambda _: tracker, dataset=dataset)
    run.tracker.load_state_dict({})
    run.checkpoints._saved = float("inf")
    run.stepper.model.train()
    return run.run_epoch


def bare_arm(dataset: Dataset) -> Callable[[], None]:
    """A function that runs one epoch of a hand-written loop: no log, no ids kept, no hooks, draws from a stream."""
    config = load_config(["experiment=cifar10_dense"])
    recipe, data = config.recipe, config.dataset
    hardware = build.hardware_of(config)
    model: nn.Module = SimpleCNN().to(hardware.device, memory_format=hardware.memory_format)  # pyright: ignore
    optimizer = build_optimizer(
        model, recipe.optimizer, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay,
        decay_norm_and_bias=recipe.decay_norm_and_bias,
    )  # fmt: skip
    assert isinstance(dataset.train, Images)
    padding, (height, width, channels) = data.crop_padding, dataset.image_shape
    table = pad(torch.from_numpy(dataset.train.images).to(hardware.device), padding)
    tall, wide = height + 2 * padding, width + 2 * padding
    pixels = table.view(-1, channels)
    labels = torch.from_numpy(dataset.train.labels).to(hardware.device)
    down = torch.arange(height, device=hardware.device)
    across = torch.arange(width, device=hardware.device)
    normalise = Normalise(data.mean, data.std, dataset.image_shape, hardware.device)

    def random_crops(ids: Tensor) -> Tensor:
        def number(high: int) -> Tensor:
            return torch.randint(high, (len(ids), 1), device=hardware.device)

        ys, xs = number(2 * padding + 1) + down, number(2 * padding + 1) + across
        xs = torch.where(number(2) > 0, xs.flip(1), xs)
        places = ((ids[:, None] * tall + ys) * wide)[:, :, None] + xs[:, None, :]
        return pixels.index_select(0, places.view(-1)).view(len(ids), height, width, channels)

    def epoch() -> None:
        order = torch.randperm(len(labels), device=hardware.device)
        for ids in order.split(recipe.batch_size):
            images = normalise(random_crops(ids))
            with hardware.autocast():
                logits = model(images)
            loss = functional.cross_entropy(logits.float(), labels[ids])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if hardware.device.type == "cuda":
            torch.cuda.synchronize()

    return epoch


def main() -> None:
    """Run the arms in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="training rows of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs of each arm")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.4, 0.1], help="rates of the stale arms")
    parser.add_argument("--real", action="store_true", help="CIFAR-10 itself, found through AST_DATA_DIR")
    args = parser.parse_args()
    dataset = build.build_dataset(load_config(["experiment=cifar10_dense"])) if args.real else synthetic(args.rows)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arms = {"bare": bare_arm(dataset), "dense": framework_arm(dataset, folder / "dense")}
        for rate in args.rates:
            arms[f"stale {rate}"] = framework_arm(
                dataset, folder / f"stale{rate}", "method=ast", f"method.rate={rate}", "method.warmup_epochs=1"
            )
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(args.rounds + 1):
            for name, epoch in arms.items():
                if turn == 0 and name.startswith("stale"):
                    epoch()  # the warm-up epoch, which is dense and gives every sample a score
                begin = time.perf_counter()
                epoch()
                if turn:
                    seconds[name].append(time.perf_counter() - begin)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{torch.get_num_threads()} threads, {len(dataset.train):,} rows, medians of {args.rounds} rounds")
    print(f"{'arm':12} {'s/epoch':>8} {'of dense':>9} {'wanted':>10}")
    for name, value in median.items():
        ratio = value / median["dense"]
        wanted = ">= 0.950" if name == "bare" else ""
        if name.startswith("stale"):
            wanted = f"<= {1.05 * float(name.split()[1]) + 0.03:.3f}"
        print(f"{name:12} {value:8.2f} {ratio:9.3f} {wanted:>10}")


if __name__ == "__main__":
    main()
