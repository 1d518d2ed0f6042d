"""Cost of the public API in a plain PyTorch loop, against the same loop without it on the same batches.

    python scripts/bench_own_loop.py --rounds 5

Both loops use one DataLoader configuration, the same network and the same ids in the same order, and alternate in one
process on one thread. The figures are CPU seconds; the overhead is the ratio of the sums, less 1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ast_experiments import select
from ast_experiments.api.sampler import WithIds

EPOCHS = 4


def digits() -> tuple[TensorDataset, int]:
    """Returns scikit-learn's digits, one channel of 8 pixels, and the batch size of the quick start."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)), 32


def cifar10(rows: int) -> tuple[TensorDataset, int]:
    """Returns noise in the shape of CIFAR-10, and a batch size of 128."""
    return TensorDataset(torch.randn(rows, 3, 32, 32), torch.randint(10, (rows,))), 128


def network(data: TensorDataset) -> nn.Module:
    """Returns SimpleCNN for the images."""
    from ast_experiments.models.simple_cnn import SimpleCNN

    channels, size = data[0][0].shape[0], data[0][0].shape[-1]
    torch.manual_seed(0)
    return SimpleCNN(10, channels, size)


def loader(data: Dataset[object], sampler: object) -> DataLoader[object]:
    """Returns the DataLoader of both loops."""
    return DataLoader(data, batch_sampler=sampler)  # pyright: ignore[reportArgumentType]


def with_api(data: TensorDataset, batch: int, seen: list[list[list[int]]] | None = None) -> Iterator[None]:
    """Trains `EPOCHS` epochs with selection, yielding after each; notes the batches in `seen`."""
    model = network(data)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    selection = select("ast", dataset_size=len(data), batch_size=batch, epochs=EPOCHS, rate=0.4)
    batches = loader(selection.wrap(data), selection.batches)
    for _ in selection.epochs():
        if seen is not None:
            seen.append([])
        for ids, (images, labels) in batches:
            if seen is not None:
                seen[-1].append(ids.tolist())
            losses = cross_entropy(model(images), labels, reduction="none")
            selection.loss(ids, losses).backward()
            optimizer.step()
            optimizer.zero_grad()
        yield


def bare(data: TensorDataset, planned: list[list[list[int]]]) -> Iterator[None]:
    """Trains the same batches without selection, yielding after each epoch."""
    model = network(data)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for epoch in planned:
        for _, (images, labels) in loader(WithIds(data, len(data)), epoch):
            cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        yield


def measure(data: TensorDataset, batch: int, rounds: int) -> float:
    """Returns the overhead as a share of the bare loop."""
    planned: list[list[list[int]]] = []
    for _ in with_api(data, batch, planned):
        pass
    spent = {"api": 0.0, "bare": 0.0}
    loops: dict[str, Callable[[], Iterator[None]]] = {
        "api": lambda: with_api(data, batch),
        "bare": lambda: bare(data, planned),
    }
    for index in range(rounds):
        for name in ("api", "bare") if index % 2 else ("bare", "api"):
            begin = time.process_time()
            for _ in loops[name]():
                pass
            spent[name] += time.process_time() - begin
    print(f"  bare {spent['bare']:.2f} s, with selection {spent['api']:.2f} s of CPU")
    return spent["api"] / spent["bare"] - 1


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5120, help="rows of the CIFAR-10 case")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, (data, batch) in {"digits": digits(), "CIFAR-10": cifar10(args.rows)}.items():
        print(f"{name}, SimpleCNN:")
        print(f"  overhead {100 * measure(data, batch, args.rounds):+.2f} %")


if __name__ == "__main__":
    main()
