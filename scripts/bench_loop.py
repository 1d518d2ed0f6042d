"""Compares the time of an epoch: a bare PyTorch loop, `dense`, and `ast`, in one process.

    python scripts/bench_loop.py                        # synthetic images of CIFAR-10's shape
    AST_DATA_DIR=... python scripts/bench_loop.py --real

All arms train SimpleCNN with the same precision, memory format, augmentation, batch size and optimiser. They take
turns, one epoch each, so that drift of the machine affects them alike. The script prints medians over the rounds as
ratios: the bare loop's seconds over those of dense (goal: at least 0.95), and those of `ast` over those of dense at
each rate r (goal: at most 1.05 r + 0.03).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from bench_tools import endless_run, synthetic, take_turns
from torch import Tensor, nn
from torch.nn import functional

from ast_experiments.config.compose import load_config
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.data.in_memory.transforms import pad
from ast_experiments.data.loaders.normalise import Normalise
from ast_experiments.models.simple_cnn import SimpleCNN
from ast_experiments.runs import build
from ast_experiments.training.optim import build_optimizer


def bare_arm(dataset: Dataset) -> Callable[[], None]:
    """Returns a function that runs one epoch of a hand-written loop: no log, no ids, no hooks."""
    config = load_config(["experiment=cifar10_dense"])
    recipe, data = config.recipe, config.dataset
    hardware = build.hardware_of(config.hardware)
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
    """Runs the arms in turns and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="training rows of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs of each arm")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.4, 0.1], help="rates of the ast arms")
    parser.add_argument("--real", action="store_true", help="train on CIFAR-10, found through AST_DATA_DIR")
    args = parser.parse_args()
    dataset = build.build_dataset(load_config(["experiment=cifar10_dense"])) if args.real else synthetic(args.rows)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arms = {"bare": bare_arm(dataset), "dense": endless_run(dataset, folder / "dense").run_epoch}
        for rate in args.rates:
            overrides = ["method=ast", f"method.rate={rate}", "method.rate_schedule=constant", "method.warmup_epochs=1"]
            arms[f"stale {rate}"] = endless_run(dataset, folder / f"stale{rate}", *overrides).run_epoch
            arms[f"stale {rate}"]()  # the warm-up epoch, which is dense and gives every sample a score
        seconds = take_turns(arms, args.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{torch.get_num_threads()} threads, {len(dataset.train):,} rows, medians of {args.rounds} rounds")
    print(f"{'arm':12} {'s/epoch':>8} {'of dense':>9} {'goal':>10}")
    for name, value in median.items():
        ratio = value / median["dense"]
        goal = ">= 0.950" if name == "bare" else ""
        if name.startswith("stale"):
            goal = f"<= {1.05 * float(name.split()[1]) + 0.03:.3f}"
        print(f"{name:12} {value:8.2f} {ratio:9.3f} {goal:>10}")


if __name__ == "__main__":
    main()
