"""Collective operations between the ranks of a data-parallel run, under torch.distributed's words.

With one process every function returns its argument. A global batch of B rows is cut into consecutive shards, one for
each rank. All ranks train the same plan, which rank 0 makes or each of them does; beyond that they exchange only what
depends on their own rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ast_experiments.core.process import launched


def size() -> int:
    """Returns the number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns this process's rank, counted from 0."""
    return dist.get_rank() if size() > 1 else 0


def init() -> None:
    """Joins the process group if this process is one of several: gloo for the CPU, NCCL for CUDA tensors."""
    if launched() and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def shard(rows: int) -> slice:
    """Returns this rank's rows of a global batch of `rows` rows; shards differ by at most one row."""
    return slice(rows * rank() // size(), rows * (rank() + 1) // size())


def carrier() -> torch.device:
    """Returns where tensors have to be to travel: on the CPU, or on the GPU if the process group knows no other."""
    return torch.device("cpu" if "cpu" in dist.get_backend_config() else "cuda")


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sums a tensor, of the same shape on every rank, over all ranks."""
    if size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def reduce_sum(values: Tensor) -> Tensor:
    """Sums a tensor, of the same shape on every rank, over all ranks; what other ranks than 0 get has no meaning."""
    if size() == 1:
        return values
    values = values.clone()
    dist.reduce(values, 0)
    return values


def all_reduce_max(values: Tensor) -> Tensor:
    """Returns the largest value of all ranks for each element of a tensor, of the same shape on every rank."""
    if size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def all_reduce_min(count: int, device: torch.device) -> int:
    """Returns the smallest of the ranks' counts. With several ranks this waits for the device."""
    if size() == 1:
        return count
    counts = torch.tensor([count], device=device)
    dist.all_reduce(counts, dist.ReduceOp.MIN)
    return int(counts)


def any_rank(flag: bool) -> bool:
    """Returns whether the flag is set on at least one rank."""
    return flag if size() == 1 else all_reduce_min(0 if flag else 1, carrier()) == 0


def all_reduce_mean(values: Tensor) -> Tensor:
    """Averages `values`, shape (n,), over the rows of all ranks; n may differ by rank. Returns a 0-d tensor."""
    if size() == 1:
        return values.mean()
    both = torch.stack([values.sum(), values.new_tensor(float(len(values)))])
    dist.all_reduce(both)
    return both[0] / both[1]


def gather_rows(values: Tensor, rows: int) -> Tensor:
    """Concatenates the ranks' shards into a global batch of `rows` rows, in order, on every rank.

    Args:
        values: This rank's `shard` of the batch, shape (n, ...).
        rows: Rows of the global batch.

    Returns:
        Shape (rows, ...); the dtype is kept, so int64 ids stay exact.
    """
    if size() == 1:
        return values
    widest = -(-rows // size())
    padded = values.new_zeros((widest, *values.shape[1:]))
    padded[: len(values)] = values
    shards = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(shards, padded)
    lengths = [rows * (r + 1) // size() - rows * r // size() for r in range(size())]
    return torch.cat([own[:length] for own, length in zip(shards, lengths, strict=True)])


def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Overwrites tensors in place with those of rank 0."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def broadcast_object(value: Any) -> Any:
    """Returns rank 0's value on every rank; the value must pickle."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def broadcast_array(values: np.ndarray, rows: int, piece: int) -> Iterator[np.ndarray]:
    """Yields the first rows of an array of rank 0 on every rank, in pieces, so that no other rank has to hold it whole.

    Args:
        values: Shape (n,) on rank 0; elsewhere only its dtype counts.
        rows: At most n.
        piece: Rows at a time.
    """
    device = carrier()
    for first in range(0, rows, piece):
        last = min(first + piece, rows)
        here = values[first:last] if rank() == 0 else np.empty(last - first, values.dtype)
        there = torch.from_numpy(np.ascontiguousarray(here)).to(device)
        dist.broadcast(there, 0)
        yield there.cpu().numpy()


def gather_objects(value: Any) -> list[Any]:
    """Returns the values of all ranks, by rank, on rank 0; on other ranks a list of their own value only."""
    if size() == 1:
        return [value]
    box: list[Any] | None = [None] * size() if rank() == 0 else None
    dist.gather_object(value, box)
    return [value] if box is None else box
