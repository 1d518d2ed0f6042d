"""The arithmetic of planning an epoch: pure functions on NumPy arrays, before anything is loaded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ast_experiments.selection.control.controller import Controller, ControlState
from ast_experiments.selection.control.gates import ExactGate, ReservoirGate


@dataclass(frozen=True, slots=True)
class Windows:
    """Consecutive windows of equal size over some rows; the last one takes what is left over.

    Attributes:
        rows: Rows in all.
        size: Rows a window.
    """

    rows: int
    size: int

    @property
    def count(self) -> int:
        """Number of windows."""
        return max(1, self.rows // self.size) if self.rows else 0

    @property
    def ends(self) -> np.ndarray:
        """End of each window, exclusive; int64, shape (count,)."""
        ends = np.arange(1, self.count + 1, dtype=np.int64) * self.size
        ends[-1:] = self.rows
        return ends

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each window, int64, shape (count,)."""
        return np.diff(self.ends, prepend=0)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Index of the window that holds each row."""
        return np.minimum(rows // self.size, max(self.count - 1, 0))

    def blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """The values (rows,) as matrices (windows, rows a window): all but the last window, then the last."""
        head = (self.count - 1) * self.size
        yield values[:head].reshape(-1, self.size)
        yield values[head:].reshape(1, -1)

    def quota(self, share: float, fraction: float) -> tuple[np.ndarray, float]:
        """Whole rows to choose in each window, int64, shape (count,), that add up to `share` of the rows.

        Also the fraction to carry on; `fraction` is what was carried here.
        """
        wanted = np.floor(share * self.ends + fraction + 1e-9).astype(np.int64)
        left = share * self.rows + fraction - (wanted[-1] if len(wanted) else 0)
        return np.diff(wanted, prepend=0), min(max(0.0, float(left)), 1.0)

    def lowest(self, keys: np.ndarray, quota: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows with the lowest keys in each window, and the lowest key beyond them.

        Args:
            keys: Different within a window, but for rows that the quota does not reach, shape (rows,).
            quota: How many rows of each window, shape (count,).

        Returns:
            Bool, shape (rows,); and of the type of the keys, shape (count,): the highest key where all were taken.
        """
        chosen, beyond = [], []
        for block, count in zip(self.blocks(keys), (quota[:-1], quota[-1:]), strict=True):
            ordered = np.sort(block, axis=1)
            following = np.take_along_axis(ordered, np.minimum(count, block.shape[1] - 1)[:, None], axis=1)
            chosen.append(((block < following) | (count == block.shape[1])[:, None]).ravel())
            beyond.append(following.ravel())
        return np.concatenate(chosen), np.concatenate(beyond)


@dataclass(frozen=True, slots=True)
class Stream:
    """What came of streaming scores through a controller.

    Attributes:
        mask: Gate decisions, bool, shape (rows,).
        active: Rows that passed in each window, int64, shape (windows,).
        states: The state that each window was gated with; its terms are those of the step before.
        final: The state after the last window.
    """

    mask: np.ndarray
    active: np.ndarray
    states: list[ControlState]
    final: ControlState


def stream(
    controller: Controller,
    state: ControlState,
    scores: np.ndarray,
    size: int,
    target: float,
    rng: np.random.Generator,
) -> Stream:
    """Gate scores window by window and let the controller observe each.

    Args:
        controller: Its threshold is constant within a window.
        state: The state to begin with.
        scores: Shape (rows,), in the order of the stream.
        size: Rows a window.
        target: The gate's own target, in [0, 1].
        rng: For gates that draw.
    """
    scores, windows = controller.condition(scores), Windows(len(scores), size)
    if not windows.count:
        return Stream(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), [], state)
    if isinstance(controller.gate, ExactGate):
        return _stream_exact(controller, state, scores, windows, target)
    if controller.gate is not None:
        return _stream_reservoir(controller, controller.gate, state, scores, windows, target, rng)
    # Sorted once, a window's count of active rows is one bisection: no array operation per window.
    ordered = np.concatenate([np.sort(block, axis=1).ravel() for block in windows.blocks(scores)]).data
    states: list[ControlState] = []
    active, thresholds, begin = [], [], 0
    for end in windows.ends.tolist():
        threshold = float(controller.threshold(state))
        count = end - bisect_right(ordered, threshold, begin, end)
        states.append(state)
        thresholds.append(threshold)
        active.append(count)
        state = controller.observe(state, count, end - begin, target)
        begin = end
    return Stream(scores > np.repeat(thresholds, windows.sizes), np.array(active), states, state)


def _stream_exact(
    controller: Controller, state: ControlState, scores: np.ndarray, windows: Windows, target: float
) -> Stream:
    counts, owed = windows.quota(target, state.owed)
    # A positive float32 is ordered like its bits; the position in the low bits makes the keys different.
    bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
    mask, beyond = windows.lowest(np.arange(windows.rows) - (bits << 32), counts)
    thresholds = (-(beyond >> 32)).astype(np.int32).view(np.float32)
    states: list[ControlState] = []
    for threshold, count, rows in zip(thresholds.tolist(), counts.tolist(), windows.sizes.tolist(), strict=True):
        state = state._replace(level=threshold)
        states.append(state)
        state = controller.observe(state, count, rows, target)
    return Stream(mask, counts, states, state._replace(owed=owed))


def _stream_reservoir(
    controller: Controller,
    gate: ReservoirGate,
    state: ControlState,
    scores: np.ndarray,
    windows: Windows,
    target: float,
    rng: np.random.Generator,
) -> Stream:
    uniforms, inflows = gate.draw(rng, len(scores))
    mask = np.zeros(len(scores), dtype=bool)
    states: list[ControlState] = []
    active, begin = [], 0
    for end in windows.ends.tolist():
        rows = slice(begin, end)
        mask[rows], level = gate.decide(
            scores[rows], float(controller.threshold(state)), state.reservoir, uniforms[rows], inflows[rows]
        )
        states.append(state)
        active.append(int(mask[rows].sum()))
        state = controller.observe(state._replace(reservoir=level), active[-1], end - begin, target)
        begin = end
    return Stream(mask, np.array(active), states, state)


def explore(
    mask: np.ndarray, size: int, share: float, owed: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Rows drawn uniformly, window by window, from those that did not pass the gate.

    The counts accumulate to `share` of the rows exactly, whatever the size of a window. What a window cannot give,
    because too few rows are left over in it, the next ones give; an epoch hands on what none gave, but no more than
    it wanted itself.

    Args:
        mask: Gate decisions, bool, shape (rows,).
        size: Rows a window.
        share: Share of all rows to draw, in [0, 1].
        owed: Rows, and a fraction of one, owed by the epoch before.
        rng: For the draws.

    Returns:
        The drawn rows, bool, shape (rows,), and the rows owed to the next epoch.
    """
    windows = Windows(len(mask), size)
    if not windows.count or share <= 0:
        return np.zeros_like(mask), owed
    wanted = np.floor(share * windows.ends + owed + 1e-9).astype(np.int64)
    others = np.cumsum(~mask)[windows.ends - 1]
    # Drawn by the end of a window is what was wanted at the end of an earlier one (or of this) and all others since
    # then, at the earlier window where that is least; where it is the start, all others.
    drawn = others + np.minimum(0, np.minimum.accumulate(wanted - others))
    keys = np.where(mask, 2.0, rng.random(len(mask)))
    chosen, _ = windows.lowest(keys, np.diff(drawn, prepend=0))
    left = share * windows.rows + owed - float(drawn[-1])
    return chosen, min(max(0.0, left), max(1.0, share * windows.rows))


def batch_trace(picked: np.ndarray, carried: int, batch: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the stream each full batch ends.

    Args:
        picked: Positions of the picked rows in the stream, ascending, int64, shape (k,).
        carried: Rows that head the first batch without being in the stream.
        batch: Rows a batch.
        rows: Rows in the stream.

    Returns:
        For each full batch the position of its last row (0 while only carried rows are used) and the number of rows
        offered by then; each int64, shape (batches,). The last batch accounts for the rest of the stream.
    """
    lasts = np.arange(1, (carried + len(picked)) // batch + 1) * batch - 1 - carried
    positions = np.where(lasts >= 0, picked[np.maximum(lasts, 0)] if len(picked) else 0, 0).astype(np.int64)
    offered = np.where(lasts >= 0, positions + 1, 0)
    offered[-1:] = rows
    return positions, offered


def control_trace(
    controller: Controller, run: Stream, size: int, positions: np.ndarray, *, explored: float
) -> dict[str, np.ndarray]:
    """Control signals at the window in which each batch ends; keys of the step log, each of shape (batches,).

    Args:
        controller: Gives the threshold of a state.
        run: The stream.
        size: Rows a window.
        positions: Position of each batch's last row in the stream, shape (batches,).
        explored: Share of the rows that exploration adds; part of the activation rate, not of the gate's.
    """
    windows = Windows(len(run.mask), size)
    index = windows.of(positions)
    after = [*run.states[1:], run.final]
    passed, rows = np.concatenate(([0], np.cumsum(run.active))), np.concatenate(([0], windows.ends))
    begins = np.minimum(np.concatenate(([0], index[:-1] + 1)), index)
    share = (passed[index + 1] - passed[begins]) / (rows[index + 1] - rows[begins])
    at = [run.states[i] for i in index.tolist()]
    then = [after[i] for i in index.tolist()]
    return {
        "control/threshold": np.array([float(controller.threshold(s)) for s in at]),
        "control/activation_rate_ema": np.array([float(s.ema) for s in then]) + explored,
        "control/gate_share": share,
        "control/proportional": np.array([float(s.proportional) for s in then]),
        "control/integral": np.array([float(s.integral_term) for s in then]),
        "control/saturated": np.array([float(s.saturated) for s in then]),
        "control/kp": np.array([float(s.kp) for s in then]),
        "control/ki": np.array([float(s.ki) for s in then]),
    }
