"""The arithmetic of planning an epoch: pure functions on NumPy arrays, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


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
