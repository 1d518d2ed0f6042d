"""The loop of plain_loop.py with selection: six changed lines. A skipped sample is never read.

python examples/plain_pytorch.py
"""

import time

import plain_loop
import torch
from plain_loop import BATCH, accuracy, digits, network
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from ast_experiments import select


def train(epochs: int, seed: int, rate: float = 0.4) -> tuple[float, dict[str, float]]:
    """Trains on a fraction of the samples in every epoch; returns the test accuracy and the selection's metrics."""
    train_set, test_set = digits()
    model = network(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    selection = select("ast", dataset_size=len(train_set), batch_size=BATCH, epochs=epochs, rate=rate, seed=seed)
    loader = DataLoader(selection.wrap(train_set), batch_sampler=selection.batches)
    for _ in selection.epochs():
        for ids, (inputs, targets) in loader:
            losses = cross_entropy(model(inputs), targets, reduction="none")
            loss = selection.loss(ids, losses)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return accuracy(model, test_set), selection.metrics()


def main() -> None:
    """Compares the loop with dense training on as many rows."""
    epochs, rate = 30, 0.4
    for loop in (train, plain_loop.train):  # so that what torch loads on first use is not timed
        loop(1, seed=0)
    begin = time.perf_counter()
    reached, metrics = train(epochs, seed=0, rate=rate)
    seconds = time.perf_counter() - begin
    print(
        f"ast    {reached:.1f} % accuracy, rate {metrics['rows/trained'] / metrics['rows/offered']:.3f}, "
        f"{metrics['rows/trained']:.0f} rows, {seconds:.1f} s"
    )
    short, begin = round(rate * epochs), time.perf_counter()
    reached = plain_loop.train(short, seed=0)
    print(f"dense  {reached:.1f} % accuracy, {short * 1400} rows ({short} epochs), {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
