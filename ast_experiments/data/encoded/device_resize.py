"""Pictures of squares that lie on the training device: many crops of different sizes, scaled in two matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_experiments.data.encoded.transforms import RandomCrop, View

_BICUBIC = -0.5


class Squares:
    """Pictures of squares on a device: what `view.pictures` makes of them in host memory, to within two grey levels.

    Args:
        table: Squares, uint8, shape (m, side, side, 3).
        rows: Where in the table each sample of the data set is, int64, shape (samples,), on the same device.
        view: What part of a square becomes the picture; colours are not changed.
        size: Height and width of the pictures.
        seed: Of the run.
    """

    def __init__(self, table: Tensor, rows: Tensor, view: View, size: int, seed: int) -> None:
        self._table, self._rows, self._view, self._size, self._seed = table, rows, view, size, seed

    def __call__(self, ids: Tensor, epoch: int) -> Tensor:
        """Makes the pictures of samples, int64, shape (n,), on the device; uint8, shape (n, size, size, 3)."""
        return self.make(*self.plan(ids, epoch))

    def plan(self, ids: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Draws what is random about pictures; `make` takes any slice of it.

        Returns:
            Where in the table each square is, int64, shape (n,), and what to cut out of it, float64, shape (n, 5), see
            `RandomCrop.plans`; the first alone where nothing is random.
        """
        rows = self._rows.index_select(0, ids)
        if not isinstance(self._view, RandomCrop):
            return (rows,)
        sides = torch.full((len(ids), 2), self._table.shape[1], device=ids.device)
        return rows, self._view.plans(sides, ids, self._seed, epoch)

    def make(self, rows: Tensor, parts: Tensor | None = None) -> Tensor:
        """Makes the pictures that were planned."""
        side, size = self._table.shape[1], self._size
        if parts is not None:
            begin, length, mirrored = parts[:, :2], parts[:, 2:4], parts[:, 4] > 0
            edges = begin, begin + length
        else:
            scaled = self._view.scaled(size)  # pyright: ignore[reportAttributeAccessIssue]
            offset = round((scaled - size) / 2) * side / scaled
            begin = torch.full((len(rows), 2), offset, dtype=torch.float64, device=rows.device)
            length, mirrored = torch.full_like(begin, size * side / scaled), None
            edges = torch.zeros_like(begin), torch.full_like(begin, side)
        down, across = _weights(begin, length, edges, size, side, self._view.interpolation).unbind(1)
        if mirrored is not None:
            across = torch.where(mirrored[:, None, None], across.flip(1), across)
        squares = self._table.index_select(0, rows).permute(0, 3, 1, 2).float()
        # Rounded after each of the two, as images are scaled on the host.
        narrowed = (squares @ across[:, None].transpose(2, 3)).round_().clamp_(0, 255)
        made = (down[:, None] @ narrowed).round_().clamp_(0, 255)
        return made.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _weights(
    begin: Tensor, length: Tensor, edges: tuple[Tensor, Tensor], size: int, side: int, interpolation: str
) -> Tensor:
    """Share of each pixel of a side in each pixel of the picture, float32, shape (n, 2, size, side)."""
    scale = (length / size)[..., None, None]
    at = torch.arange(side, device=begin.device) + 0.5
    middle = begin[..., None, None] + (torch.arange(size, device=begin.device)[:, None] + 0.5) * scale
    away = ((at - middle) / scale.clamp(min=1)).abs()
    weights = _bicubic(away) if interpolation == "bicubic" else (1 - away).clamp(min=0)
    low, high = (edge[..., None, None] for edge in edges)
    weights = weights * ((at > low) & (at < high))
    return (weights / weights.sum(-1, keepdim=True)).float()


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel at distance x: "Cubic convolution interpolation for digital images", 1981."""
    a = _BICUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
