"""Windows of a planned epoch: pure functions on NumPy arrays, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

AT_ONCE = 4096
"""Windows in which rows are drawn together: more would only take memory."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Consecutive windows of equal size; the last one includes the rows that fill no window.

    Attributes:
        rows: Total number of rows.
        size: Rows per window.
    """

    rows: int
    size: int

    @property
    def count(self) -> int:
        """Number of windows; 0 without rows."""
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
        """Returns the index of the window that holds each row."""
        return np.minimum(rows // self.size, max(self.count - 1, 0))

    def blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the values (rows,) as matrices (windows, rows per window): all windows but the last, then the last."""
        head = (self.count - 1) * self.size
        yield values[:head].reshape(-1, self.size)
        yield values[head:].reshape(1, -1)

    def quota(self, share: float, fraction: float) -> tuple[np.ndarray, float]:
        """Returns whole rows to choose in each window, int64, shape (count,), that add up to `share` of the rows.

        Args:
            share: In [0, 1].
            fraction: Fraction of a row carried on from the last epoch.

        Returns:
            Rows, and the fraction to carry on.
        """
        wanted = np.floor(share * self.ends + fraction + 1e-9).astype(np.int64)
        left = share * self.rows + fraction - (wanted[-1] if len(wanted) else 0)
        return np.diff(wanted, prepend=0), min(max(0.0, float(left)), 1.0)

    def lowest(self, keys: np.ndarray, quota: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows with the lowest keys in each window, and the lowest key of the other rows.

        Args:
            keys: Shape (rows,); distinct within a window, except for rows beyond the quota.
            quota: Rows to take from each window, shape (count,).

        Returns:
            Mask, bool, shape (rows,), and keys of the same type, shape (count,); the highest key where all rows are
            taken.
        """
        chosen, beyond = [], []
        for block, count in zip(self.blocks(keys), (quota[:-1], quota[-1:]), strict=True):
            ordered = np.sort(block, axis=1)
            following = np.take_along_axis(ordered, np.minimum(count, block.shape[1] - 1)[:, None], axis=1)
            chosen.append(((block < following) | (count == block.shape[1])[:, None]).ravel())
            beyond.append(following.ravel())
        return np.concatenate(chosen), np.concatenate(beyond)


def explore(
    mask: np.ndarray, size: int, share: float, remainder: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Draws rows uniformly, window by window, from those that did not pass the gate.

    The counts add up to `share` of the rows exactly, for any size of the windows. If a window has too few rows to draw
    from, later windows make up for it. An epoch carries on what none of them could, up to its own share.

    Args:
        mask: Gate decisions, bool, shape (rows,).
        size: Rows per window.
        share: Share of all rows to draw, in [0, 1].
        remainder: Rows carried on from the last epoch, with a fraction.
        rng: For the draws.

    Returns:
        The drawn rows, bool, shape (rows,), and the rows to carry on to the next epoch.
    """
    windows = Windows(len(mask), size)
    if not windows.count or share <= 0:
        return np.zeros_like(mask), remainder
    wanted = np.floor(share * windows.ends + remainder + 1e-9).astype(np.int64)
    others = np.cumsum(np.add.reduceat(~mask, windows.ends - windows.sizes, dtype=np.int64))
    # Rows drawn by the end of a window: what was wanted by the end of this window or an earlier one, plus all rows to
    # draw from since then; the minimum over these windows and the start, where nothing was wanted.
    drawn = others + np.minimum(0, np.minimum.accumulate(wanted - others))
    quota = np.diff(drawn, prepend=0)
    chosen = np.empty_like(mask)
    for first in range(0, windows.count, AT_ONCE):
        last = min(first + AT_ONCE, windows.count)
        rows = slice(first * size, int(windows.ends[last - 1]))
        keys = rng.random(rows.stop - rows.start)
        keys[mask[rows]] = 2.0
        chosen[rows], _ = Windows(len(keys), size).lowest(keys, quota[first:last])
    left = share * windows.rows + remainder - float(drawn[-1])
    return chosen, min(max(0.0, left), max(1.0, share * windows.rows))


def batch_trace(picked: np.ndarray, carried: int, batch: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Locates the end of each full batch in the stream.

    Args:
        picked: Positions of the picked rows in the stream, ascending, int64, shape (k,).
        carried: Leftover rows of the last epoch, which head the first batch without being in the stream.
        batch: Rows per batch.
        rows: Rows in the stream.

    Returns:
        For each full batch, the position of its last row (0 while it holds only carried rows) and the number of rows
        offered by then; each int64, shape (batches,). The last batch accounts for the rest of the stream.
    """
    lasts = np.arange(1, (carried + len(picked)) // batch + 1) * batch - 1 - carried
    positions = np.where(lasts >= 0, picked[np.maximum(lasts, 0)] if len(picked) else 0, 0).astype(np.int64)
    offered = np.where(lasts >= 0, positions + 1, 0)
    offered[-1:] = rows
    return positions, offered
