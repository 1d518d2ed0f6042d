"""Measures the cost of selection (planning, history, controller) against a dense epoch and by the number of samples.

    python scripts/bench_selection.py
    python scripts/bench_selection.py --dense-rows 50000 --repeats 9

The first table compares the seconds of selection in an epoch of 50,000 rows with a dense epoch of SimpleCNN on images
of CIFAR-10's shape (measured on fewer rows and scaled up); the goal is less than 1 %. The second table shows the
seconds of selection in an epoch by the number of samples. Its goals: less than 0.3 s at 1.28 million samples with the
threshold pick and 0.5 s with the other picks, and growth no faster than N log N. Times are CPU seconds on one thread,
the best of several repeats, so other programs on the machine have little influence.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_tools import endless_run, synthetic

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.context import Context
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.selector import Selector
from ast_experiments.selection.significance.loss import loss

SIZES = (160_000, 320_000, 640_000, 1_280_000)
ARMS: dict[str, tuple[float, dict[str, Any]]] = {
    "threshold, pi": (0.3, {"controller": PI()}),
    "threshold, quantile": (0.3, {"controller": Quantile()}),
    "threshold, topk": (0.3, {"controller": TopK()}),
    "topk": (0.5, {"pick": "topk"}),
    "proportional": (0.5, {"pick": "proportional"}),
    "proportional, reweighted": (0.5, {"pick": "proportional", "reweight": True}),
}


def unused(*_: Any, **__: Any) -> Any:
    """Stands for the parts of a run that stale scores do not need."""
    raise NotImplementedError


def selector_of(samples: int, batch_size: int, settings: dict[str, Any]) -> Selector:
    """Returns a selector in which every sample has a score."""
    method = AST(settings.get("controller", PI()), loss, **_without(settings, "controller"))
    device = torch.device("cpu")
    context = Context(samples, batch_size, epochs=1, seed=0, device=device, fetch=unused, auxiliary_model=unused)
    selector = Selector(method, context)
    ids = torch.arange(samples)
    losses = torch.from_numpy(np.random.default_rng(0).lognormal(size=samples).astype(np.float32))
    selector.plan(0, 1.0)
    selector.observe(Batch(ids, ids, ids), Outputs(losses, losses))
    selector.end_epoch(unused)
    return selector


def _without(settings: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != key}


def epoch_seconds(selector: Selector, epoch: int, rate: float) -> float:
    """Seconds of planning an epoch, recording the scores of its batches, and committing them."""
    begin = time.process_time()
    plan = selector.plan(epoch, rate)
    for first in range(0, plan.batches * plan.load_batch, plan.load_batch):
        ids = torch.from_numpy(plan.ids[first : first + plan.load_batch])
        losses = torch.full((len(ids),), 1.0 / (1 + first % 7))
        selector.observe(Batch(ids, losses, ids), Outputs(losses, losses))
    selector.end_epoch(unused)
    return time.process_time() - begin


def best(samples: int, batch_size: int, rate: float, repeats: int, settings: dict[str, Any]) -> float:
    """The fastest of several epochs."""
    selector = selector_of(samples, batch_size, settings)
    return min(epoch_seconds(selector, epoch, rate) for epoch in range(1, repeats + 1))


def dense_seconds(rows: int, repeats: int) -> float:
    """The fastest of several dense epochs of SimpleCNN on images of CIFAR-10's shape, scaled to 50,000 rows."""
    with tempfile.TemporaryDirectory() as folder:
        epoch = endless_run(synthetic(rows), Path(folder) / "dense", "hardware=cpu", "hardware.threads=1").run_epoch
        epoch()
        times = []
        for _ in range(repeats):
            begin = time.process_time()
            epoch()
            times.append(time.process_time() - begin)
    return min(times) * 50_000 / rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.4, help="target rate")
    parser.add_argument("--repeats", type=int, default=7, help="epochs of selection, of which the fastest counts")
    parser.add_argument("--dense-rows", type=int, default=10_000, help="rows of the dense epoch")
    args = parser.parse_args()
    torch.set_num_threads(1)

    dense = dense_seconds(args.dense_rows, 3)
    print(
        f"Processor seconds, one thread, rate {args.rate:g}, best of {args.repeats}. "
        f"Dense epoch, 50,000 rows: {dense:.1f} s (best of 3)"
    )
    print(f"\n{'50,000 samples, batch 128':26} {'s/epoch':>9} {'of dense':>9} {'wanted':>9}")
    for name, (_, settings) in ARMS.items():
        seconds = best(50_000, 128, args.rate, args.repeats, settings)
        print(f"{name:26} {seconds:9.4f} {seconds / dense:9.3%} {'< 1 %':>9}")

    print(f"\n{'s/epoch, batch 256':26}" + "".join(f"{n:>11,}" for n in SIZES) + f"{'wanted':>9} {'exponent':>9}")
    for name, (wanted, settings) in ARMS.items():
        seconds = [best(n, 256, args.rate, args.repeats, settings) for n in SIZES]
        exponent = np.polyfit(np.log(SIZES), np.log(seconds), 1)[0]
        print(f"{name:26}" + "".join(f"{s:11.4f}" for s in seconds) + f"{f'< {wanted}':>9} {exponent:9.2f}")
    growth = math.log(SIZES[-1] * math.log(SIZES[-1]) / (SIZES[0] * math.log(SIZES[0])), SIZES[-1] / SIZES[0])
    print(f"{'N log N':26}" + " " * 11 * len(SIZES) + f"{'':9} {growth:9.2f}")


if __name__ == "__main__":
    main()
