"""Fresh scores with packing, cheaper scoring, and over ranks."""

import dataclasses
import io
from functools import partial

import numpy as np
import pytest
import torch
from rank_tools import on_ranks
from selection_tools import batch_of, chunks, context, on_fresh, outputs_of
from torch.nn.functional import cross_entropy

from ast_experiments.core import distributed
from ast_experiments.core.batch import Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.models.simple_cnn import SimpleCNN
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.control.sundew_two_stage import SundewTwoStage
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.methods.ast_fresh import ASTFresh
from ast_experiments.selection.selector import Selector
from ast_experiments.selection.significance.loss import loss
from ast_experiments.selection.significance.loss_intensity import loss_intensity

BATCH, SAMPLES = 40, 40 * 25 + 7


class Side:
    """A auxiliary model that notes what it learned; its losses are the ids."""

    def __init__(self, **settings):
        self.settings, self.learned = settings, []

    def learn(self, batch, progress):
        self.learned.append((batch.ids.tolist(), progress))

    def score(self, batch):
        return outputs_of(batch.ids.double())

    def state_dict(self):
        return {"learned": len(self.learned)}

    def load_state_dict(self, state):
        self.learned = [None] * state["learned"]


def fetch(ids, epoch):
    return batch_of(ids)


def made(controller, *, seed=0, epochs=6, **settings):
    method = on_fresh(settings.pop("execution", "gather"), controller, settings.pop("significance", loss), **settings)
    given = context(samples=SAMPLES, batch_size=BATCH, epochs=epochs, seed=seed)
    return Selector(method, dataclasses.replace(given, fetch=fetch, auxiliary_model=Side))


def losses_of(ids, epoch):
    """Losses that depend on id and epoch alone."""
    rng = np.random.default_rng(epoch)
    return np.exp(rng.normal(0, 0.7, SAMPLES)).astype(np.float32)[np.asarray(ids)]


def run(selector, targets, first=0, last=10**9, start=0):
    """(epoch, ids, signals) of every trained batch, and the rows offered and scored."""
    trained, offered, scored = [], 0, 0
    index = start
    for epoch, target in enumerate(targets):
        plan = selector.plan(epoch, target) if index // 26 <= epoch else None
        for b, ids in enumerate(chunks(plan) if plan else []):
            if not first <= epoch * 26 + b < last:
                continue

            def score(batch, mode="eval", size=None, epoch=epoch):
                nonlocal scored
                scored += len(batch)
                return outputs_of(losses_of(batch.ids, epoch))

            offered += len(ids)
            for batch in selector.select(batch_of(ids), score):
                outputs = outputs_of(losses_of(batch.ids, epoch))
                weights = selector.weigh(batch, outputs)
                selector.observe(batch, outputs)
                assert weights is None
                trained.append((epoch, batch.ids.tolist(), {k: float(v) for k, v in selector.signals().items()}))
            index += 1
    return trained, offered, scored


@pytest.mark.parametrize("controller", [PI(), Quantile(), TopK()])
def test_packed_batches_are_full_and_hold_what_passed(controller):
    trained, offered, scored = run(made(controller), [0.3] * 4)
    assert {len(ids) for _, ids, _ in trained} == {BATCH}
    assert offered == scored == 4 * SAMPLES
    picked = sum(signals["picked"] for *_, signals in trained)
    assert 0 <= picked - BATCH * len(trained) < BATCH
    assert picked / offered == pytest.approx(0.3, abs=0.02)
    assert all(signals["control/fallback"] == 0 for *_, signals in trained)


def test_exact_counts_with_packing_are_exact():
    trained, _, _ = run(made(TopK()), [0.3] * 4)
    assert len(trained) == int(0.3 * 4 * SAMPLES) // BATCH
    plain, _, _ = run(made(TopK(), packing=False), [0.3] * 4)
    packed_rows, plain_rows = ([i for _, ids, _ in rows for i in ids] for rows in (trained, plain))
    assert packed_rows == plain_rows[: len(packed_rows)]
    assert {len(ids) for _, ids, _ in plain[:-1]} <= {12, 2, 3}


@pytest.mark.parametrize(
    ("controller", "default"),
    [
        (PI(), True),
        (Quantile(), True),
        (TopK(), True),
        (SundewReport(), False),
        (SundewComparison(), False),
        (SundewTwoStage(), False),
    ],
)
def test_the_published_laws_are_not_packed_unless_asked_to(controller, default):
    sizes = [{len(ids) for _, ids, _ in run(made(controller, packing=p), [0.3] * 3)[0]} for p in (None, True, False)]
    assert sizes[1] == {BATCH}
    assert sizes[0] == sizes[1 if default else 2]
    assert sizes[1] != sizes[2]


def test_dense_epochs_train_everything_and_what_waits_goes_first():
    selector = made(PI())
    trained, _, scored = run(selector, [1.0, 0.3, 1.0, 0.3])
    rows = [[i for e, ids, _ in trained for i in ids if e == epoch] for epoch in range(4)]
    assert sorted(rows[0]) == list(range(SAMPLES))
    sizes = [[len(ids) for e, ids, _ in trained if e == epoch] for epoch in (0, 2)]
    assert sizes[0] == [BATCH] * 25 + [7]
    carried = sum(sizes[1]) - SAMPLES
    assert 0 < carried < BATCH
    assert set(sizes[1][:-1]) == {BATCH}
    assert sorted(rows[2][carried:]) == list(range(SAMPLES))
    assert scored == 2 * SAMPLES
    assert all("control/threshold" not in signals for e, _, signals in trained if e in (0, 2))


@pytest.mark.parametrize("controller", [PI(), TopK(), SundewComparison()])
@pytest.mark.parametrize("net", ["own", "proxy"])
def test_a_resumed_run_trains_the_same_batches(controller, net):
    targets, settings = [1.0, 0.3, 0.5, 1.0], {"packing": True, "score_net": net}
    if net == "proxy":
        settings["proxy_every"] = 2
    whole, begun, again = (made(controller, **settings) for _ in range(3))
    expected, *_ = run(whole, targets)
    first, *_ = run(begun, targets[:2], last=40)
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    rest, *_ = run(again, targets, first=40, start=40)
    assert repr(first + rest) == repr(expected)


def test_shares_are_means_over_the_batches_since_the_last_step():
    selector = made(TopK())
    run(selector, [0.3], last=1)
    assert selector.signals()["control/gate_share"] == 12 / BATCH
    losses = np.linspace(1, 2, BATCH)
    for share, target in ((14 / BATCH, 0.35), (8 / BATCH, 0.2)):
        selector.method._target = selector.method._gate._target = target
        list(selector.select(batch_of(range(BATCH)), lambda *_, **__: outputs_of(losses)))
        assert share in [gated["control/gate_share"] for gated in selector.method._since]
    assert selector.signals()["control/gate_share"] == pytest.approx((12 + 14 + 8) / 3 / BATCH)
    assert selector.signals()["picked"] == 12 + 14 + 8


def test_without_packing_a_batch_without_active_rows_trains_nothing():
    selector = made(TopK(), packing=False)
    selector.plan(0, 0.1)
    losses = outputs_of([1.0, 3.0, 2.0, 0.5])
    trained = [[b.ids.tolist() for b in selector.select(batch_of(range(4)), lambda *_, **__: losses)] for _ in range(5)]
    assert trained == [[], [], [[1]], [], [[1]]]


def test_the_proxy_learns_from_every_few_trained_batches():
    selector = made(PI(), score_net="proxy", proxy_width=0.5, proxy_every=3, score_size=None, epochs=4)
    trained, _, scored = run(selector, [0.4, 0.4])
    side = selector.method._proxy._net
    assert side.settings == {"width": 0.5, "arch": None, "size": None}
    assert scored == 0
    assert [ids for ids, _ in side.learned] == [ids for _, ids, _ in trained[::3]]
    progress = [p for _, p in side.learned]
    assert progress == sorted(progress)
    assert 0 <= progress[0] < 0.05
    assert 0.4 < progress[-1] < 0.5


@pytest.mark.parametrize(
    ("settings", "target", "share"),
    [
        ({}, 0.4, 1.0),
        ({}, 1.0, 0.0),
        ({"execution": "masked"}, 0.4, 0.0),
        ({"score_net": "proxy", "proxy_width": 0.5, "proxy_every": 2}, 0.4, 0.25 * (1 + 3 * 0.4 / 2)),
    ],
)
def test_scored_share(settings, target, share):
    assert made(PI(), **settings).scored_share(target) == pytest.approx(share)


def sized(full=8, **settings):
    def pictures(ids, epoch):
        return dataclasses.replace(batch_of(ids), images=torch.zeros(len(ids), 1, full, full))

    given = dataclasses.replace(context(samples=64, batch_size=8), fetch=pictures, auxiliary_model=Side)
    return Selector(ASTFresh(PI(), loss, **settings), given)


def test_smaller_images_cost_less():
    assert sized(score_size=4).scored_share(0.4) == 0.25
    proxied = sized(score_size=2, score_net="proxy", proxy_width=0.25, proxy_every=4)
    assert proxied.method._proxy._net.settings["size"] == 2
    assert proxied.scored_share(0.4) == pytest.approx(1 / 16 / 16 * 1.3)
    asked = []

    def score(batch, mode="eval", size=None):
        asked.append(size)
        return outputs_of(np.ones(len(batch)))

    selector = sized(score_size=4)
    selector.plan(0, 0.4)
    list(selector.select(batch_of(range(8)), score))
    assert asked == [4]


def test_a_size_that_saves_nothing_is_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"type method\.score_size=4"):
        sized(score_size=8)


# --- ranks


def part_of(batch):
    """This rank's rows of a global batch, as the loader gives them."""
    return batch.take(distributed.shard(len(batch)), len(batch))


CONTROLLERS = [PI(), Quantile(), TopK(), SundewReport(), SundewComparison(), SundewTwoStage(start=1.0)]


@pytest.mark.parametrize("form", [loss, partial(loss_intensity, variant="comparison")])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_ranks_decide_as_one_process_does(monkeypatch, controller, form):
    images = torch.randn(SAMPLES, 3, 2, 2, generator=torch.Generator().manual_seed(0))

    def work(execution):
        selector = made(controller, execution=execution, packing=False, significance=form)
        plan = selector.plan(0, 0.3)
        seen = []
        for ids in chunks(plan)[-6:]:
            loaded = part_of(dataclasses.replace(batch_of(ids), images=images[ids]))
            outputs = outputs_of(losses_of(loaded.ids, 0))
            (batch,) = selector.select(loaded, lambda *_, outputs=outputs, **__: outputs)
            weights = selector.weigh(batch, outputs)
            signals = {k: float(v) for k, v in selector.signals().items()}
            active = batch.ids if weights is None else batch.ids[weights > 0]
            seen.append((active.tolist(), batch.rows, None if weights is None else weights.sum().item(), signals))
        return seen

    for execution in ("gather", "masked"):
        alone = work(execution)
        both = on_ranks(monkeypatch, 2, lambda rank, execution=execution: work(execution))
        monkeypatch.undo()
        for one, first, second in zip(alone, *both, strict=True):
            assert first[0] + second[0] == one[0]
            assert first[1] == second[1] == one[1] == (len(one[0]) if execution == "gather" else one[1])
            assert first[3] == second[3] == pytest.approx(one[3], rel=1e-5)
            if execution == "masked":
                assert first[2] + second[2] == pytest.approx(one[2]) == one[1]


@pytest.mark.parametrize("execution", ["gather", "masked"])
@pytest.mark.parametrize("active", [[0, 3, 11, 19], [1, 2], [17]])
def test_gradients_of_two_ranks_are_those_of_one(monkeypatch, execution, active):
    torch.manual_seed(0)
    state = SimpleCNN(size=8, dropout=0.0).double().state_dict()
    images, labels = torch.randn(20, 3, 8, 8, dtype=torch.float64), torch.randint(0, 10, (20,))
    chosen = torch.full((SAMPLES,), 0.01)
    chosen[active] = 5.0

    def work(rank=None):
        model = SimpleCNN(size=8, dropout=0.0).double()
        model.load_state_dict(state)
        selector = made(SundewComparison(), execution=execution, significance=lambda losses: losses)
        selector.plan(0, 0.3)
        loaded = part_of(dataclasses.replace(batch_of(range(20)), images=images, labels=labels))
        (batch,) = selector.select(loaded, lambda rows, **_: Outputs(torch.zeros(len(rows), 10), chosen[rows.ids]))
        losses = cross_entropy(model(batch.images), batch.labels, reduction="none")
        weights = selector.weigh(batch, Outputs(torch.zeros(len(batch), 10), chosen[batch.ids].double()))
        weighted = losses if weights is None else weights * losses
        (weighted.sum() / batch.rows).backward()
        return [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]

    alone = work()
    first, second = on_ranks(monkeypatch, 2, work)
    assert any(g.abs().max() > 0 for g in alone)
    for one, a, b in zip(alone, first, second, strict=True):
        np.testing.assert_allclose((a + b).numpy(), one.numpy(), atol=1e-12)


def test_packed_ranks_train_what_one_process_does(monkeypatch):
    def work(rank=None):
        selector = made(PI())
        went = []
        for epoch in range(2):
            for ids in chunks(selector.plan(epoch, 0.3)):
                loaded = part_of(batch_of(ids))
                outputs = outputs_of(losses_of(loaded.ids, epoch))
                went += [
                    (b.ids.tolist(), b.rows) for b in selector.select(loaded, lambda *_, outputs=outputs, **__: outputs)
                ]
        return went, selector.state_dict()["method"]["_queue"]["ids"].tolist()

    alone, waiting = work()
    (first, left), (second, over) = on_ranks(monkeypatch, 2, work)
    assert len(first) == len(second)
    assert {(len(ids), rows) for ids, rows in first + second} == {(BATCH // 2, BATCH)}
    rows = [i for ids, _ in first + second for i in ids] + left + over
    assert sorted(rows) == sorted([i for ids, _ in alone for i in ids] + waiting)


def test_exact_counts_never_wait_for_the_device():
    # Tensors without values cannot be read: whatever would wait for a device raises.
    given = dataclasses.replace(context(samples=SAMPLES, batch_size=BATCH), device=torch.device("meta"))
    selector = Selector(ASTFresh(TopK(), loss), given)
    trained = 0
    for ids in chunks(selector.plan(0, 0.3)):
        loaded = batch_of(ids)
        loaded = dataclasses.replace(
            loaded, **{name: getattr(loaded, name).to("meta") for name in ("ids", "images", "labels")}
        )
        outputs = Outputs(torch.empty(len(ids), 10, device="meta"), torch.empty(len(ids), device="meta"))
        for batch in selector.select(loaded, lambda *_, outputs=outputs, **__: outputs):
            assert (len(batch), batch.ids.device.type) == (BATCH, "meta")
            trained += 1
            assert selector.signals()["control/gate_share"] == pytest.approx(0.3, abs=0.01)
    assert trained == int(0.3 * SAMPLES) // BATCH
