"""The published laws against their transcription, fed by gates alone over 10,000 batches."""

import numpy as np
import published
import pytest
import torch
import yaml
from published import Published

from ast_experiments.energy.nominal import nominal_savings
from ast_experiments.selection.control.controller import NO_SCORES
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.control.sundew_two_stage import SundewTwoStage
from ast_experiments.selection.significance.loss import loss
from ast_experiments.selection.significance.loss_entropy import loss_entropy
from ast_experiments.selection.significance.loss_intensity import loss_intensity

STEPS, BATCH = 10_000, 64
BUILD = {
    "report": SundewReport,
    "comparison": SundewComparison,
    "two_stage": SundewTwoStage,
}
FORMS = list(BUILD)
# Log-levels that the stream passes through: long stretches below and above every threshold, and what lies between.
LEVELS = {
    "report": (-4.0, 1.5, -1.2, 0.0, 2.0, -4.0, -4.0, -0.7, 1.0, -1.0),
    "comparison": (-0.9, 3.0, -6.0, -0.5, -0.5, 1.0, -6.0, -1.0, 2.0, -0.7),
    "two_stage": (1.0, 4.0, -3.0, -3.0, -3.0, -3.0, 0.5, 1.5, -3.0, 1.0),
}


@pytest.fixture(scope="module")
def folder(pytestconfig):
    return pytestconfig.rootpath / "conf" / "controller"


def shipped(folder, form):
    settings = yaml.safe_load((folder / f"sundew_{form}.yaml").read_text())
    assert settings.pop("name") == f"sundew_{form}"
    return BUILD[form](**settings)


def stream(form, steps=STEPS, batch=BATCH, seed=0):
    """Log-normal scores whose level jumps and wanders."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(LEVELS[form], steps // len(LEVELS[form]))
    wander = np.cumsum(rng.normal(0, 0.01, len(levels))) * 0.3
    spread = rng.normal(0, 0.4, (len(levels), batch))
    return np.exp((levels + wander)[:, None] + spread)


def package_step(controller, state, scores, target, u, inflow, keys):
    threshold = controller.threshold(state)
    if not isinstance(controller, SundewReport):
        kept = scores > threshold
    else:
        kept, level = controller.reservoir_gate.decide(scores, threshold, state.reservoir, u, inflow)
        state = state._replace(reservoir=level)
    active, used = controller.fallback.apply(torch.from_numpy(kept), torch.from_numpy(scores), torch.from_numpy(keys))
    active = active.numpy()
    counted = active if controller.counts_fallback else kept
    return controller.observe(state, int(counted.sum()), len(scores), target), kept, active, bool(used)


@pytest.mark.parametrize("form", FORMS)
def test_trajectory(form, folder):
    controller, reference = shipped(folder, form), Published(form)
    target = published.TARGET[form]
    state = controller.begin_epoch(None, np.ones(1), target)
    rng = np.random.default_rng(1)
    trained = fallbacks = saturated = 0
    thetas = []
    for scores in stream(form):
        u, inflow, keys = rng.random(BATCH), rng.uniform(1, 3, BATCH), rng.random(BATCH)
        state, kept, active, used = package_step(controller, state, scores, target, u, inflow, keys)
        expected = reference.step(scores, u, inflow, fallback_rows=np.argsort(keys)[-2:])
        assert kept.tolist() == expected[0]
        assert active.tolist() == expected[1]
        assert state.level == pytest.approx(reference.theta, abs=1e-6)
        assert state.ema == pytest.approx(reference.ema, abs=1e-6)
        assert state.integral == pytest.approx(reference.integral, abs=1e-6)
        if form == "report":
            assert state.reservoir == pytest.approx(reference.reservoir, abs=1e-6)
        trained += int(active.sum())
        fallbacks += used
        saturated += state.saturated
        thetas.append(state.level)
    assert nominal_savings(trained, STEPS * BATCH) == pytest.approx(reference.nominal_savings, abs=1e-9)
    assert fallbacks == reference.fallbacks > 100
    # The stream went everywhere that the law has a branch for.
    wanted = {"accumulate", "decay", "low clip", "high clip"}
    wanted |= {"reservoir empty"} if form == "report" else {"integral limit"}
    assert wanted <= reference.visited
    assert (min(thetas), max(thetas)) == published.BOUNDS[form]
    assert 0 < saturated < STEPS


@pytest.mark.parametrize("form", FORMS)
def test_shipped_settings_are_the_published_ones(form, folder):
    controller = shipped(folder, form)
    assert (controller.kp, controller.ki) == (published.KP[form], published.KI[form])
    assert controller.alpha == published.ALPHA[form]
    assert controller.start == published.THETA0[form]
    assert controller.integral_limit == published.INTEGRAL_LIMIT[form]
    if form != "report":
        assert (controller.low, controller.high) == published.BOUNDS[form]


def test_terms_add_up_to_the_step():
    for form in FORMS:
        controller = BUILD[form]()
        state = controller.begin_epoch(None, NO_SCORES, 0.1)
        for active in (3, 9, 0, 20):
            after = controller.observe(state, active, 32, 0.1)
            assert after.level == pytest.approx(state.level + after.proportional + after.integral_term, abs=1e-12)
            state = after


def test_reservoir_caps_the_report_form_at_a_fifth():
    controller = SundewReport()
    rng = np.random.default_rng(0)
    scores = np.full(100_000, 50.0)
    kept, level = controller.reservoir_gate.decide(
        scores, 0.5, 100.0, *controller.reservoir_gate.draw(rng, len(scores))
    )
    assert kept.mean() == pytest.approx(0.2, abs=0.002)
    assert 0 <= level <= 100


def test_reservoir_pays_before_the_inflow():
    gate = SundewReport().reservoir_gate
    ones = np.ones(4)
    # 10.5 pays to 0.5 and fills to 3.5; then 6.5, 9.5, and 12.5 only after the last row.
    kept, level = gate.decide(ones * 9, 0.5, 10.5, ones * 0, ones * 3)
    assert kept.tolist() == [True, False, False, False]
    assert level == pytest.approx(12.5)
    # 10 does not exceed 10; the cap holds after the inflow, not before the payment.
    assert gate.decide(ones * 9, 0.5, 10.0, ones * 0, ones * 1)[0].tolist() == [False, True, False, False]
    assert gate.decide(ones[:1] * 0, 0.5, 99.0, ones[:1], ones[:1] * 3)[1] == 100.0
    assert gate.decide(ones[:1] * 9, 0.5, 100.0, ones[:1] * 0, ones[:1] * 3)[1] == pytest.approx(93.0)


def test_gate_odds_are_a_sigmoid():
    gate = SundewReport().reservoir_gate
    scores = np.array([0.5, 0.65, 0.8, 1.4])
    odds = 1 / (1 + np.exp(-(scores - 0.5) / 0.15))
    for shift, expected in ((-1e-9, [False, True, True, True]), (1e-9, [False] * 4)):
        kept, _ = gate.decide(scores, 0.5, 100.0, odds + shift, np.ones(4))
        assert kept.tolist() == expected
    # Far below the threshold nothing overflows.
    assert not gate.decide(np.array([-1e6]), 0.5, 100.0, np.zeros(1), np.ones(1))[0].any()


def images_logits_losses(n=16, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(0, rng.uniform(0.1, 2.0, (n, 1, 1, 1)), (n, 3, 6, 5))
    images[0] *= 20  # one image that the clip at twice the mean meets
    losses = rng.exponential(1.0, n)
    losses[1] = 12.0
    logits = rng.normal(0, 4, (n, 10))
    return images, logits, losses


@pytest.mark.parametrize("seed", range(5))
def test_significance_of_each_form(seed):
    images, logits, losses = images_logits_losses(seed=seed)
    each, z, x = (torch.from_numpy(a) for a in (losses, logits, images))
    report = loss_intensity(each, x).numpy()
    comparison = loss_intensity(each, x, variant="comparison").numpy()
    entropy = loss_entropy(each, z).numpy()
    np.testing.assert_allclose(report, published.report_significance(losses, images), atol=1e-7)
    np.testing.assert_allclose(comparison, published.comparison_significance(losses, images), atol=1e-7)
    np.testing.assert_allclose(entropy, published.two_stage_significance(losses, logits), atol=1e-6)
    assert loss(each) is each
    assert 0 <= report.min() <= report.max() <= 1
    assert comparison.mean() == pytest.approx(1.0, abs=1e-6)
