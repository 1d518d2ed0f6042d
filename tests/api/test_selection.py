"""Selection in a plain loop: which samples are read and trained, and how it resumes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from run_tools import run
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from ast_experiments import Method, Plan, SampleHistory, Selection, select
from ast_experiments.core.errors import UserError

ROWS, CLASSES = 200, 4
GOOD: dict[str, Any] = {"dataset_size": ROWS, "batch_size": 16, "epochs": 4}


class Counted(Dataset[tuple[Tensor, Tensor]]):
    """Four easy classes; counts how often each sample is read."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(0)
        self.labels = torch.randint(CLASSES, (ROWS,), generator=rng)
        self.images = torch.randn(ROWS, 8, generator=rng) + 2 * torch.eye(8)[self.labels]
        self.reads = np.zeros(ROWS, dtype=int)

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads[index] += 1
        return self.images[index], self.labels[index]


class Loop:
    """A small network and its loop, which may stop after some steps and resume."""

    def __init__(self, selection: Selection, workers: int = 0) -> None:
        torch.manual_seed(0)
        self.selection, self.data = selection, Counted()
        self.model = nn.Linear(8, CLASSES)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.loader = DataLoader(
            selection.wrap(self.data),
            batch_sampler=selection.batches,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        self.trained: list[list[int]] = []

    def run(self, stop: int | None = None, score: Callable[[Tensor], Tensor] | None = None) -> None:
        for _ in self.selection.epochs(score):
            for ids, (images, labels) in self.loader:
                losses = cross_entropy(self.model(images), labels, reduction="none")
                self.optimizer.zero_grad()
                self.selection.loss(ids, losses).backward()
                self.optimizer.step()
                self.trained.append(ids.tolist())
                if len(self.trained) == stop:
                    return

    def state(self) -> dict[str, Any]:
        parts = {"selection": self.selection, "model": self.model, "optimizer": self.optimizer}
        return copy.deepcopy({name: part.state_dict() for name, part in parts.items()})

    def load(self, state: dict[str, Any]) -> None:
        self.selection.load_state_dict(state["selection"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def test_what_is_skipped_is_never_read() -> None:
    loop = Loop(select("ast", **GOOD, rate=0.4))
    loop.run()
    trained = np.bincount(np.concatenate(loop.trained), minlength=ROWS)
    assert np.array_equal(loop.data.reads, trained)
    assert trained.sum() == pytest.approx(0.4 * 4 * ROWS, abs=32)


class Batched(Counted):
    """Reads whole batches at once."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("read one by one")

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        return [(self.images[index], self.labels[index]) for index in indices]


def test_a_dataset_that_reads_batches_still_does() -> None:
    selection, data = select("ast", **GOOD), Batched()
    selection.begin_epoch()
    for ids, (images, _) in DataLoader(selection.wrap(data), batch_sampler=selection.batches):
        assert torch.equal(images, data.images[ids])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("method", "settings"),
    [("ast", {"rate": 0.4}), ("infobatch", {"drop": 0.5}), ("rs2", {"rate": 0.7}), ("orderdp", {})],
)
def test_same_samples_as_ast_train(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, method: str, settings: dict[str, Any], seed: int
) -> None:
    """A plain loop and ast-train with the same data, network and seed train the same ids in the same order."""
    from ast_experiments.selection.selector import Selector

    there: list[tuple[Tensor, ...]] = []
    plans: list[tuple[np.ndarray, Any]] = []
    observe, plan = Selector.observe, Selector.plan

    def noted(self: Any, batch: Any, outputs: Any) -> None:
        there.append(tuple(each.clone() for each in (batch.ids, outputs.losses, outputs.logits, batch.labels)))
        observe(self, batch, outputs)

    def planned(self: Any, epoch: int, target: float) -> Plan:
        made = plan(self, epoch, target)
        plans.append((made.ids, made.weights))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Selector, "observe", noted)
        patch.setattr(Selector, "plan", planned)
        given = [f"method.{key}={value}" for key, value in settings.items()]
        run(tmp_path / "run", [f"method={method}", f"seed={seed}", *given])

    own = select(method, dataset_size=400, batch_size=32, epochs=4, seed=seed, **settings)
    steps = iter(there)
    for epoch in own.epochs():
        ids, weights = plans[epoch]
        assert own._now is not None
        mine = own._now.plan
        assert np.array_equal(mine.ids, ids)
        assert (mine.weights is None) == (weights is None)
        assert weights is None or np.array_equal(mine.weights, weights)
        for batch in own.batches:
            trained, losses, logits, targets = next(steps)
            assert batch == trained.tolist()
            own.loss(trained, losses, logits=logits, targets=targets)
    assert next(steps, None) is None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", ["ast", "infobatch", "rs2"])
def test_a_stopped_loop_resumes_exactly(method: str, workers: int) -> None:
    whole = Loop(select(method, **GOOD), workers)
    whole.run()
    rng = np.random.default_rng(workers)
    for stop in sorted(rng.choice(np.arange(1, len(whole.trained)), 4 if workers else 10, replace=False)):
        part = Loop(select(method, **GOOD), workers)
        part.run(int(stop))
        rest = Loop(select(method, **GOOD), workers)
        rest.load(part.state())
        rest.run()
        assert part.trained + rest.trained == whole.trained
        assert torch.equal(rest.model.weight, whole.model.weight)
        assert rest.selection.metrics() == whole.selection.metrics()


def test_methods_that_ask_for_losses_get_them() -> None:
    for method in ("curriculum", "selective_backprop"):
        loop = Loop(select(method, **GOOD))
        asked: list[int] = []

        def score(ids: Tensor, loop: Loop = loop, asked: list[int] = asked) -> Tensor:
            asked.extend(ids.tolist())
            return cross_entropy(loop.model(loop.data.images[ids]), loop.data.labels[ids], reduction="none")

        loop.run(score=score)
        assert asked or method == "selective_backprop"


class Even(Method):
    """Trains the samples with even ids."""

    rate = None

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        return self.train(np.arange(0, self.context.samples, 2))


def test_a_method_of_your_own() -> None:
    loop = Loop(select(Even(), **GOOD))
    loop.run()
    assert {i % 2 for i in np.concatenate(loop.trained)} == {0}


def test_metrics_and_steps() -> None:
    selection = select("rs2", **GOOD, rate=0.4)
    loop = Loop(selection)
    loop.run()
    metrics = selection.metrics()
    assert metrics["progress"] == 1.0
    assert metrics["rows/trained"] == len(loop.trained) * 16
    assert metrics["rows/offered"] == 4 * ROWS
    assert metrics["control/target"] == 0.4
    assert selection.steps == len(loop.trained)
    assert select("dense", **GOOD).steps == 4 * 13
    falling = select("random", **GOOD, rate=0.8, rate_final=0.2)
    other = Loop(falling)
    other.run()
    assert falling.steps == len(other.trained)


def test_an_auto_rate_falls_if_some_classes_are_rare() -> None:
    assert select("ast", **GOOD).target == select("ast", **GOOD, class_counts=[ROWS // 2] * 2).target == 0.4
    assert select("ast", **GOOD, class_counts=[ROWS - 11, 10, 1]).target == pytest.approx(0.2)
    with pytest.raises(UserError, match=f"expected the number of training samples of each class, {ROWS} in all"):
        select("ast", **GOOD, class_counts=[1, 2])


def test_weights_of_the_loss() -> None:
    selection = select("infobatch", dataset_size=ROWS, batch_size=16, epochs=8, drop=0.5)
    for epoch in selection.epochs():
        for batch in selection.batches:
            losses = torch.tensor([0.1 if i % 3 else 2.0 for i in batch], requires_grad=True)
            selection.loss(torch.tensor(batch), losses).backward()
            assert losses.grad is not None
            weights = (losses.grad * len(batch)).round(decimals=4).tolist()
            if 1 <= epoch < 7:  # all losses are known, and it is not the final phase
                assert weights == [2.0 if i % 3 else 1.0 for i in batch]
            else:
                assert weights == [1.0] * len(batch)
