"""A planned epoch under control: gating its scores window by window, and the control signals of its batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ast_experiments.selection.control.controller import Controller, GateTrace, S
from ast_experiments.selection.control.windows import Windows


def gate_stream(
    controller: Controller[S], state: S, scores: np.ndarray, size: int, target: float, rng: np.random.Generator
) -> GateTrace[S]:
    """Gates scores window by window and lets the controller observe each window.

    Args:
        controller: Its threshold is constant within a window.
        state: State at the start.
        scores: Shape (rows,), in the order of the stream.
        size: Rows per window.
        target: Target share of the gate, in [0, 1].
        rng: For gates that draw.
    """
    if not len(scores):
        return GateTrace(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), np.zeros(0), [], state)
    return controller.gate_windows(state, scores, Windows(len(scores), size), target, rng)


def control_trace(
    controller: Controller[Any], trace: GateTrace[Any], size: int, positions: np.ndarray, *, explored: float
) -> dict[str, np.ndarray]:
    """Returns the control signals at the window in which each batch ends, by key of the log, each of shape (batches,).

    Args:
        controller: Gives the signals of a state.
        trace: The gated epoch.
        size: Rows per window.
        positions: Position of each batch's last row in the stream, shape (batches,), batches >= 1.
        explored: Share of the rows that exploration adds; part of the activation rate, not of the gate's.
    """
    windows = Windows(len(trace.mask), size)
    index = windows.of(positions)
    passed, rows = np.concatenate(([0], np.cumsum(trace.active))), np.concatenate(([0], windows.ends))
    begins = np.minimum(np.concatenate(([0], index[:-1] + 1)), index)
    share = (passed[index + 1] - passed[begins]) / (rows[index + 1] - rows[begins])
    signals = [controller.signals(trace.states[i]) for i in index.tolist()]
    columns = {key: np.array([float(values[key]) for values in signals]) for key in signals[0]}
    columns["control/activation_rate_ema"] += explored
    return {"control/threshold": trace.thresholds[index], "control/gate_share": share, **columns}
