"""A significance gets what it names, and `margin` is what it says."""

import dataclasses
import math
from functools import partial

import pytest
import torch
from selection_tools import batch_of, on_fresh, prepared

from ast_experiments.core.batch import Outputs
from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.significance import inputs_of, score_batch
from ast_experiments.selection.significance.margin import margin

# Probabilities 0.7 0.2 0.1; a tie of the first two; the first class nearly certain.
LOGITS = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [1.0, 1e-9, 1e-9]], dtype=torch.float64).log()
LOADED = dataclasses.replace(batch_of(range(3)), labels=torch.tensor([0, 0, 1]))
OUTPUTS = Outputs(LOGITS, torch.tensor([3.0, 4.0, 5.0]))


def test_arguments_are_given_by_name_in_any_order():
    def backwards(labels, images, logits, losses, *, power: float = 1.0):
        assert labels is LOADED.labels
        assert images is LOADED.images
        assert logits is OUTPUTS.logits
        return losses**power

    assert inputs_of(backwards) == ("labels", "images", "logits", "losses")
    assert score_batch(backwards, LOADED, OUTPUTS).tolist() == [3, 4, 5]
    assert score_batch(partial(backwards, power=2.0), LOADED, OUTPUTS).tolist() == [9, 16, 25]
    assert score_batch(lambda losses: losses, LOADED, OUTPUTS) is OUTPUTS.losses
    assert score_batch(lambda losses, logits, images: losses, LOADED, OUTPUTS) is OUTPUTS.losses


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda losses, logits, images, targets: losses, "a significance is not given targets; name what it takes of"),
        (lambda losses, power=1.0: losses, r"not given power; .* and write settings after a \*"),
        (lambda losses, *rest: losses, r"not given \*rest; name what it takes of losses, logits, images, labels"),
        (lambda losses, *, labels: losses, r"labels stands where settings stand; write it before the \*"),
        (lambda *, power=1.0: power, "takes nothing to score by; name what it takes of losses, logits, images, labels"),
    ],
)
def test_another_argument_is_one_line(function, message):
    with pytest.raises(ConfigError, match=message) as error:
        inputs_of(function)
    assert len(str(error.value).splitlines()) == 1


def test_scores_of_another_shape_are_one_line():
    with pytest.raises(UserError, match=r"returned the shape \(3, 3\); expected one score a row, \(3,\)"):
        score_batch(lambda logits: logits, LOADED, OUTPUTS)


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 0, 0], [0.5, 1.0, 3e-9]), ([1, 1, 1], [1.5, 1.0, 2.0]), ([2, 2, 2], [1.6, 1.2, 2.0])]
)
@pytest.mark.parametrize("soft", [False, True])
def test_margin_by_hand(labels, expected, soft):
    labels = torch.tensor(labels)
    if soft:
        labels = 0.8 * torch.nn.functional.one_hot(labels, 3).float() + 0.2 / 3
    assert margin(LOGITS, labels).tolist() == pytest.approx(expected, rel=1e-5)
    assert math.isclose(margin(LOGITS[:0], labels[:0]).sum(), 0)


def test_stale_scores_are_those_of_the_labels():
    assert AST(TopK(), margin).score(LOADED, OUTPUTS).tolist() == pytest.approx([0.5, 1.0, 2.0])


@pytest.mark.parametrize("execution", ["gather", "masked"])
def test_the_smallest_margins_of_a_batch_are_trained(execution):
    method = on_fresh(execution, TopK(), margin, **({"packing": False} if execution == "gather" else {}))
    selector = prepared(method, samples=3, batch_size=3)
    selector.plan(0, 1 / 3)
    (batch,) = selector.select(LOADED, lambda *_, **__: OUTPUTS)
    weights = selector.weigh(batch, OUTPUTS)
    assert (batch.ids if weights is None else batch.ids[weights > 0]).tolist() == [2]
