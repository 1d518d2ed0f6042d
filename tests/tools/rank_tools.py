"""Ranks as threads: the package's own `ranks` functions over a stand-in for torch.distributed."""

import threading
from copy import deepcopy

import torch
import torch.distributed as dist

from ast_experiments.core import distributed

HANGS_S = 10


class Threads:
    """What `ranks` uses of torch.distributed, among threads of one process."""

    ReduceOp = dist.ReduceOp

    def __init__(self, size):
        self.own, self.size = threading.local(), size
        self.barrier, self.slots = threading.Barrier(size, timeout=HANGS_S), [None] * size

    def is_available(self):
        return True

    def is_initialized(self):
        return hasattr(self.own, "rank")

    def get_world_size(self):
        return self.size

    def get_rank(self):
        return self.own.rank

    def exchange(self, tensor):
        """The tensors of all ranks, which must have one shape."""
        self.slots[self.own.rank] = tensor.clone()
        self.barrier.wait()
        found = list(self.slots)
        assert all(t.shape == tensor.shape and t.dtype == tensor.dtype for t in found)
        self.barrier.wait()
        return found

    def all_reduce(self, tensor, op=dist.ReduceOp.SUM):
        found = torch.stack(self.exchange(tensor))
        reduce = {dist.ReduceOp.MIN: torch.amin, dist.ReduceOp.MAX: torch.amax}.get(op, torch.sum)
        tensor.copy_(reduce(found, dim=0))

    def reduce(self, tensor, dst):
        found = torch.stack(self.exchange(tensor))
        tensor.copy_(found.sum(dim=0) if self.own.rank == dst else torch.full_like(tensor, -7))  # undefined elsewhere

    def broadcast(self, tensor, src):
        tensor.copy_(self.exchange(tensor)[src])

    def broadcast_object_list(self, box):
        if self.own.rank == 0:
            self.slots[0] = box[0]
        self.barrier.wait()
        box[0] = deepcopy(self.slots[0])
        self.barrier.wait()

    def gather_object(self, value, box):
        self.slots[self.own.rank] = value
        self.barrier.wait()
        if box is not None:
            box[:] = deepcopy(self.slots)
        self.barrier.wait()

    def get_backend_config(self):
        return "cpu:gloo"

    def all_gather(self, parts, tensor):
        for part, theirs in zip(parts, self.exchange(tensor), strict=True):
            part.copy_(theirs)


def on_ranks(monkeypatch, size, work):
    """`work(rank)` on each rank; the results by rank. A rank that waits for the others in vain fails."""
    threads = Threads(size)
    monkeypatch.setattr(distributed, "dist", threads)
    results, errors = [None] * size, []

    def run(rank):
        threads.own.rank = rank
        try:
            results[rank] = work(rank)
        except BaseException as error:
            errors.append(error)
            threads.barrier.abort()

    started = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(2 * HANGS_S)
    errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in started), "a rank hangs"
    return results
