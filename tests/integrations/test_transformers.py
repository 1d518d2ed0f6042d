"""Hugging Face's Trainer trains the planned samples, on a tiny network made from a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ast_experiments import Selection, select
from ast_experiments.core.errors import UserError

pytestmark = pytest.mark.slow  # importing Transformers takes ten seconds

ROWS, WORDS = 96, 50
GOOD: dict[str, Any] = {"dataset_size": ROWS, "batch_size": 16, "epochs": 3, "rate": 0.5}
RNG = torch.Generator().manual_seed(0)
TOKENS, LABELS = torch.randint(1, WORDS, (ROWS, 6), generator=RNG), torch.randint(2, (ROWS,), generator=RNG)


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read.append(index)
        return {"input_ids": TOKENS[index], "labels": LABELS[index]}


def trainer_of(selection: Selection, data: Rows, folder: Path, **settings: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from ast_experiments.integrations.transformers import SelectionTrainer

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    given = {"save_strategy": "no", **settings}
    arguments = transformers.TrainingArguments(
        str(folder), learning_rate=1e-2, lr_scheduler_type="linear", report_to=[], use_cpu=True, logging_strategy="no",
        disable_tqdm=True, **given,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    return SelectionTrainer(model=model, args=arguments, train_dataset=data, selection=selection)


@pytest.mark.parametrize("method", ["ast", "rs2"])
def test_only_planned_samples_are_read_and_trained(tmp_path: Path, method: str) -> None:
    selection, data = select(method, **GOOD), Rows()
    plans: list[int] = []
    trainer = trainer_of(selection, data, tmp_path)
    begin = selection.begin_epoch

    def noted() -> None:
        begin()
        plans.extend(i for batch in selection.batches for i in batch)

    selection.begin_epoch = noted  # type: ignore[method-assign]
    before = [each.clone() for each in trainer.model.parameters()]
    trainer.train()
    assert data.read == plans
    assert selection.metrics()["progress"] == 1
    assert trainer.state.global_step == selection.metrics()["step"] == len(plans) / 16
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    if method == "rs2":  # whose steps are known exactly: the schedule ends where training does
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    assert trainer.predict(data).predictions.shape == (ROWS, 2)


def test_what_does_not_go_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"type TrainingArguments\(gradient_accumulation_steps=1\)"):
        trainer_of(select("ast", **GOOD), Rows(), tmp_path, gradient_accumulation_steps=2)
    trainer_of(select("ast", **GOOD), Rows(), tmp_path, save_strategy="epoch").train()
    with pytest.raises(UserError, match=r"lack the selection; type trainer.train\(\)"):
        trainer_of(select("ast", **GOOD), Rows(), tmp_path).train(resume_from_checkpoint=True)


def test_losses_of_a_language_model() -> None:
    pytest.importorskip("transformers")
    from ast_experiments.integrations.transformers import losses_of

    logits, labels = torch.randn(3, 5, 7), torch.randint(7, (3, 5))
    labels[1, 3:] = -100
    found = losses_of({"logits": logits}, labels)
    for row, end in enumerate((5, 3, 5)):
        expected = torch.nn.functional.cross_entropy(logits[row, : end - 1], labels[row, 1:end])
        assert found[row] == pytest.approx(expected.item(), rel=1e-5)
