"""The controllers that keep their promise: the bound of `Quantile`, the settling of `PI`."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_experiments.selection.control.pi import MARGIN, PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.threshold import (
    LOG_CAP,
    LOG_FLOOR,
    SCORE_CAP,
    SCORE_FLOOR,
    log_quantile,
    log_scores,
)

WINDOW = 32
TARGETS = [0.05, 0.1, 0.4, 0.8]


def bimodal(rng, size):
    return np.exp(np.where(rng.random(size) < 0.5, -1.5, 1.0) + rng.normal(0, 0.4, size))


DISTRIBUTIONS = {
    "lognormal": lambda rng, size: rng.lognormal(0.0, 1.0, size),
    "exponential": lambda rng, size: rng.exponential(1.0, size),
    "bimodal": bimodal,
}


def adversarial(kind, windows, rng):
    """Scores (windows, WINDOW), hard to follow."""
    shape = (windows, WINDOW)
    t = np.arange(windows)[:, None]
    return {
        "walk": lambda: np.exp(np.cumsum(rng.normal(0, 1.5, (windows, 1)), axis=0) + rng.normal(0, 0.1, shape)),
        "constant": lambda: np.full(shape, rng.uniform(0, 3)),
        "floor": lambda: np.full(shape, SCORE_FLOOR),
        "cap": lambda: np.full(shape, SCORE_CAP),
        "alternating": lambda: np.broadcast_to(np.where(t % 2, SCORE_CAP, SCORE_FLOOR), shape),
        "blocks": lambda: np.broadcast_to(np.where(t // 50 % 2, SCORE_CAP, SCORE_FLOOR), shape),
        "heavy": lambda: np.exp(3 * rng.standard_cauchy(shape).clip(-50, 50)),
        "rising": lambda: np.broadcast_to(np.exp(np.linspace(LOG_FLOOR, LOG_CAP, windows))[:, None], shape),
        "zeros": lambda: rng.lognormal(0, 1, shape) * (rng.random(shape) < 0.2),
        "huge": lambda: rng.lognormal(0, 1, shape) * 1e30,
    }[kind]()


KINDS = ["walk", "constant", "floor", "cap", "alternating", "blocks", "heavy", "rising", "zeros", "huge"]


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    target=st.floats(0.02, 0.98),
    eta=st.floats(0.05, 3.0),
    seed=st.integers(0, 2**16),
)
def test_quantile_bound_holds_on_any_scores(kind, target, eta, seed):
    rng = np.random.default_rng(seed)
    controller = Quantile(eta=eta)
    scores = adversarial(kind, 400, rng)
    start = np.clip(rng.lognormal(0, 4, 100), SCORE_FLOOR, SCORE_CAP)
    state = controller.begin_epoch(None, start, target)
    total = 0.0
    for t, row in enumerate(controller.condition(scores), 1):
        active = int((row > controller.threshold(state)).sum())
        total += active / WINDOW
        state = controller.observe(state, active, WINDOW, target)
        assert abs(total / t - target) <= controller.guarantee_bound(t, t) + 1e-9


@settings(max_examples=40, deadline=None)
@given(target=st.floats(0.02, 0.98), seed=st.integers(0, 2**16), calm=st.integers(1, 60))
def test_quantile_bound_holds_against_an_adversary_that_sees_the_threshold(target, seed, calm):
    rng = np.random.default_rng(seed)
    controller = Quantile()
    state = controller.begin_epoch(None, np.ones(8), target)
    total, up = 0.0, True
    for t in range(1, 401):
        if t % calm == 0:
            up = bool(rng.random() < 0.5)
        # All rows just above the threshold, or just below it, as long as the range of scores allows.
        level = state.level + (1e-6 if up else -1e-6)
        active = WINDOW if math.exp(np.clip(level, LOG_FLOOR, LOG_CAP)) > controller.threshold(state) else 0
        total += active / WINDOW
        state = controller.observe(state, active, WINDOW, target)
        assert abs(total / t - target) <= controller.guarantee_bound(t, t) + 1e-9


def test_quantile_law():
    controller = Quantile(eta=0.5, alpha=0.25)
    state = controller.begin_epoch(None, np.arange(1, 101) / 50, 0.25)
    assert controller.threshold(state) == pytest.approx(1.505, abs=0.01)
    after = controller.observe(state, 16, 32, 0.25)
    assert after.level == pytest.approx(state.level + 0.125)
    assert after.ema == pytest.approx(0.25 * 0.5 + 0.75 * 0.25)
    assert after.step == pytest.approx(0.125)
    assert controller.begin_epoch(after, np.ones(5), 0.25) is after
    assert controller.guarantee_bound(100, 100) == pytest.approx((math.log(1e8) + 0.5) / 50)


def replicas(controller, target, draw, replicas=300, seed=0):
    """A started state for many independent loops, with gains from a sample of the distribution, and the loop."""
    rng = np.random.default_rng(seed)
    state = controller.begin_epoch(None, draw(rng, 20_000), target)
    state = state._replace(level=torch.full((replicas,), state.level, dtype=torch.float64))

    def loop(state, windows, scale=1.0):
        rates = []
        for _ in range(windows):
            scores = torch.from_numpy(np.asarray(draw(rng, (replicas, WINDOW)) * scale, dtype=np.float64))
            active = (scores > controller.threshold(state)[:, None]).sum(dim=1).double()
            rates.append(active / WINDOW)
            state = controller.observe(state, active, WINDOW, target)
        return state, torch.stack(rates).numpy()

    return state, loop


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_pi_starts_without_a_bump_and_settles_after_a_step(name, target):
    state, loop = replicas(PI(), target, DISTRIBUTIONS[name])
    state, rates = loop(state, 150)
    assert abs(rates[:3].mean() - target) < 0.25 * min(target, 1 - target)  # no bump
    assert abs(rates.mean() - target) < 0.01
    for scale in (math.exp(0.5), math.exp(-0.5)):
        state, rates = loop(state, 150, scale)
        jump = abs(rates[0].mean() - target)
        assert jump > 0.02
        assert abs(rates[10:20].mean() - target) < max(0.25 * jump, 0.02)
        assert abs(rates[20:].mean() - target) < 0.01
        state, _ = loop(state, 60)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stuck", [SCORE_FLOOR, SCORE_CAP])
def test_pi_does_not_wind_up(target, stuck):
    state, loop = replicas(PI(), target, DISTRIBUTIONS["lognormal"])
    controller, usual = PI(), state.level.clone()
    for _ in range(3000):
        active = (stuck > controller.threshold(state)).double() * WINDOW
        state = controller.observe(state, active, WINDOW, target)
    assert LOG_FLOOR - MARGIN <= float(state.level.min()) <= float(state.level.max()) <= LOG_CAP + MARGIN
    # No more windows than it takes to walk back from the bound at the pace of the integral gain.
    pace = state.ki * (target if stuck == SCORE_CAP else 1 - target)
    needed = math.ceil(float((state.level - usual).abs().max()) / pace) + 20
    _, rates = loop(state, needed + 60)
    assert abs(rates[needed:].mean() - target) < 0.02


@settings(max_examples=40, deadline=None)
@given(
    target=st.floats(0.05, 0.95),
    alpha=st.floats(0.05, 0.9),
    tau=st.floats(1.0, 10.0),
    seed=st.integers(0, 1000),
    sigma=st.floats(0.05, 20.0),
)
def test_pi_derived_gains(target, alpha, tau, seed, sigma):
    scores = np.random.default_rng(seed).lognormal(0, sigma, 3000)
    controller = PI(alpha=alpha, settling_windows=tau)
    state = controller.begin_epoch(None, scores, target)
    level, f = log_quantile(scores, target)
    assert 0.05 <= f <= 5.0
    assert state.kp == pytest.approx((1 - alpha) / (alpha * f * tau))
    assert state.ki == pytest.approx(state.kp * alpha / (1 - alpha))
    assert state.level == level
    assert (state.ema, state.error) == (target, 0.0)
    if LOG_FLOOR < level < LOG_CAP:
        assert np.mean(log_scores(scores) > level) == pytest.approx(target, abs=0.002)
    # At the next epoch the gains are new, the rest is what it was.
    moved = controller.observe(state, 20, 32, target)
    again = controller.begin_epoch(moved, scores * 3 + 1, target)
    assert again._replace(kp=0, ki=0) == moved._replace(kp=0, ki=0)


def test_density_is_that_of_the_log_scores():
    scores = np.random.default_rng(0).lognormal(0.3, 1.0, 60_000)
    for target, z in ((0.5, 0.0), (0.1587, 1.0), (0.8413, -1.0)):
        level, f = log_quantile(scores, target)
        assert level == pytest.approx(0.3 + z, abs=0.02)
        assert f == pytest.approx(math.exp(-z * z / 2) / math.sqrt(2 * math.pi), rel=0.05)
    assert log_quantile(np.ones(100), 0.3) == (0.0, 5.0)
    assert log_quantile(np.array([2.0]), 0.3)[0] == pytest.approx(math.log(2))
    wide = np.exp(np.linspace(LOG_FLOOR, LOG_CAP, 1000))
    assert log_quantile(wide, 0.3)[1] == pytest.approx(1 / (LOG_CAP - LOG_FLOOR), rel=0.01)


@pytest.mark.parametrize(("kp", "ki"), [(0.7, 0.2), (0.0, 0.1), (0.3, 0.0), (0.5, None), (None, 0.05)])
def test_explicit_gains_are_used_as_given(kp, ki):
    controller = PI(kp=kp, ki=ki)
    state = controller.begin_epoch(None, np.random.default_rng(0).lognormal(size=1000), 0.4)
    if kp is not None:
        assert state.kp == kp
    if ki is not None:
        assert state.ki == ki
    elif kp is not None:
        assert state.ki == pytest.approx(kp * 0.3 / 0.7)


def test_pi_law():
    controller = PI(kp=0.7, ki=0.2, alpha=0.3)
    state = controller.begin_epoch(None, np.full(10, 2.0), 0.4)
    u, ema, error = math.log(2), 0.4, 0.0
    for active in (20, 3, 32, 0, 11):
        ema = 0.3 * active / 32 + 0.7 * ema
        e = ema - 0.4
        u, error = u + 0.7 * (e - error) + 0.2 * e, e
        state = controller.observe(state, active, 32, 0.4)
        assert (state.level, state.ema, state.error) == pytest.approx((u, ema, error))
        assert controller.threshold(state) == pytest.approx(math.exp(u))
        assert state.saturated == 0.0


@pytest.mark.parametrize(("active", "bound"), [(32, LOG_CAP + MARGIN), (0, LOG_FLOOR - MARGIN)])
def test_pi_clips_its_state_and_says_so(active, bound):
    controller = PI(kp=0.7, ki=0.2)
    state = controller.begin_epoch(None, np.ones(10), 0.4)
    for _ in range(500):
        state = controller.observe(state, active, 32, 0.4)
    assert (state.level, state.saturated) == (bound, 1.0)
    assert controller.observe(state, 32 - active, 32, 0.4).level != bound


def test_log_scores_are_floored_and_capped():
    np.testing.assert_allclose(log_scores(np.array([0.0, 1.0, 1e9])), [LOG_FLOOR, 0.0, LOG_CAP])


def test_pi_moves_at_once_with_the_quantile_of_frozen_scores():
    controller = PI(kp=0.7, ki=0.2, alpha=0.3)
    scores = np.random.default_rng(0).lognormal(size=4000)
    state = controller.begin_epoch(None, scores, 0.4, frozen=True)
    moved = controller.observe(state, 20, 32, 0.4)
    # Scores e times lower, the same target: the level falls by one, the error stays.
    lower = controller.begin_epoch(moved, scores / math.e, 0.4, frozen=True)
    assert lower.level == pytest.approx(moved.level - 1, abs=1e-6)
    assert (lower.ema, lower.error) == (pytest.approx(moved.ema), moved.error)
    # Another target: the level moves between the quantiles, the smoothed rate with the target.
    other = controller.begin_epoch(moved, scores, 0.2, frozen=True)
    step = log_quantile(scores, 0.2)[0] - log_quantile(scores, 0.4)[0]
    assert other.level == pytest.approx(moved.level + step)
    assert other.ema == pytest.approx(moved.ema - 0.2)
    # Scores that the epoch will not gate as they are, and the first epoch that does, move nothing.
    assert controller.begin_epoch(moved, scores / math.e, 0.4).level == moved.level
    fresh = controller.observe(controller.begin_epoch(None, scores, 0.4), 20, 32, 0.4)
    assert controller.begin_epoch(fresh, scores / math.e, 0.4, frozen=True).level == fresh.level
    # What has moved stays in the range of the log-scores.
    assert controller.begin_epoch(lower, np.full(100, 1e-9), 0.4, frozen=True).level >= LOG_FLOOR - MARGIN


@pytest.mark.parametrize("path", [(0.6, 0.2), (0.2, 0.6), (0.4, 0.1)])
def test_pi_follows_a_step_of_the_target_within_the_epoch(path):
    rng, controller, rates = np.random.default_rng(1), PI(), []
    scores = rng.lognormal(size=3200)
    state = None
    for target in (path[0],) * 4 + (path[1],) * 4:
        state, total = controller.begin_epoch(state, scores, target, frozen=True), 0
        for window in rng.permutation(scores).reshape(-1, WINDOW):
            active = int((window > controller.threshold(state)).sum())
            total, state = total + active, controller.observe(state, active, WINDOW, target)
        rates.append(total / len(scores) - target)
    assert np.abs(rates).max() < 0.004
