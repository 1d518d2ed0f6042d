"""Six views of an image at validation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ast_experiments.core.batch import Batch
from ast_experiments.training.evaluate import evaluate
from ast_experiments.training.hardware import Hardware
from ast_experiments.training.views import VIEWS, mean_logits

CPU = Hardware(torch.device("cpu"), torch.float32)


def test_the_weights_are_those_of_airbench() -> None:
    images, seen = torch.randn(2, 3, 5, 5), []

    def predict(view: Tensor) -> Tensor:
        seen.append(view)
        return torch.eye(6)[len(seen)].expand(2, 6)

    logits = mean_logits(predict, images, torch.eye(6)[0].expand(2, 6))
    assert logits.tolist() == [[0.25, 0.25, 0.125, 0.125, 0.125, 0.125]] * 2
    assert len(seen) + 1 == VIEWS
    larger = nn.functional.pad(images, (1, 1, 1, 1), "reflect")
    expected = [images.flip(3), larger[..., :5, :5], larger[..., :5, :5].flip(3)]
    expected += [larger[..., 2:, 2:], larger[..., 2:, 2:].flip(3)]
    for view, wanted in zip(seen, expected, strict=True):
        assert torch.equal(view, wanted)


def test_the_plain_accuracy_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 25, 4))
    batches = [Batch(torch.arange(9), torch.randn(9, 3, 5, 5), torch.randint(0, 4, (9,))) for _ in range(3)]
    plain, both = evaluate(model, batches, CPU), evaluate(model, batches, CPU, views=True)
    assert plain == {key: value for key, value in both.items() if key != "val/accuracy_views"}
    assert both.keys() - plain.keys() == {"val/accuracy_views"}


def test_a_network_that_sees_no_difference_has_both_accuracies_equal() -> None:
    class Brightness(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            middle = images[:, 0, 1, 1]
            return torch.stack([middle, -middle], 1)

    images = torch.tensor([1.0, -1.0, 2.0, -3.0]).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    measured = evaluate(Brightness(), [Batch(torch.arange(4), images, torch.tensor([0, 1, 1, 1]))], CPU, views=True)
    assert measured["val/accuracy"] == measured["val/accuracy_views"] == 75.0
