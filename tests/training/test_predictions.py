"""The predictions that a run keeps of its samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from no_reads import NoReads
from rank_tools import on_ranks

from ast_experiments.training.predictions import COLUMNS, Predictions, observed

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [1.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 0, 1])


def test_observed_by_hand() -> None:
    predicted, confidence, place, margin = observed(LOGITS, LABELS).T.tolist()
    assert predicted == [0, 2, 1]  # a tie counts as the label
    assert place == [0, 2, 0]
    assert margin == [1, -3, 0]
    assert confidence == pytest.approx(LOGITS.softmax(1).amax(1).tolist())


def test_soft_labels_count_as_their_most_probable_class() -> None:
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.5, 0.2, 0.3], [0.1, 0.8, 0.1]])
    assert torch.equal(observed(LOGITS, soft), observed(LOGITS, LABELS))


def test_visits_add_up_without_a_read() -> None:
    made = Predictions(4, 3, "cpu")
    ids = torch.tensor([3, 1, 0])
    with NoReads():
        made.record(ids, LOGITS, LABELS, torch.tensor([1.0, 2.0, 0.0]))
    made.commit(0)
    with NoReads():
        made.record(ids[:2], LOGITS[[0, 0]], LABELS[:2], None)
    made.commit(1)
    assert made.predicted.tolist() == [-1, 0, -1, 0]
    assert made.place.tolist() == [-1, 0, -1, 0]
    assert made.contradictions.tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(made.columns(np.array([0, 2, 0, 2]))["margin"], [np.nan, -1, np.nan, 1])
    assert [row[:5] for row in made.place_counts] == [(2, 1, 1, 1, 0), (2, 2, 0, 0, 0)]
    assert made.predicted.dtype == np.int16
    assert Predictions(1, 40_000, "cpu").predicted.dtype == np.int32


def test_a_state_in_the_middle_of_an_epoch() -> None:
    made, again = Predictions(4, 3, "cpu"), Predictions(4, 3, "cpu")
    made.record(torch.tensor([0, 1, 2]), LOGITS, LABELS, None)
    made.commit(0)
    made.record(torch.tensor([1, 2, 3]), LOGITS, LABELS, None)
    again.load_state_dict(made.state_dict())
    for each in (made, again):
        each.commit(1)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(made, name), getattr(again, name))
    assert made.place_counts == again.place_counts


def test_counts_of_earlier_versions_are_left_out() -> None:
    made = Predictions(4, 3, "cpu")
    made.load_state_dict(made.state_dict() | {"place_counts": torch.tensor([[4, 3, 1, 1, 0]])})
    assert made.place_counts == []
    assert made.noise() is None


def test_ranks_keep_what_one_process_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Predictions(5, 3, "cpu")
    whole.record(torch.tensor([4, 0, 2]), LOGITS, LABELS, None)
    whole.commit(0)

    def work(rank: int) -> Predictions:
        made = Predictions(5, 3, "cpu")
        # Both train sample 4; the last rank's counts.
        rows = torch.tensor([[1, 1], [0, 2]][rank])
        ids = torch.tensor([[4, 0], [4, 2]][rank])
        made.record(ids, LOGITS[rows], LABELS[rows], None)
        made.commit(0)
        return made

    for made in on_ranks(monkeypatch, 2, work):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(made, name), getattr(whole, name))
        assert made.place_counts == whole.place_counts
