r"""Replays recorded scores through the published law over a grid of gains, and compares the result with theory.

    python scripts/replay_scores.py record scores.npy experiment=cifar10_comparison \
        method=ast method.rate=1 controller=pi
    python scripts/replay_gains.py scores.npy --target 0.1

The law is that of `controller=sundew_comparison` with its clamps open. You can also use scores of your own: an array
(epochs, samples). Each epoch is gated `--passes` times, each time in a new random order.

Measurement: two replays of the same stream, one from the threshold that the target exceeds, the other from the
threshold that twice the target exceeds. Their difference is the swing; sampling noise and drift of the scores affect
both replays and cancel. The envelope is the largest difference within a period. The period is that of the dominant
pole, but at least 128 windows. Swings slower than 32 windows are multiplied by f^(1/4), because their size changes with
the density f as it drifts. The swing fades if its envelope falls to half of the initial swing before it rises to twice
its own first value (which already includes the overshoot). Otherwise it grows. If neither happens, its last value is
compared with the initial swing.

Prediction: `ast_experiments/analysis/gains/stability.py`. The upper bound on kp falls as the density rises. At the
threshold the density is f, here the mean over the epochs, but a swing reaches levels with denser scores. A second
density is therefore the steepest line from the working point to any other point of the curve of rate against level, in
any epoch. With gains below the bound for it, the poles lie inside the unit circle for every density that a swing
reaches. Pairs within a factor of 1.5 in kp of the boundary are not counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from replay_scores import ORDER, load

from ast_experiments.analysis.gains.stability import Law, dominant, margin, score_density, steepest
from ast_experiments.core.errors import UserError
from ast_experiments.selection.control.controller import NO_SCORES
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.numeric import generator

FACTOR = 1.5
WINDOWS, SLOW = 128, 32
LAW: Law = "published"


def swings(
    scores: np.ndarray, kp: np.ndarray, ki: np.ndarray, target: float, *,
    alpha: float = 0.3, window: int = 128, passes: int = 1, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Returns the difference of the thresholds of the two replays, for all pairs of gains at once.

    Args:
        scores: Shape (epochs, samples), none of them NaN.
        kp: Shape (pairs,).
        ki: Shape (pairs,).
        target: In (0, 1/2).
        alpha: Weight of the newest window in the EMA.
        window: Rows per window; an epoch leaves out rows at its end that fill no window.
        passes: How often each epoch is gated.
        seed: Seed of the random orders.

    Returns:
        Shape (windows, pairs).
    """
    law = SundewComparison(kp=torch.from_numpy(kp), ki=torch.from_numpy(ki), alpha=alpha, low=-np.inf, high=np.inf)  # pyright: ignore
    zeros = torch.zeros(2, len(kp), dtype=torch.float64)
    starts = torch.from_numpy(np.quantile(scores[0].astype(np.float64), [1 - target, 1 - 2 * target]))
    state = law.begin_epoch(None, NO_SCORES, target)._replace(
        level=zeros + starts[:, None], ema=zeros + target, integral=zeros
    )
    found = []
    for epoch in range(len(scores) * passes):
        row = scores[epoch // passes]
        row = row[generator(seed, ORDER, epoch).permutation(len(row))]
        blocks = torch.from_numpy(row[: len(row) // window * window].astype(np.float64)).reshape(-1, window)
        for block in blocks.sort(1).values:
            level = torch.as_tensor(state.level)
            found.append(level[1] - level[0])
            active = window - torch.searchsorted(block, level, right=True)
            state = law.observe(state, active.double(), window, target)
    return torch.stack(found).numpy()


def grows(swing: np.ndarray, period: float, stiffness: np.ndarray) -> bool:
    """Returns whether the envelope of a swing grows, as the module docstring defines it.

    Args:
        swing: Shape (windows,), not 0 at the start.
        period: In windows.
        stiffness: Density of the scores relative to the start, shape (windows,).
    """
    length = int(np.clip(period, WINDOWS, len(swing) // 4))
    size = np.abs(swing) * (stiffness**0.25 if period > SLOW else 1.0)
    count = len(swing) // length
    envelope = size[: count * length].reshape(count, length).max(axis=1)
    changed = np.flatnonzero((envelope >= 2 * envelope[0]) | (envelope <= size[0] / 2))
    return bool(envelope[changed[0] if len(changed) else -1] > size[0])


class Grid(NamedTuple):
    """Measurement and prediction, each of shape (kp, ki).

    Attributes:
        kp: Shape (kp,).
        ki: Shape (ki,).
        growing: Whether the measured swing grows.
        margins: Margins of theory, above 0 where stable: by the density at the threshold, and by the steepest line.
    """

    kp: np.ndarray
    ki: np.ndarray
    growing: np.ndarray
    margins: tuple[np.ndarray, np.ndarray]

    def agreement(self, which: int) -> tuple[int, int]:
        """Returns the number of pairs on which theory and measurement agree, and of all pairs that count."""
        counted = np.abs(self.margins[which]) > np.log(FACTOR)
        return int(((self.margins[which] < 0) == self.growing)[counted].sum()), int(counted.sum())


def measure(
    scores: np.ndarray, kp: np.ndarray, ki: np.ndarray, target: float, *,
    alpha: float = 0.3, window: int = 128, passes: int = 1, seed: int = 0,
) -> tuple[Grid, tuple[float, float]]:  # fmt: skip
    """Compares a grid of gains with theory; returns also the two densities."""
    kps, kis = (each.ravel() for each in np.meshgrid(kp, ki, indexing="ij"))
    swing = swings(scores, kps, kis, target, alpha=alpha, window=window, passes=passes, seed=seed)
    density = np.array([score_density(row, target) for row in scores])
    densities = float(density.mean()), max(steepest(row, target) for row in scores)
    angles = np.abs(np.angle(dominant(LAW, kps, kis, alpha, densities[0])))
    stiffness = np.repeat(density / density[0], len(swing) // len(density))
    growing = [grows(swing[:, i], 2 * np.pi / angle if angle > 0 else 0.0, stiffness) for i, angle in enumerate(angles)]
    shape = len(kp), len(ki)
    margins = tuple(margin(LAW, kps, kis, alpha, density).reshape(shape) for density in densities)
    return Grid(kp, ki, np.reshape(growing, shape), (margins[0], margins[1])), densities


def show(grid: Grid, which: int) -> str:
    """Formats the grid: + grows, - fades, ! against theory, in brackets within a factor of 1.5 of the boundary."""
    lines = [" ki \\ kp " + "".join(f"{kp:>8.2g}" for kp in grid.kp)]
    for j in reversed(range(len(grid.ki))):
        cells = []
        for i in range(len(grid.kp)):
            sign, distance = "+" if grid.growing[i, j] else "-", grid.margins[which][i, j]
            near = abs(distance) <= np.log(FACTOR)
            cells.append(f"({sign})" if near else sign + "! "[int((distance < 0) == grid.growing[i, j])])
        lines.append(f"{grid.ki[j]:>8.2g} " + "".join(f"{cell:>8}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Replays and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="scores, as replay_scores.py records them")
    parser.add_argument("--target", type=float, default=0.1)
    parser.add_argument("--window", type=int, default=128, help="rows that the law sees at a time")
    parser.add_argument("--passes", type=int, default=1, help="how often each epoch is gated")
    parser.add_argument("--alpha", type=float, default=0.3)
    parser.add_argument("--kp", type=float, nargs=2, default=[1e-4, 30.0], metavar=("FROM", "TO"))
    parser.add_argument("--ki", type=float, nargs=2, default=[5e-5, 5e-3], metavar=("FROM", "TO"))
    parser.add_argument("--size", type=int, nargs=2, default=[12, 7], metavar=("KP", "KI"), help="size of the grid")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random orders")
    args = parser.parse_args()
    if not 0 < args.target < 0.5:
        raise UserError(f"--target: {args.target} must be a share between 0 and 1/2, e.g. 0.1")
    torch.set_num_threads(1)
    scores = load(args.path)
    kp = np.geomspace(args.kp[0], args.kp[1], args.size[0])
    ki = np.geomspace(args.ki[0], args.ki[1], args.size[1])
    grid, densities = measure(
        scores, kp, ki, args.target, alpha=args.alpha, window=args.window, passes=args.passes, seed=args.seed
    )
    print(f"{args.path}: {len(scores)} epochs of {scores.shape[1]:,} samples, gated {args.passes} times")
    for which, name in enumerate(("density at the threshold", "steepest line")):
        agreed, counted = grid.agreement(which)
        print(f"\n{name} {densities[which]:.3g}: {agreed} of {counted} pairs as predicted ({agreed / counted:.1%})")
        print(show(grid, which))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"replay_gains: {error}")
