"""Time what the table of samples adds to a run, with and without predictions, side by side.

    python scripts/bench_samples.py                      # 1.28 million samples, 1000 classes, batches of 128
    python scripts/bench_samples.py --samples 50000 --classes 10 --batch 500 --size 32

Each round times the same batches with and without predictions, in an order that alternates, in CPU time of this process
on one thread. The step it is compared with is a training step of one of timm's networks on the CPU; a quarter of the
batch is timed. At the end of an epoch all samples have been visited. The page is made from a table with random visits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from torch.nn import functional

from ast_experiments.analysis.report import write_report
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.runs.gallery import write_gallery
from ast_experiments.training.samples import SampleTable

SIDE = 32
VISITED = 10_000
"""Rows that are visited together, outside the timed part, to fill an epoch."""


def seconds(action: Callable[[], object]) -> float:
    """CPU seconds of an action."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def step_seconds(arch: str, size: int, rows: int, classes: int, rounds: int) -> float:
    """Median CPU seconds of a training step of a network on square images of `size` pixels."""
    network = timm.create_model(arch, num_classes=classes)
    part = max(2, rows // 4)
    images, labels = torch.randn(part, 3, size, size), torch.randint(classes, (part,))
    times = [seconds(lambda: functional.cross_entropy(network(images), labels).backward()) for _ in range(rounds)]
    return statistics.median(times) * rows / part


def dataset_of(samples: int, classes: int) -> Dataset:
    """A data set of grey noise, whose samples share their pixels."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    train = Images(np.broadcast_to(pixels, (samples, SIDE, SIDE, 3)), random.integers(0, classes, samples))
    return Dataset("noise", train, train.first(1), tuple(f"class {each}" for each in range(classes)), "made")


def main() -> None:
    """Print the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=112)
    args = parser.parse_args()
    torch.set_num_threads(1)
    dataset = dataset_of(args.samples, args.classes)
    tables = {
        kept: SampleTable(dataset.columns, args.samples, "cpu", args.classes if kept else None) for kept in (0, 1)
    }
    order = torch.randperm(args.samples)
    logits = torch.randn(args.batch, args.classes)
    outputs = Outputs(logits, torch.rand(args.batch))
    images = torch.zeros(1, 1, 1, 1).expand(args.batch, 1, 1, 1)

    def train(table: SampleTable) -> None:
        for at in range(args.steps):
            ids = order[(at * args.batch) % (args.samples - args.batch + 1) :][: args.batch]
            table.record(Batch(ids, images, ids % args.classes), outputs, None)

    many = Outputs(torch.randn(VISITED, args.classes), torch.rand(VISITED))

    def visit_all(table: SampleTable) -> None:
        for ids in order.split(VISITED):
            some = Outputs(many.logits[: len(ids)], many.losses[: len(ids)])
            table.record(Batch(ids, images[:1].expand(len(ids), 1, 1, 1), ids % args.classes), some, None)

    steps: dict[int, list[float]] = {0: [], 1: []}
    commits: dict[int, list[float]] = {0: [], 1: []}
    for number in range(args.rounds):
        for kept in (0, 1) if number % 2 else (1, 0):
            steps[kept].append(seconds(lambda kept=kept: train(tables[kept])) / args.steps)
            visit_all(tables[kept])
            commits[kept].append(seconds(lambda kept=kept, number=number: tables[kept].commit(number)))
    network = step_seconds(args.arch, args.size, args.batch, args.classes, args.rounds)
    added = statistics.median(steps[1]) - statistics.median(steps[0])
    committed = statistics.median(commits[1]) - statistics.median(commits[0])
    batches = args.samples / args.batch
    print(
        f"{args.samples:,} samples, {args.classes} classes, batches of {args.batch}; CPU time, median of {args.rounds}"
    )
    for name, kept in (("without predictions", 0), ("with predictions", 1)):
        step, commit = statistics.median(steps[kept]), statistics.median(commits[kept])
        print(f"{name:20} {1e6 * step:8.1f} us a step {commit:8.3f} s an epoch")
    share = (added + committed / batches) / network
    print(f"step of {args.arch} at {args.size} px {1e3 * network:.1f} ms; predictions add {share:.3%}")
    with tempfile.TemporaryDirectory() as folder:
        page(Path(folder), tables[1], dataset)


def page(folder: Path, table: SampleTable, dataset: Dataset) -> None:
    """Print the time and size of the files at the end of a run."""
    columns = table.columns()
    columns["visits"] = np.random.default_rng(0).poisson(4, len(columns["visits"])).astype(np.int32)
    (folder / "result.json").write_text(json.dumps({"status": "finished", "epochs": 10}))
    written = seconds(lambda: table.write(folder))
    gallery = seconds(lambda: write_gallery(folder, columns, dataset, 24))
    report = seconds(lambda: write_report(folder))
    sizes = {name: (folder / name).stat().st_size / 1e6 for name in ("samples.npz", "samples.json", "report.html")}
    print(f"samples.npz {written:.2f} s, samples.json {gallery:.2f} s, report.html {report:.2f} s")
    print(", ".join(f"{name} {size:.2f} MB" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
