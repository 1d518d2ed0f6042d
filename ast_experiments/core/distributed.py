"""The ranks of a data-parallel run, as torch.distributed knows them; with one process every function passes through.

A global batch of B rows is cut into consecutive parts, one a rank. All ranks plan the same epoch, so only what depends
on their own rows is exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This rank, from 0."""
    return dist.get_rank() if size() > 1 else 0


def launched() -> bool:
    """Whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> None:
    """Meet the other ranks, if torchrun started several; gloo for the CPU, NCCL beside it where there is CUDA."""
    if launched() and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def part(rows: int) -> slice:
    """This rank's rows of a global batch; the parts differ by one row at most."""
    return slice(rows * rank() // size(), rows * (rank() + 1) // size())


def total(values: Tensor) -> Tensor:
    """The sum over all ranks of a tensor of equal shape on each."""
    if size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def smallest(count: int, device: torch.device) -> int:
    """The smallest of the ranks' counts. Waits for the device where there are several ranks."""
    if size() == 1:
        return count
    counts = torch.tensor([count], device=device)
    dist.all_reduce(counts, dist.ReduceOp.MIN)
    return int(counts)


def any_of(flag: bool) -> bool:
    """Whether a flag is set on some rank."""
    return flag if size() == 1 else smallest(0 if flag else 1, torch.device("cpu")) == 0


def mean(values: Tensor) -> Tensor:
    """The mean over the rows of all ranks, 0-d; `values` has shape (n,), and n may differ by rank."""
    if size() == 1:
        return values.mean()
    both = torch.stack([values.sum(), values.new_tensor(float(len(values)))])
    dist.all_reduce(both)
    return both[0] / both[1]


def gather(values: Tensor, rows: int) -> Tensor:
    """The rows of a global batch of `rows` rows, in order, from each rank's `part` of it.

    Integers travel as they are: ids stay int64.
    """
    if size() == 1:
        return values
    widest = -(-rows // size())
    padded = values.new_zeros((widest, *values.shape[1:]))
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(parts, padded)
    lengths = [rows * (r + 1) // size() - rows * r // size() for r in range(size())]
    return torch.cat([own[:length] for own, length in zip(parts, lengths, strict=True)])


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def from_first(value: Any) -> Any:
    """Rank 0's value, on every rank; anything that pickles."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def collect(value: Any) -> list[Any]:
    """The values of all ranks, by rank, on rank 0; a list of this rank's own on the others."""
    if size() == 1:
        return [value]
    box: list[Any] | None = [None] * size() if rank() == 0 else None
    dist.gather_object(value, box)
    return [value] if box is None else box
