"""Cost of the public API in a plain PyTorch loop, against the same loop without it on the same batches.

    python scripts/bench_own_loop.py --rounds 5

Both loops train the same ids in the same order with the same arithmetic: a loss a sample, then the mean. The bare loop
gives those ids to its DataLoader as a batch sampler and knows nothing of selection. The two take turns step by step in
one process on one thread, each going first in every other step, so that what else the machine does meets both alike.
The figures are CPU seconds, of whole epochs with planning and committing. Forward, backward and optimiser do the same
work in both loops, and their noise hides what selection costs. The overhead is therefore given twice: from all seconds,
and from those outside of the network (loading, the mean of the losses, and all that selection does); each less the same
of the bare loop, over all seconds of the bare loop. Both are medians over the epochs; the error is that of a median,
1.25 standard deviations of a mean.

`dense` is the API alone: every sample, nothing to choose. `ast` also chooses 40 % of the samples for each epoch.

Beside it stand the CPU seconds of `import torch`, and how many more `import ast_experiments` and all its names take.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ast_experiments import select

METHODS: dict[str, dict[str, Any]] = {"dense": {}, "ast": {"rate": 0.4, "rate_schedule": "constant"}}


def digits() -> TensorDataset:
    """Returns scikit-learn's digits, one channel of 8 pixels."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels))


def cifar10(rows: int) -> TensorDataset:
    """Returns noise in the shape of CIFAR-10."""
    return TensorDataset(torch.randn(rows, 3, 32, 32), torch.randint(10, (rows,)))


class Net:
    """SimpleCNN without dropout, so that both loops draw nothing, and its optimiser; made from one seed."""

    def __init__(self, data: TensorDataset) -> None:
        from ast_experiments.models.simple_cnn import SimpleCNN

        torch.manual_seed(0)
        self.model: nn.Module = SimpleCNN(10, data[0][0].shape[0], data[0][0].shape[-1], dropout=0.0)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3)
        self.seconds = 0.0

    def losses(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns one loss a sample."""
        begin = time.process_time()
        losses = cross_entropy(self.model(images), labels, reduction="none")
        self.seconds += time.process_time() - begin
        return losses

    def step(self, loss: torch.Tensor) -> None:
        """Makes a step of the optimiser."""
        begin = time.process_time()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds += time.process_time() - begin


def with_api(net: Net, data: TensorDataset, batch: int, epochs: int, method: str) -> Iterator[torch.Tensor | None]:
    """Trains with selection; yields the ids of each step, and None at the end of each epoch."""
    selection = select(method, dataset_size=len(data), batch_size=batch, epochs=epochs, **METHODS[method])
    loader: DataLoader[Any] = DataLoader(selection.wrap(data), batch_sampler=selection.batches)
    for _ in selection.epochs():
        for ids, (images, labels) in loader:
            net.step(selection.loss(ids, net.losses(images, labels)))
            yield ids
        yield None


def bare(net: Net, data: TensorDataset, planned: list[list[list[int]]]) -> Iterator[None]:
    """Trains the same batches without selection, and yields as often."""
    for epoch in planned:
        for images, labels in DataLoader(data, batch_sampler=epoch):
            net.step(net.losses(images, labels).mean())
            yield
        yield


def plan(data: TensorDataset, batch: int, epochs: int, method: str) -> list[list[list[int]]]:
    """Returns the batches that training with selection takes, by epoch."""
    planned: list[list[list[int]]] = [[]]
    for ids in with_api(Net(data), data, batch, epochs, method):
        if ids is None:
            planned.append([])
        else:
            planned[-1].append(ids.tolist())
    return planned[:-1]


def measure(data: TensorDataset, batch: int, epochs: int, method: str, rounds: int) -> None:
    """Prints the seconds of an epoch in either loop, and the overhead."""
    planned = plan(data, batch, epochs, method)
    whole: list[list[float]] = []
    outside: list[list[float]] = []
    for _ in range(rounds):
        nets = Net(data), Net(data)
        loops: list[Iterator[Any]] = [bare(nets[0], data, planned), with_api(nets[1], data, batch, epochs, method)]
        for epoch in planned:
            seconds, before = [0.0, 0.0], [net.seconds for net in nets]
            for step in range(len(epoch) + 1):
                for which in (step % 2, 1 - step % 2):
                    begin = time.process_time()
                    next(loops[which])
                    seconds[which] += time.process_time() - begin
            whole.append(seconds)
            outside.append([all - net.seconds + at for all, net, at in zip(seconds, nets, before, strict=True)])
    plain = statistics.median(seconds[0] for seconds in whole)
    parts = [
        f"{statistics.median(each):+.2f} +- {1.25 * statistics.stdev(each) / math.sqrt(len(each)):.2f} %"
        for each in ([100 * (ours - bare) / plain for bare, ours in column] for column in (whole, outside))
    ]
    print(
        f"  {method:5} {sum(map(len, planned)) / epochs:.0f} steps an epoch, bare {1e3 * plain:.1f} ms; "
        f"overhead {parts[0]} of all seconds, {parts[1]} outside of the network"
    )


def imports(rounds: int) -> None:
    """Prints the CPU seconds of importing torch, and of what comes on top; medians of fresh processes."""
    code = "import time; a = time.process_time(); {}; print(time.process_time() - a)"
    statements = {"torch": "import torch", "the package": "import ast_experiments"}
    statements["all its names too"] = "from ast_experiments import *"
    found: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            whole = code.format(statement) if name == "torch" else f"import torch; {code.format(statement)}"
            done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
            found[name].append(float(done.stdout))
    print("imports:", ", ".join(f"{name} {statistics.median(each):.3f} s" for name, each in found.items()))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="in a round")
    parser.add_argument("--rows", type=int, default=2560, help="of the CIFAR-10 case; 0 leaves it out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    imports(args.rounds)
    cases = (("digits", digits(), 32), ("digits", digits(), 128), ("CIFAR-10", cifar10(args.rows), 128))
    for name, data, batch in cases:
        if len(data):
            print(f"{name}, SimpleCNN, batches of {batch}:")
            for method in METHODS:
                measure(data, batch, args.epochs, method, args.rounds)


if __name__ == "__main__":
    main()
