"""The arithmetic of the methods: by hand, and the same as what the methods choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ast_experiments import Selection, functional, select
from ast_experiments.selection.numeric import generator

NAN = np.nan
MASKS: dict[str, tuple[np.ndarray, list[int]]] = {
    "the highest losses": (functional.choose_by_loss(np.array([1.0, 4, 2, 3]), 2, np.random.default_rng(0)), [1, 3]),
    "all that have no loss, first": (
        functional.choose_by_loss(np.array([NAN, 4, NAN, 3]), 2, np.random.default_rng(0)),
        [0, 2],
    ),
    "the hardest, unknown ones first": (functional.hardest(np.array([1.0, NAN, 2, 3]), 2), [1, 3]),
    "the hardest, ties by order": (functional.hardest(np.array([2.0, 2, 2]), 2), [0, 1]),
    "the easiest, unknown ones last": (functional.easiest(np.array([1.0, NAN, 2, 0]), 2), [0, 3]),
    "a window of difficulty": (functional.difficulty_window(np.array([9.0, 0, 5, 0.1, 5.1]), 3, 1, 1), [2, 4]),
    "not the confident ones": (
        functional.hide_confident(np.array([0.1, 0.2, 0.3, 0.0]), np.array([0.9, 0.0, 0.9, 0.8]), 0.5),
        [1, 2],  # 3 and 0 have the lowest losses
    ),
    "the wrong ones too": (
        functional.hide_confident(np.array([0.1, 0.2, NAN, 0.0]), np.array([0.0, 0.9, 0.9, 0.8]), 0.5),
        [0, 1, 2],
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name: str) -> None:
    mask, expected = MASKS[name]
    assert np.flatnonzero(mask).tolist() == expected


def test_uniform_rows_are_added() -> None:
    losses = np.arange(100.0)
    mask = functional.choose_by_loss(losses, 40, np.random.default_rng(0), uniform=10)
    assert mask.sum() == 40
    assert mask[70:].all()
    assert not np.array_equal(mask, functional.choose_by_loss(losses, 40, np.random.default_rng(0)))


def test_easy_rows_are_dropped_and_weighted() -> None:
    losses = np.array([0.0] * 8 + [10.0] * 2)
    mask, weights = functional.drop_easy(losses, 0.75, np.random.default_rng(0))
    assert weights is not None
    assert mask[:8].sum() == 2
    assert mask[8:].all()
    assert weights.tolist() == [4.0] * 8 + [1.0] * 2
    assert weights[mask].sum() == len(losses)
    assert functional.drop_easy(np.full(3, NAN), 0.5, np.random.default_rng(0))[1] is None


def test_weights_make_the_mean_unbiased() -> None:
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=200)
    means = []
    for _ in range(2000):
        mask, weights = functional.choose_with_weights(losses, 40, rng, temperature=1.0, uniform=0.3)
        means.append((losses * weights)[mask].mean())
    assert np.mean(means) == pytest.approx(losses.mean(), rel=0.01)
    assert weights.max() <= 1 / 0.3 + 1e-9


SAMPLES, BATCH = 240, 12


def after_one_epoch(method: str, **settings: Any) -> tuple[Selection, np.ndarray]:
    """A selection that plans its second epoch next, and the losses that it remembers."""
    selection = select(method, dataset_size=SAMPLES, batch_size=BATCH, epochs=8, seed=3, **settings)
    losses = torch.rand(SAMPLES, generator=torch.Generator().manual_seed(0))
    selection.begin_epoch()
    for batch in selection.batches:
        selection.loss(torch.tensor(batch), losses[batch])
    selection.end_epoch(score=lambda ids: losses[ids])
    return selection, losses.numpy()


def planned(selection: Selection) -> tuple[list[int], np.ndarray | None]:
    selection.begin_epoch()
    return [i for batch in selection.batches for i in batch], selection._selector.plan(1, selection.target or 1).weights


ORDER = generator(3, 1, 1).permutation(SAMPLES)
"""The order of the second epoch."""


def test_ast_chooses_by_loss() -> None:
    for pick, temperature in (("topk", None), ("proportional", 2.0)):
        given = {} if temperature is None else {"temperature": temperature}
        selection, losses = after_one_epoch(
            "ast", rate=0.5, rate_schedule="constant", warmup_epochs=1, pick=pick, exploration=0.25, **given
        )
        mask = functional.choose_by_loss(
            losses[ORDER], 120, generator(3, 4, 1), temperature=temperature, uniform=30, uniform_rng=generator(3, 2, 1)
        )
        assert planned(selection)[0] == ORDER[mask].tolist()


def test_ast_weighs() -> None:
    given = {"pick": "proportional", "reweight": True, "exploration": 0.25}
    selection, losses = after_one_epoch("ast", rate=0.5, rate_schedule="constant", warmup_epochs=1, **given)
    mask, weights = functional.choose_with_weights(losses[ORDER], 120, generator(3, 4, 1), uniform=0.25)
    ids, found = planned(selection)
    assert ids == ORDER[mask].tolist()
    assert found is not None
    assert np.array_equal(found, weights[mask].astype(np.float32))


def test_infobatch_drops_easy_rows() -> None:
    selection, losses = after_one_epoch("infobatch", drop=0.5)
    mask, weights = functional.drop_easy(losses[ORDER], 0.5, generator(3, 2, 1))
    rows = mask.sum() // BATCH * BATCH
    ids, found = planned(selection)
    assert weights is not None
    assert found is not None
    assert ids == ORDER[mask][:rows].tolist()
    assert np.array_equal(found, weights[mask][:rows].astype(np.float32))


def test_orderdp_takes_the_hardest_of_a_draw() -> None:
    selection, _ = after_one_epoch("orderdp", draw=0.5, keep=0.5)
    drawn = ORDER[: SAMPLES // 2]
    mask = functional.hardest(selection._selector.history.losses[drawn], SAMPLES // 4)
    assert planned(selection)[0] == drawn[mask].tolist()


def test_curriculum_takes_the_easiest() -> None:
    selection, losses = after_one_epoch("curriculum", start=0.2, ramp=1.0)
    mask = functional.easiest(losses[ORDER], int(0.3 * SAMPLES) // BATCH * BATCH)
    assert planned(selection)[0] == ORDER[mask].tolist()


def test_seta_takes_a_window() -> None:
    selection, losses = after_one_epoch("seta", drop=0.0, groups=4, window=0.5)
    mask = functional.difficulty_window(losses[ORDER], 4, 1, 2)
    assert planned(selection)[0] == ORDER[mask][: mask.sum() // BATCH * BATCH].tolist()


def test_selective_backprop_keeps_by_chance() -> None:
    selection, losses = after_one_epoch("selective_backprop", rate=0.5)
    mask = generator(3, 2, 1).random(SAMPLES) < functional.keep_probabilities(losses[ORDER], 0.5)
    assert planned(selection)[0] == ORDER[mask][: mask.sum() // BATCH * BATCH].tolist()


def test_everything_public_is_documented() -> None:
    assert all(getattr(functional, name).__doc__ for name in functional.__all__)
