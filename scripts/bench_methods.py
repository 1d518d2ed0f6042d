"""What an epoch of every method costs, relative to `dense`, beside what it costs in theory; one run.

    python scripts/bench_methods.py                        # synthetic images of CIFAR-10's shape
    AST_DATA_DIR=... python scripts/bench_methods.py --real

Every method trains SimpleCNN with the same recipe at a rate of 0.4, or as near as its definition allows, and takes
turns with the others, one epoch each. With f the share of a forward pass in the FLOPs of a step, and p that of the
narrow network's forward pass, theory says

    cost = rows trained / rows offered + scoring passes x f (or p, and p / f steps of the narrow network)

where the scoring passes are those of the method's definition. FLOPs are counted, seconds are medians over the rounds
of training, scoring, planning and loading. Validation is in neither.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_loop import synthetic

from ast_experiments.compose import compose, typed
from ast_experiments.data.images import Dataset
from ast_experiments.energy.flops import count_flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.models.build import side_model
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.training import build
from ast_experiments.training.run import Run

RATE = 0.4
PHASES = ("train", "score", "plan", "data_wait")


@dataclass(frozen=True, slots=True)
class Arm:
    """A method in the table.

    Attributes:
        overrides: What is typed for it.
        rate: Rows trained for each row offered, by its definition; None takes what was measured, where the definition
            depends on the losses.
        scoring: From f, p and the rate to the cost of choosing, by its definition.
        epochs: Epochs that make a period of the method; so many are timed together.
    """

    overrides: tuple[str, ...]
    rate: float | None = RATE
    scoring: Callable[[float, float, float], float] = lambda f, p, rate: 0.0
    epochs: int = 1


def _narrow(steps: float) -> Callable[[float, float, float], float]:
    """A pass of the narrow network over every row, and its steps on a share of the rows (a step is 1/f passes)."""
    return lambda f, p, rate: p + steps * rate * p / f


ARMS = {
    "dense": Arm(("method=dense",), 1.0),
    "random": Arm(("method=random",)),
    "rs2": Arm(("method=rs2",)),
    "ast stale, threshold": Arm(("method=ast", "method.pick=threshold")),
    "ast stale, topk": Arm(("method=ast", "method.pick=topk")),
    "ast stale, proportional": Arm(("method=ast", "method.pick=proportional")),
    "ast gather, packed": Arm(("method=ast", "method.scoring=gather"), RATE, lambda f, p, rate: f),
    "ast gather, as published": Arm(
        ("method=ast", "method.scoring=gather", "method.packing=false"), RATE, lambda f, p, rate: f
    ),
    "ast gather, narrow net": Arm(
        ("method=ast", "method.scoring=gather", "method.score_net=proxy"), RATE, _narrow(0.25)
    ),
    "ast masked": Arm(("method=ast", "method.scoring=masked"), RATE, lambda f, p, rate: 1 - rate),
    "infobatch": Arm(("method=infobatch", "method.drop=0.9"), None),
    "curriculum": Arm(("method=curriculum", f"method.start={RATE}")),
    "orderdp": Arm(("method=orderdp", "method.draw=0.5", "method.keep=0.8")),
    "seta": Arm(("method=seta", "method.drop=0.5", "method.window=0.8"), None),
    "kakurenbo": Arm(("method=kakurenbo", "method.hide=0.6"), None, lambda f, p, rate: (1 - rate) * f),
    "selective_backprop, stale": Arm(
        ("method=selective_backprop",), RATE, lambda f, p, rate: (1 - rate) * f / 3, epochs=3
    ),
    "selective_backprop, fresh": Arm(
        ("method=selective_backprop", "method.scoring=fresh"), RATE, lambda f, p, rate: f
    ),
    "rho_loss": Arm(("method=rho_loss", f"method.rate={RATE}", "holdout=0.1", "method.irreducible_epochs=1"), RATE,
                    lambda f, p, rate: f),
    "proxy": Arm(("method=proxy", f"method.rate={RATE}"), RATE, _narrow(0.25)),
}  # fmt: skip


@dataclass(slots=True)
class Entry:
    """What was measured of an arm: rows, FLOPs and seconds of each timed period."""

    run: Run
    trained: int = 0
    offered: int = 0
    flops: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def step(self, epochs: int) -> None:
        """Run a period and note it."""
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
    """A run that is past its first epochs, in which methods learn what they choose by."""
    fixed = ["experiment=cifar10_dense", "tracking=jsonl", "tracking.report=false", "recipe.epochs=1000"]
    if threads:
        fixed.append(f"hardware.threads={threads}")
    config = typed(compose([*fixed, "eval_every=1000", *arm.overrides]))
    folder.mkdir()
    tracker = Trackers([JsonlTracker(folder / "metrics.jsonl")])
    run = build.build_run(config, folder, lambda _: tracker, dataset=dataset)
    run.tracker.load_state_dict({})
    run.stepper.model.train()
    for _ in range(max(3, arm.epochs)):
        run.run_epoch()
    return Entry(run)


def _narrow_forward() -> int:
    """FLOPs of a forward pass of the narrow network at its default width, for one image."""
    settings = typed(compose(["experiment=cifar10_dense", "method=proxy"]))
    width = settings.method.proxy_width
    net = side_model(dataclasses.asdict(settings.model), 10, 3, 32, width=width, arch=None)
    flops = count_flops(net, (3, 32, 32), 10)
    assert flops is not None
    return flops.forward


def main() -> None:
    """Run the arms in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_800, help="training rows of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="timed periods of each arm")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--only", nargs="+", default=list(ARMS), choices=list(ARMS), help="arms beside dense")
    parser.add_argument("--real", action="store_true", help="CIFAR-10 itself, found through AST_DATA_DIR")
    args = parser.parse_args()
    real = ["experiment=cifar10_dense", f"dataset.train_rows={args.rows}", "dataset.val_rows=100"]
    dataset = build.build_dataset(typed(compose(real))) if args.real else synthetic(args.rows)
    arms = {name: arm for name, arm in ARMS.items() if name == "dense" or name in args.only}

    with tempfile.TemporaryDirectory() as scratch:
        entries = {
            name: start(dataset, Path(scratch) / str(index), arm, args.threads)
            for index, (name, arm) in enumerate(arms.items())
        }
        for _ in range(args.rounds):
            for name, entry in entries.items():
                entry.step(arms[name].epochs)
    _print(arms, entries, args.rounds, len(dataset.train))


def _print(arms: dict[str, Arm], entries: dict[str, Entry], rounds: int, rows: int) -> None:
    dense = entries["dense"]
    assert dense.run.flops is not None
    step = dense.run.flops.forward + dense.run.flops.backward
    f = dense.run.flops.forward / step
    p = _narrow_forward() / step
    base_s, base_flops = statistics.median(dense.seconds), dense.flops / dense.offered
    print(f"{torch.get_num_threads()} threads, {rows:,} rows, medians of {rounds} rounds; f = {f:.3f}, p = {p:.4f}")
    print(f"{'method':28} {'rate':>6} {'theory':>7} {'FLOPs':>7} {'seconds':>8} {'seconds/theory':>15}")
    for name, entry in entries.items():
        measured = entry.trained / entry.offered
        rate = arms[name].rate or measured
        theory = rate + arms[name].scoring(f, p, rate)
        flops = entry.flops / entry.offered / base_flops
        seconds = statistics.median(entry.seconds) / base_s
        print(f"{name:28} {measured:6.3f} {theory:7.3f} {flops:7.3f} {seconds:8.3f} {seconds / theory:15.3f}")


if __name__ == "__main__":
    main()
