"""Regression on a table: scikit-learn's diabetes data, squared errors as losses.

python examples/tabular_regression.py
"""

import time

import torch
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset

from ast_experiments import select

BATCH = 16


def diabetes() -> tuple[TensorDataset, TensorDataset]:
    """Returns 342 training and 100 test patients, ten standardised features each."""
    data = load_diabetes()
    features, targets = (
        torch.tensor(data.data, dtype=torch.float32) * 20,
        torch.tensor(data.target, dtype=torch.float32),
    )
    targets = (targets - targets[:342].mean()) / targets[:342].std()
    return TensorDataset(features[:342], targets[:342]), TensorDataset(features[342:], targets[342:])


def train(method: str, epochs: int, seed: int = 0, **settings: float) -> tuple[float, dict[str, float]]:
    """Trains a small network; returns R squared on the test set and the selection's metrics."""
    train_set, test_set = diabetes()
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1), torch.nn.Flatten(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    selection = select(method, dataset_size=len(train_set), batch_size=BATCH, epochs=epochs, seed=seed, **settings)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loader = DataLoader(selection.wrap(train_set), batch_sampler=selection.batches)
    for _ in selection.epochs():
        for ids, (features, targets) in loader:
            errors = (model(features) - targets) ** 2
            selection.loss(ids, errors).backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    features, targets = test_set.tensors
    with torch.no_grad():
        left = ((model(features) - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum()
    return 1 - left.item(), selection.metrics()


def main() -> None:
    """Compares stale AST with dense training on as many rows."""
    for name, epochs, settings in (("ast", 25, {"rate": 0.4}), ("dense", 10, {})):
        begin = time.perf_counter()
        r2, metrics = train(name, epochs, **settings)
        rows, rate = metrics["rows/trained"], metrics["rows/trained"] / metrics["rows/offered"]
        seconds = time.perf_counter() - begin
        print(f"{name:6} R squared {r2:.3f}, rate {rate:.3f}, {rows:.0f} rows ({epochs} epochs), {seconds:.1f} s")


if __name__ == "__main__":
    main()
