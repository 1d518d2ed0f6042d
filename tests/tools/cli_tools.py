"""What tests of commands share."""

from __future__ import annotations

from typing import NamedTuple


class Done(NamedTuple):
    """A command that has ended: exit code and what it printed."""

    code: int
    out: str
    err: str
