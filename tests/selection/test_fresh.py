"""The published forms through the selector that scores every batch, against their transcription."""

import dataclasses
import io

import numpy as np
import published
import pytest
import torch
from published import Published
from selection_tools import batch_of, chunks, no_score, on_fresh, outputs_of, prepared

from ast_experiments.selection.control.gates import ReservoirGate
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.control.sundew_two_stage import SundewTwoStage
from ast_experiments.selection.methods.ast_fresh import ASTFresh
from ast_experiments.selection.significance.loss import loss

BATCH, SAMPLES, EPOCHS = 48, 99 * 48 + 17, 3  # 100 batches an epoch, the last one short
FORMS = ["report", "comparison", "two_stage"]
EXECUTIONS = ["gather", "masked"]


@dataclasses.dataclass(frozen=True)
class RecordingGate(ReservoirGate):
    """The published gate, which keeps its draws for the transcription."""

    drawn: list = dataclasses.field(default_factory=list)

    def draw(self, rng, rows):
        self.drawn.append(ReservoirGate.draw(self, rng, rows))
        return self.drawn[-1]


def controller_of(form):
    if form == "report":
        return type("Recorded", (SundewReport,), {"reservoir_gate": RecordingGate()})()
    if form == "comparison":
        return SundewComparison()
    return SundewTwoStage(kp=0.005, ki=0.0001, alpha=0.1, start=3.0, low=0.5, high=10.0, integral_limit=100.0)


def losses_of(form, seed=0):
    """Drifting scores around the form's threshold, float32, one row a batch; stretches without an active row."""
    rng = np.random.default_rng(seed)
    steps = EPOCHS * 100
    level = np.log(published.THETA0[form]) + 1.2 * np.sin(np.arange(steps) / 30)
    level[60:75] -= 6
    level[230:240] -= 6
    return np.exp(level[:, None] + rng.normal(0, 0.4, (steps, BATCH))).astype(np.float32)


def step(selector, batch, losses):
    """One batch through the selector; the mask of the rows that were trained."""
    outputs = outputs_of(losses)
    modes = []

    def score(loaded, mode="eval", size=None):
        modes.append(mode)
        return outputs

    (selected,) = selector.select(batch, score)
    weights = selector.weigh(selected, outputs)
    if modes:
        assert weights is None
        return np.isin(batch.ids.numpy(), selected.ids.numpy())
    assert selected is batch
    return (weights > 0).numpy()


def drive(selector, losses, target, first, last, plans=True):
    """Batches `first` to `last` of a run; yields the index, the scores and the mask of each."""
    for epoch in range(first // 100, -(-last // 100)):
        plan = selector.plan(epoch, target)
        for b, ids in enumerate(chunks(plan)):
            t = 100 * epoch + b
            if first <= t < last:
                rows = losses[t][: len(ids)]
                yield t, rows, step(selector, batch_of(ids), rows)
        if last >= 100 * (epoch + 1):
            selector.end_epoch(no_score)


def make(controller, execution, seed=0):
    method = on_fresh(execution, controller, loss, packing=False)
    return prepared(method, samples=SAMPLES, batch_size=BATCH, epochs=EPOCHS, seed=seed)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_trajectory(form, execution):
    controller, reference = controller_of(form), Published(form)
    selector = make(controller, execution)
    seen = 0
    for t, scores, active in drive(selector, losses_of(form), published.TARGET[form], 0, EPOCHS * 100):
        theta, fallbacks, rows = reference.theta, reference.fallbacks, np.flatnonzero(active)
        draws = controller.reservoir_gate.drawn[t] if form == "report" else (None, None)
        kept, expected = reference.step(scores, *draws, fallback_rows=rows)
        fell_back = reference.fallbacks - fallbacks
        assert expected == active.tolist(), t
        if fell_back and form != "two_stage":
            assert len(rows) == 2
        signals = {k: float(v) for k, v in selector.signals().items()}
        assert signals["control/threshold"] == pytest.approx(theta, abs=1e-6)
        assert signals["control/activation_rate_ema"] == pytest.approx(reference.ema, abs=1e-6)
        assert signals["control/gate_share"] == pytest.approx(np.mean(kept), abs=1e-6)
        assert signals["control/fallback"] == fell_back
        state = selector.state_dict()["method"]["_gate"]["control"]
        assert state["level"] == pytest.approx(reference.theta, abs=1e-6)
        assert state["integral"] == pytest.approx(reference.integral, abs=1e-6)
        if form == "report":
            assert state["reservoir"] == pytest.approx(reference.reservoir, abs=1e-6)
        seen += 1
    assert seen == 300
    assert 10 < reference.fallbacks < 200


@pytest.mark.parametrize("controller", [PI(), PI(kp=0.2, ki=0.05), Quantile(), *map(controller_of, FORMS)])
def test_masked_moves_the_threshold_as_gather_does(controller):
    trajectories = []
    for execution in EXECUTIONS:
        selector = make(controller, execution)
        thetas = [
            float(selector.signals()["control/threshold"])
            for _ in drive(selector, losses_of("comparison"), 0.3, 0, 250)
        ]
        trajectories.append(thetas)
    np.testing.assert_allclose(*trajectories, atol=1e-6, rtol=1e-6)
    assert np.ptp(trajectories[0]) > 0


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("controller", [PI(), Quantile(), *map(controller_of, FORMS)])
def test_state_survives_the_middle_of_an_epoch(controller, execution):
    losses = losses_of("comparison")
    whole, begun, resumed = (make(controller, execution) for _ in range(3))
    expected = [active for _, _, active in drive(whole, losses, 0.3, 0, 250)]
    masks = [active for _, _, active in drive(begun, losses, 0.3, 0, 142)]
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    masks += [active for _, _, active in drive(resumed, losses, 0.3, 142, 250)]
    assert all(map(np.array_equal, masks, expected))
    after, before = (selector.state_dict()["method"]["_gate"] for selector in (resumed, whole))
    np.testing.assert_array_equal(after.pop("recent"), before.pop("recent"))
    assert after == before


def test_plan_offers_everything_and_seeds_differ():
    one, other = make(PI(), "gather"), make(PI(), "gather", seed=1)
    plan = one.plan(2, 0.4)
    assert plan.ids.dtype == np.int64
    assert sorted(plan.ids) == list(range(SAMPLES))
    assert plan.keep_short
    assert plan.offered == SAMPLES
    assert np.array_equal(plan.ids, one.plan(2, 0.4).ids)
    assert not np.array_equal(plan.ids, other.plan(2, 0.4).ids)
    assert not np.array_equal(plan.ids, one.plan(3, 0.4).ids)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_warm_up_trains_everything_and_leaves_the_controller_alone(execution):
    selector = make(PI(), execution)
    plan = selector.plan(0, 1.0)
    for ids in chunks(plan)[:5]:
        batch = batch_of(ids)
        assert list(selector.select(batch, no_score)) == [batch]
        assert selector.weigh(batch, outputs_of(np.ones(len(ids)))) is None
    assert selector.state_dict()["method"]["_gate"]["control"] is None
    assert selector.signals() == {}


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gather_scores_in_the_mode_it_was_given(mode):
    selector = prepared(ASTFresh(controller_of("comparison"), loss, score_mode=mode), samples=64, batch_size=8)
    selector.plan(0, 0.3)
    asked = []

    def score(batch, mode="eval", size=None):
        asked.append(mode)
        return outputs_of(np.arange(8) / 4)

    batch = dataclasses.replace(batch_of(range(8)), weights=torch.arange(8.0))
    (selected,) = selector.select(batch, score)
    assert asked == [mode]
    assert selected.ids.tolist() == selected.weights.tolist() == [3, 4, 5, 6, 7]
    assert selector.weigh(selected, outputs_of(np.ones(5))) is selected.weights


def test_masked_weights_average_the_loss_over_active_rows():
    selector = make(controller_of("comparison"), "masked")
    selector.plan(0, 0.3)
    losses = np.linspace(0.1, 1.0, 10)
    (batch,) = selector.select(batch_of(range(10)), no_score)
    weights = selector.weigh(batch, outputs_of(losses))
    active = losses > 0.5
    assert (weights > 0).tolist() == active.tolist()
    assert float((weights * torch.as_tensor(losses)).mean()) == pytest.approx(losses[active].mean(), rel=1e-6)
    again = selector.weigh(dataclasses.replace(batch, weights=torch.full((10,), 2.0)), outputs_of(losses))
    assert torch.allclose(again, 2 * weights)


def test_different_seeds_draw_different_masks():
    losses = losses_of("report")
    runs = [[mask for *_, mask in drive(make(SundewReport(), "gather", seed), losses, 0.1, 0, 20)] for seed in (0, 1)]
    assert any(not np.array_equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_gains_are_renewed_from_recent_scores_when_an_epoch_starts(execution):
    controller, losses, gains = PI(), losses_of("comparison"), []
    recent = np.empty(0)
    selector = make(controller, execution)
    for t, scores, _ in drive(selector, losses, 0.3, 0, 220):
        state = selector.state_dict()["method"]["_gate"]
        if t == 0:
            expected = controller.begin_epoch(None, scores, 0.3)
        elif t % 100 == 0:
            expected = controller.begin_epoch(None, recent, 0.3)
        assert (state["control"]["kp"], state["control"]["ki"]) == (expected.kp, expected.ki)
        recent = state["recent"].numpy()
        recent = recent[~np.isnan(recent)]
        gains.append(expected.kp)
    assert len(set(gains)) == 3


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("controller", [PI(), Quantile()])
def test_rate_is_held_when_every_batch_is_scored(controller, execution):
    selector = make(controller, execution)
    rows = [(active.sum(), len(active)) for *_, active in drive(selector, losses_of("comparison")[:200], 0.3, 0, 200)]
    trained, offered = np.sum(rows, axis=0)
    assert trained / offered == pytest.approx(0.3, abs=0.02)
