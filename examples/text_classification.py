"""Text classification: which package does a sentence of documentation come from? An embedding bag, five classes.

python examples/text_classification.py
"""

import time

import docstrings
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ast_experiments import Selection, select

BATCH = 64


class BagOfWords(torch.nn.Module):
    """The mean of word embeddings, and a hidden layer."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = torch.nn.EmbeddingBag(docstrings.BUCKETS, width, padding_idx=0)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, len(docstrings.PACKAGES))
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Returns logits (n, classes) of tokens (n, words)."""
        return self.head(self.embed(tokens))


def fit(sets: tuple[TensorDataset, ...], selection: Selection, seed: int, lr: float) -> float:
    """Trains a bag of words on the first set; returns the accuracy on the second in percent."""
    train_set, test_set = sets
    torch.manual_seed(seed)
    model = BagOfWords()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    loader = DataLoader(selection.wrap(train_set), batch_sampler=selection.batches)
    for _ in selection.epochs():
        for ids, (tokens, packages) in loader:
            for group in optimizer.param_groups:  # the schedule follows the progress of the selection
                group["lr"] = lr * (1 - selection.progress)
            losses = cross_entropy(model(tokens), packages, reduction="none")
            selection.loss(ids, losses).backward()
            optimizer.step()
            optimizer.zero_grad()
    tokens, packages = test_set.tensors
    with torch.no_grad():
        return 100 * (model(tokens).argmax(dim=1) == packages).float().mean().item()


def main() -> None:
    """Compares stale AST with dense training on as many rows."""
    sets = docstrings.load()
    for name, epochs, settings in (("ast", 10, {"rate": 0.6, "rate_final": 0.2}), ("dense", 4, {})):
        begin = time.perf_counter()
        selection = select(name, dataset_size=len(sets[0]), batch_size=BATCH, epochs=epochs, **settings)
        accuracy = fit(sets, selection, seed=0, lr=3e-3)
        metrics = selection.metrics()
        rows, rate = metrics["rows/trained"], metrics["rows/trained"] / metrics["rows/offered"]
        seconds = time.perf_counter() - begin
        print(
            f"{name:6} {accuracy:.1f} % accuracy, rate {rate:.3f}, {rows:.0f} rows ({epochs} epochs), {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
