"""Sentences of documentation with Hugging Face's Trainer and a tiny BERT made from a config, without a download.

python examples/huggingface_text.py
"""

import tempfile
import time
from typing import Any

import docstrings
import torch
from torch.utils.data import Dataset, TensorDataset
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments
from transformers.utils import logging

from ast_experiments import select
from ast_experiments.integrations.transformers import SelectionTrainer

BATCH, LIMIT = 64, 600


class Sentences(Dataset[dict[str, torch.Tensor]]):
    """Tokens and labels as Transformers wants them."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens, label = self.data[index]
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long(), "labels": label}


def model(seed: int) -> BertForSequenceClassification:
    """Returns a transformer with two small layers."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    classes = len(docstrings.PACKAGES)
    return BertForSequenceClassification(BertConfig(vocab_size=docstrings.BUCKETS, num_labels=classes, **sizes))


def train(sets: Any, method: str, epochs: int, seed: int = 0, **settings: float) -> tuple[float, dict[str, float]]:
    """Trains with a Trainer; returns the test accuracy in percent and the selection's metrics."""
    train_set, test_set = map(Sentences, sets)
    selection = select(method, dataset_size=len(train_set), batch_size=BATCH, epochs=epochs, seed=seed, **settings)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, learning_rate=1e-3, lr_scheduler_type="linear", report_to=[], save_strategy="no", seed=seed,
            logging_strategy="no", disable_tqdm=True, use_cpu=True, per_device_eval_batch_size=500,
        )  # fmt: skip
        trainer = SelectionTrainer(model=model(seed), args=arguments, train_dataset=train_set, selection=selection)
        trainer.train()
        logits = trainer.predict(test_set).predictions
    right = (torch.tensor(logits).argmax(dim=1) == test_set.data.tensors[1]).float().mean().item()
    return 100 * right, selection.metrics()


def main() -> None:
    """Compares stale AST with dense training on as many rows."""
    logging.set_verbosity_error()
    sets = docstrings.load(LIMIT)
    for name, epochs, settings in (("ast", 10, {"rate": 0.6, "rate_final": 0.2}), ("dense", 4, {})):
        begin = time.perf_counter()
        accuracy, metrics = train(sets, name, epochs, **settings)
        rows, rate = metrics["rows/trained"], metrics["rows/trained"] / metrics["rows/offered"]
        seconds = time.perf_counter() - begin
        print(f"{name:6} {accuracy:.1f} % accuracy, rate {rate:.3f}, {rows:.0f} rows, {epochs} epochs, {seconds:.1f} s")


if __name__ == "__main__":
    main()
