"""Records the scores of a run, epoch by epoch, and replays them through controllers.

    python scripts/replay_scores.py record scores.npy experiment=cifar10_stale recipe.epochs=40
    python scripts/replay_scores.py replay scores.npy
    python scripts/replay_scores.py replay scores.npy --targets 0.05 --controllers pi "quantile controller.eta=1"

`record` trains with the given overrides (`method=ast`, or another method that keeps scores) and writes one row of
scores per epoch: an array (epochs, samples), NaN where a sample has no score yet. You can also use scores of your own.
`replay` passes the epochs in which every sample has a score through each controller, as a planned epoch does: in a new
random order, window by window. It trains and explores nothing, so the rates are those of the gate alone.

The output shows the mean rate, its distance from the target, and the controller's bound on this distance, if it
guarantees one. The last two columns use means over consecutive rows, as many as an epoch has but at least 5,000.
`settled` is the number of epochs until all means stay within 20 % of the target. `deviation` is the largest deviation
of a mean after two epochs, as a share of the target.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import UserError
from ast_experiments.runs import build
from ast_experiments.runs.control_quality import BAND, SMOOTHING_ROWS, moving_mean
from ast_experiments.selection import build as selection
from ast_experiments.selection.context import Scorer
from ast_experiments.selection.control.controller import Controller
from ast_experiments.selection.control.statistics import RateStatistics
from ast_experiments.selection.control.stream import gate_stream
from ast_experiments.selection.control.windows import Windows
from ast_experiments.selection.numeric import generator
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.jsonl import JsonlTracker

ORDER, GATE = 1, 3
SETTLED_EPOCHS = 2


def record(path: Path, overrides: list[str]) -> None:
    """Trains, and saves the committed scores of every epoch."""
    config = load_config([*overrides, "tracking=jsonl"])
    scores: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as folder:
        run = build.build_run(config, Path(folder), lambda _: Trackers([JsonlTracker(Path(folder) / "metrics.jsonl")]))
        selector = run.selector
        if not selector.method.keeps_history:
            raise UserError(f"method={config.method.name} keeps no scores; type e.g. method=ast")

        end = selector.end_epoch

        def end_epoch(score: Scorer) -> None:
            end(score)
            scores.append(selector.history.scores.copy())
            np.save(path, np.stack(scores))
            print(f"epoch {len(scores)} of {run.epochs}", flush=True)

        selector.end_epoch = end_epoch
        run.fit()
    print(f"{path}: {len(scores)} epochs of {len(scores[0]):,} samples")


class Replay(NamedTuple):
    """Recorded scores after a controller has gated them.

    Attributes:
        statistics: Measured rate, to compare with the guarantee.
        shares: Share of each window that passed, shape (windows,).
        rows: Rows of each window, shape (windows,).
    """

    statistics: RateStatistics
    shares: np.ndarray
    rows: np.ndarray


def replay(controller: Controller, scores: np.ndarray, target: float, *, window: int = 32, seed: int = 0) -> Replay:
    """Gates scores (epochs, samples), none of them NaN, epoch by epoch."""
    state, statistics = None, RateStatistics()
    rows, shares = Windows(scores.shape[1], window).sizes, []
    for epoch, values in enumerate(scores):
        streamed = values[generator(seed, ORDER, epoch).permutation(len(values))]
        state = controller.begin_epoch(state, streamed, target, frozen=True)
        run = gate_stream(controller, state, streamed, window, target, generator(seed, GATE, epoch))
        statistics, state = statistics.add_all(controller, run.active, rows, target), run.final
        shares.append(run.active / rows)
    return Replay(statistics, np.concatenate(shares), np.tile(rows, len(scores)))


class Quality(NamedTuple):
    """How well a controller held its target; the module docstring defines the measures.

    Attributes:
        settled: Epochs until the rate stays near the target; None if it never does.
        deviation: Largest deviation after two epochs, as a share of the target; None if there are fewer epochs.
    """

    settled: float | None
    deviation: float | None


def quality(result: Replay, samples: int, target: float) -> Quality:
    """Measures a replay of epochs of `samples` rows."""
    stretch = max(samples, SMOOTHING_ROWS)
    means = moving_mean(result.shares, result.rows, stretch)
    deviations = np.abs(means / target - 1)[np.isfinite(means)]
    starts = (np.cumsum(result.rows)[np.isfinite(means)] - stretch) / samples
    outside = np.flatnonzero(deviations > BAND)
    first = int(outside[-1]) + 1 if len(outside) else 0
    late = deviations[starts >= SETTLED_EPOCHS]
    return Quality(
        settled=float(starts[first] - starts[0]) if first < len(starts) else None,
        deviation=float(late.max()) if len(late) else None,
    )


def build_controller(words: str) -> Controller:
    """Builds a controller from its name and overrides, as on the command line."""
    return selection.build_controller(load_config(["method=ast", *f"controller={words}".split()]).controller)


def load(path: Path) -> np.ndarray:
    """Loads the epochs of a recording in which every sample has a score, shape (epochs, samples)."""
    scores = np.load(path)
    if scores.ndim != 2:
        raise UserError(f"{path}: has shape {scores.shape}, expected (epochs, samples)")
    complete = scores[~np.isnan(scores).any(axis=1)].astype(np.float32)
    if not len(complete):
        raise UserError(f"{path}: no epoch has a score for every sample; record more epochs")
    return complete


def main() -> None:
    """Records or replays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="train and save the scores of every epoch")
    recording.add_argument("path", type=Path)
    recording.add_argument("overrides", nargs="*")
    replaying = commands.add_parser("replay", help="replay saved scores through controllers")
    replaying.add_argument("paths", type=Path, nargs="+")
    replaying.add_argument("--controllers", nargs="+", default=["pi", "quantile", "topk"])
    replaying.add_argument("--targets", type=float, nargs="+", default=[0.1, 0.4])
    replaying.add_argument("--window", type=int, default=32, help="rows that a controller sees at a time")
    replaying.add_argument("--seed", type=int, default=0, help="seed of the random orders")
    args = parser.parse_args()
    if args.command == "record":
        record(args.path, args.overrides)
        return
    for path in args.paths:
        scores = load(path)
        epochs, samples = scores.shape
        print(f"{path}: {epochs} epochs of {samples:,} samples")
        print(f"{'controller':24} {'target':>7} {'rate':>8} {'error':>9} {'bound':>9} {'settled':>8} {'deviation':>10}")
        for words in args.controllers:
            controller = build_controller(words)
            for target in args.targets:
                result = replay(controller, scores, target, window=args.window, seed=args.seed)
                facts, judged = result.statistics.facts(controller), quality(result, samples, target)
                rate, bound = float(facts["gate_share"] or 0), facts["bound"]
                print(
                    f"{words:24} {target:7g} {rate:8.5f} {abs(rate - target):9.2e} "
                    f"{'none' if bound is None else f'{bound:.2e}':>9} "
                    f"{'never' if judged.settled is None else f'{judged.settled:.2f}':>8} "
                    f"{'-' if judged.deviation is None else f'{judged.deviation:.1%}':>10}"
                )
        print()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"replay_scores: {error}")
