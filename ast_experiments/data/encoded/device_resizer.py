"""Crop and resize of square images on the training device: each resize is two matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_experiments.data.encoded.transforms import EncodedTransform, RandomResizedCrop

_BICUBIC = -0.5
_DRAWN_AT_ONCE = 1 << 14


class DeviceResizer:
    """Transforms decoded squares on a device; the result is within two grey levels of `transform.load` on the host.

    Args:
        table: Squares, uint8, shape (m, side, side, 3).
        rows: Row of each sample in the table, int64, shape (samples,), on the same device.
        transform: The transform; changes of colour are not made.
        size: Height and width of the result.
        seed: Seed of the run.
    """

    def __init__(self, table: Tensor, rows: Tensor, transform: EncodedTransform, size: int, seed: int) -> None:
        self._table, self._rows, self._transform, self._size, self._seed = table, rows, transform, size, seed

    def __call__(self, ids: Tensor, epoch: int, visits: Tensor | None = None) -> Tensor:
        """Makes the images of samples, int64, shape (n,), on the device; uint8, shape (n, size, size, 3)."""
        return self.apply(*self.plan(ids, epoch, visits))

    def plan(self, ids: Tensor, epoch: int, visits: Tensor | None = None) -> tuple[Tensor, ...]:
        """Draws the crop of each sample; `apply` takes any slice of the result.

        The draws are made for some samples at a time, because the numbers behind a crop take 30 times its memory.

        Args:
            ids: Sample ids, int64, shape (n,).
            epoch: Epoch.
            visits: Earlier visits of each sample, shape (n,); None for one in every earlier epoch.

        Returns:
            Row of each square in the table, int64, shape (n,), and its crop, float64, shape (n, 5), see
            `RandomResizedCrop.draw_crops`; the first alone if nothing is random.
        """
        rows = self._rows.index_select(0, ids)
        if not isinstance(self._transform, RandomResizedCrop):
            return (rows,)
        crops = torch.empty((len(ids), 5), dtype=torch.float64, device=ids.device)
        visits = torch.full_like(ids, epoch) if visits is None else visits
        parts = (each.split(_DRAWN_AT_ONCE) for each in (ids, visits, crops))
        for chunk, visited, drawn in zip(*parts, strict=True):
            sides = torch.full((len(chunk), 2), self._table.shape[1], device=ids.device)
            drawn.copy_(self._transform.draw_crops(sides, chunk, self._seed, epoch, visited))
        return rows, crops

    def apply(self, rows: Tensor, crops: Tensor | None = None) -> Tensor:
        """Makes the planned images."""
        side, size = self._table.shape[1], self._size
        if crops is not None:
            begin, length, mirrored = crops[:, :2], crops[:, 2:4], crops[:, 4] > 0
            edges = begin, begin + length
        else:
            scaled = self._transform.scaled(size)  # pyright: ignore[reportAttributeAccessIssue]
            offset = round((scaled - size) / 2) * side / scaled
            begin = torch.full((len(rows), 2), offset, dtype=torch.float64, device=rows.device)
            length, mirrored = torch.full_like(begin, size * side / scaled), None
            edges = torch.zeros_like(begin), torch.full_like(begin, side)
        down, across = _weights(begin, length, edges, size, side, self._transform.interpolation).unbind(1)
        if mirrored is not None:
            across = torch.where(mirrored[:, None, None], across.flip(1), across)
        squares = self._table.index_select(0, rows).permute(0, 3, 1, 2).float()
        # Rounded after each product, as images are resized on the host.
        narrowed = (squares @ across[:, None].transpose(2, 3)).round_().clamp_(0, 255)
        made = (down[:, None] @ narrowed).round_().clamp_(0, 255)
        return made.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _weights(
    begin: Tensor, length: Tensor, edges: tuple[Tensor, Tensor], size: int, side: int, interpolation: str
) -> Tensor:
    """Returns the weight of each source pixel in each result pixel, per side, float32, shape (n, 2, size, side)."""
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
