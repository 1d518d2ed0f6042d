"""How many rows a pilot trains and scores."""

from __future__ import annotations

from typing import NamedTuple

SHARE = 0.1
"""Largest share of the dense run, its rows times its epochs, that a pilot trains and scores."""

SCORED = 4000
"""Most rows that are held out and scored: two standard errors of a share are then 1.6 points or less."""

LEAST_SCORED, LEAST_STEPS = 100, 8
"""With fewer rows to score or training steps, a pilot tells nothing."""

PART = 5
"""At most one row in this many is scored."""

LEAST_ROWS = PART * LEAST_SCORED
"""With fewer training rows, no run has a pilot."""


class Size(NamedTuple):
    """Rows of a pilot.

    Attributes:
        trained: Different rows that are trained.
        passes: How often each is trained.
        scored: Rows that are held out and scored once.
    """

    trained: int
    passes: int
    scored: int

    @property
    def rows(self) -> int:
        """Rows trained and rows scored."""
        return self.trained * self.passes + self.scored


def size_of(rows: int, epochs: float, batch_size: int, share: float = SHARE) -> Size | None:
    """Divides a share of a run among training and scoring.

    Args:
        rows: Training rows of the run.
        epochs: Its dense epochs; with smaller images in some, those at full size that cost as much.
        batch_size: Rows of a training step.
        share: Of the rows of all epochs.

    Returns:
        The rows; None if they are too few to tell anything.
    """
    most = int(share * rows * epochs)
    scored = min(SCORED, rows // PART, most // PART)
    visits = most - scored
    if scored < LEAST_SCORED or visits < LEAST_STEPS * batch_size:
        return None
    passes = -(-visits // (rows - scored))
    trained = min(rows - scored, visits // passes)
    trained -= trained % batch_size if trained >= batch_size else 0
    return Size(trained, passes, scored) if trained >= batch_size else None
