"""Trains a small network on scikit-learn's digits, without selection. plain_pytorch.py is the same loop with it."""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

BATCH = 32


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Returns 1,400 training and 397 test images."""
    data = load_digits()
    images, labels = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def network(seed: int) -> torch.nn.Module:
    """Returns a network with one hidden layer."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def accuracy(model: torch.nn.Module, test_set: TensorDataset) -> float:
    """Returns the accuracy in percent."""
    images, labels = test_set.tensors
    with torch.no_grad():
        return 100 * (model(images).argmax(dim=1) == labels).float().mean().item()


def train(epochs: int, seed: int) -> float:
    """Trains on every sample in every epoch; returns the test accuracy."""
    train_set, test_set = digits()
    model = network(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)
    for _ in range(epochs):
        for inputs, targets in loader:
            loss = cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return accuracy(model, test_set)
