"""Compares the measured cost of every method's epoch with theory, relative to `dense`.

    python scripts/bench_methods.py                        # synthetic images of CIFAR-10's shape
    AST_DATA_DIR=... python scripts/bench_methods.py --real

Every method trains SimpleCNN with the same recipe at a rate of 0.4, or as close to it as its definition allows. The
methods take turns, one epoch each.

Theory: its definition says how many of the offered rows a method loads, trains and scores, and how many a narrow
network scores or trains. Theory adds these up at their prices. In FLOPs, loading is free and the rest is counted. In
seconds, a price is the time that the bare operation takes for one row, without a method around it, measured once a
round between the arms.

Measurement: FLOPs of an epoch, and its seconds of training, scoring, planning and loading as medians over the rounds,
without validation.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_tools import endless_run, synthetic

from ast_experiments.config.compose import load_config
from ast_experiments.core.batch import Batch
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.energy.flops import count_flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.runs import build
from ast_experiments.runs.networks import auxiliary_models
from ast_experiments.training.loop import Trainer
from ast_experiments.training.step import Scorer

RATE, BATCH = 0.4, 128
PHASES = ("train", "score", "plan", "data_wait")


@dataclass(frozen=True, slots=True)
class Work:
    """Amounts of each operation in an epoch, per row offered; or prices of the operations, per row.

    Attributes:
        load: Loading into a batch.
        train: Training.
        score: Scoring by the network itself.
        narrow_score: Scoring by a narrow network.
        narrow_train: Training of a narrow network.
    """

    load: float
    train: float
    score: float = 0.0
    narrow_score: float = 0.0
    narrow_train: float = 0.0

    def at(self, prices: Work) -> float:
        """Returns the total cost at these prices."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(prices), strict=True)
        return sum(amount * price for amount, price in pairs)


@dataclass(frozen=True, slots=True)
class Arm:
    """A method in the table.

    Attributes:
        overrides: Settings of the method.
        work: Returns the work of an epoch at a rate, by the method's definition.
        rate: Rate by the method's definition; None for the measured one, if the definition depends on the losses.
        epochs: Period of the method in epochs, which are timed together.
    """

    overrides: tuple[str, ...]
    work: Callable[[float], Work] = lambda rate: Work(rate, rate)
    rate: float | None = RATE
    epochs: int = 1


def _fresh(rate: float) -> Work:
    return Work(1, rate, score=1)


def _narrow(rate: float) -> Work:
    return Work(1, rate, narrow_score=1, narrow_train=rate / 4)


ARMS = {
    "dense": Arm(("method=dense",), rate=1.0),
    "random": Arm(("method=random",)),
    "rs2": Arm(("method=rs2",)),
    "ast stale, threshold": Arm(("method=ast", "method.rate_schedule=constant", "method.pick=threshold")),
    "ast stale, topk": Arm(("method=ast", "method.rate_schedule=constant", "method.pick=topk")),
    "ast stale, proportional": Arm(("method=ast", "method.rate_schedule=constant", "method.pick=proportional")),
    "ast gather, packed": Arm(("method=ast_fresh",), _fresh),
    "ast gather, as published": Arm(("method=ast_fresh", "method.packing=false"), _fresh),
    "ast gather, narrow net": Arm(("method=ast_fresh", "method.score_net=proxy"), _narrow),
    "ast masked": Arm(("method=ast_masked",), lambda rate: Work(1, 1)),
    "infobatch": Arm(("method=infobatch", "method.drop=0.9"), rate=None),
    "curriculum": Arm(("method=curriculum", f"method.start={RATE}")),
    "orderdp": Arm(("method=orderdp", "method.draw=0.5", "method.keep=0.8")),
    "seta": Arm(("method=seta", "method.drop=0.5", "method.window=0.8"), rate=None),
    "kakurenbo": Arm(("method=kakurenbo", "method.hide=0.6"), lambda rate: Work(1, rate, score=1 - rate), rate=None),
    "selective_backprop, stale": Arm(
        ("method=selective_backprop",), lambda rate: Work(rate + (1 - rate) / 3, rate, score=(1 - rate) / 3), epochs=3
    ),
    "selective_backprop, fresh": Arm(("method=selective_backprop_fresh",), _fresh),
    "rho_loss": Arm(("method=rho_loss", f"method.rate={RATE}", "holdout=0.1", "method.irreducible_epochs=1"), _fresh),
    "proxy": Arm(("method=proxy", f"method.rate={RATE}"), _narrow),
}


@dataclass(slots=True)
class Entry:
    """Measurements of an arm: rows, FLOPs and seconds of its timed periods."""

    run: Trainer
    trained: int = 0
    offered: int = 0
    flops: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def step(self, epochs: int) -> None:
        """Runs and measures one period."""
        ledger = self.run.ledger
        before, rows, work = ledger.now(), (ledger.trained, ledger.offered), sum(_flops(ledger))
        for _ in range(epochs):
            self.run.run_epoch()
        after = ledger.now()
        self.trained += ledger.trained - rows[0]
        self.offered += ledger.offered - rows[1]
        self.flops += sum(_flops(ledger)) - work
        self.seconds.append(sum(after[phase] - before[phase] for phase in PHASES) / epochs)


def _flops(ledger: Ledger) -> tuple[int, int]:
    return ledger.flops["train"], ledger.flops["score"]


def start(dataset: Dataset, folder: Path, arm: Arm, threads: int | None) -> Entry:
    """Starts a run and trains the first epochs, in which methods collect their first scores."""
    fixed = [f"recipe.batch_size={BATCH}", "eval_every=1000"]
    if threads:
        fixed.append(f"hardware.threads={threads}")
    run = endless_run(dataset, folder, *fixed, *arm.overrides)
    for _ in range(max(3, arm.epochs)):
        run.run_epoch()
    return Entry(run)


class Bare:
    """Times the operations that epochs consist of, each on its own, in seconds per row.

    Args:
        run: A dense run, whose network, loader and optimiser this uses.
        dataset: Which the run trains on.
    """

    def __init__(self, run: Trainer, dataset: Dataset) -> None:
        config = load_config(["experiment=cifar10_dense", "method=proxy"])
        hardware, ledger = run.stepper.hardware, Ledger(run.stepper.hardware.device)
        self._run, self._samples, self._scorer = run, len(dataset.train), Scorer(run.stepper, ledger)
        self._narrow = auxiliary_models(config, dataset, hardware, ledger)(config.method.proxy_width)
        self._flops = count_flops(self._narrow.model, (3, 32, 32), len(dataset.classes))
        self._times: list[Work] = []

    def step(self) -> None:
        """Times an epoch of each operation."""
        run = self._run
        epoch, size = len(self._times), BATCH
        rows = self._samples // size * size
        ids = np.random.default_rng(epoch).permutation(self._samples)[:rows]
        batches: list[Batch] = []
        load = _seconds(lambda: batches.extend(run.train.batches(PlannedBatches(ids, size), epoch)))
        self._times.append(
            Work(
                load / rows,
                _seconds(lambda: [run.stepper.train(batch, lambda batch, outputs: None) for batch in batches]) / rows,
                _seconds(lambda: [self._scorer(batch) for batch in batches]) / rows,
                _seconds(lambda: [self._narrow.score(batch) for batch in batches]) / rows,
                _seconds(lambda: [self._narrow.learn(batch, 0.5) for batch in batches]) / rows,
            )
        )

    def seconds(self) -> Work:
        """Returns median prices in seconds per row."""
        return Work(*(statistics.median(each) for each in zip(*map(dataclasses.astuple, self._times), strict=True)))

    def flops(self) -> Work:
        """Returns prices in FLOPs per row."""
        own, narrow = self._run.cost.flops, self._flops
        assert own is not None
        assert narrow is not None
        return Work(0, own.forward + own.backward, own.forward, narrow.forward, narrow.forward + narrow.backward)


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """Runs the arms in turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_800, help="training rows of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="timed periods of each arm")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--only", nargs="+", default=list(ARMS), choices=list(ARMS), help="arms in addition to dense")
    parser.add_argument("--real", action="store_true", help="train on CIFAR-10, found through AST_DATA_DIR")
    args = parser.parse_args()
    real = ["experiment=cifar10_dense", f"dataset.train_rows={args.rows}", "dataset.val_rows=100"]
    dataset = build.build_dataset(load_config(real)) if args.real else synthetic(args.rows)
    arms = {name: arm for name, arm in ARMS.items() if name == "dense" or name in args.only}

    with tempfile.TemporaryDirectory() as scratch:
        entries = {
            name: start(dataset, Path(scratch) / str(index), arm, args.threads)
            for index, (name, arm) in enumerate(arms.items())
        }
        bare = Bare(start(dataset, Path(scratch) / "bare", ARMS["dense"], args.threads).run, dataset)
        for _ in range(args.rounds):
            bare.step()
            for name, entry in entries.items():
                entry.step(arms[name].epochs)
    _print(
        arms,
        entries,
        bare,
        len(dataset.train),
        f"{torch.get_num_threads()} threads, {len(dataset.train):,} rows, {args.rounds} rounds",
    )


def _print(arms: dict[str, Arm], entries: dict[str, Entry], bare: Bare, rows: int, what: str) -> None:
    dense = entries["dense"]
    base_s, base_flops = statistics.median(dense.seconds), dense.flops / dense.offered
    every = ARMS["dense"].work(1.0)
    prices, seconds = bare.flops(), bare.seconds()
    names = [field.name for field in dataclasses.fields(Work)]
    for unit, of in (("FLOPs", prices), ("seconds", seconds)):
        shares = (
            f"{name} {value / every.at(of):.3f}" for name, value in zip(names, dataclasses.astuple(of), strict=True)
        )
        print(f"prices in {unit}, relative to a dense row: {', '.join(shares)}")
    loop = base_s / rows / every.at(seconds)
    print(f"{what}; dense takes {loop:.3f} times its bare operations")
    heads = ("rate", "theory", "FLOPs", "theory, s", "seconds", "seconds / theory, s")
    print(f"{'method':28}" + "".join(f"{head:>{max(9, len(head) + 2)}}" for head in heads))
    for name, entry in entries.items():
        measured = entry.trained / entry.offered
        work = arms[name].work(arms[name].rate or measured)
        took, theory_s = statistics.median(entry.seconds) / base_s, work.at(seconds) / every.at(seconds)
        figures = (
            measured,
            work.at(prices) / every.at(prices),
            entry.flops / entry.offered / base_flops,
            theory_s,
            took,
            took / theory_s,
        )
        cells = (f"{figure:{max(9, len(head) + 2)}.3f}" for figure, head in zip(figures, heads, strict=True))
        print(f"{name:28}" + "".join(cells))


if __name__ == "__main__":
    main()
