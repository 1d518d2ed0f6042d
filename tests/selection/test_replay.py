"""One setting of a controller holds its target on scores of very different runs: synthetic, digits, CIFAR-10."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ast_experiments.core.errors import UserError
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.topk import TopK

SCRIPT = Path(__file__).parents[2] / "scripts" / "replay_scores.py"
TARGETS = [0.1, 0.4]
CONTROLLERS = [PI(), Quantile(), TopK()]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("replay_scores", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drifting(samples, epochs, rate, rng, fall=6.0):
    """Losses that fall by orders of magnitude over a run and widen; a share `rate` of them is renewed each epoch."""
    difficulty, scores = rng.normal(0, 1, samples), []
    row = np.empty(samples)
    for epoch in range(epochs):
        progress = epoch / epochs
        new = rng.random(samples) < (1 if epoch == 0 else rate)
        logs = 0.8 - fall * progress + (0.3 + 2.5 * progress) * difficulty + rng.normal(0, 0.5, samples)
        row[new] = np.exp(logs)[new]
        scores.append(row.astype(np.float32))
    return np.stack(scores)


def check(script, scores, controller, target):
    """The bars: bounds hold, the mean rate of `pi` is close, the rate settles within two epochs and stays."""
    samples = scores.shape[1]
    result = script.replay(controller, scores, target)
    facts, judged = result.statistics.facts(controller), script.quality(result, samples, target)
    assert facts["windows"] == len(result.shares) == len(scores) * (samples // 32)
    assert facts["gate_target"] == pytest.approx(target)
    if isinstance(controller, PI):
        assert abs(facts["gate_share"] - target) < 0.005
    else:
        assert abs(facts["gate_share"] - target) <= facts["bound"]
    assert judged.settled <= 2
    assert judged.deviation < 0.2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize(("samples", "epochs"), [(1442, 40), (9469, 20), (50_000, 8)])
def test_targets_are_held_on_drifting_scores(script, samples, epochs, controller, target):
    check(script, drifting(samples, epochs, 0.4, np.random.default_rng(samples)), controller, target)


@pytest.mark.parametrize("seed", range(3))
def test_pi_adds_at_once_what_the_quantile_has_moved_by(script, seed):
    """Without it the level lags behind scores that fall from epoch to epoch, and the rate stays low."""
    scores = drifting(1442, 40, 1.0, np.random.default_rng(seed), fall=12.0)

    class Lagging(PI):
        def begin_epoch(self, state, scores, target, *, frozen=False):
            return PI.begin_epoch(self, state, scores, target)

    ahead, behind = (script.replay(c, scores, 0.4).statistics.facts(c)["gate_share"] for c in (PI(), Lagging()))
    assert abs(ahead - 0.4) < 0.001
    assert behind < 0.3975


def test_digits(script, tmp_path, capsys):
    path = tmp_path / "scores.npy"
    script.record(path, ["method=ast", "recipe.epochs=12", "eval_every=12", "method.warmup_epochs=1"])
    assert "12 epochs of 1,442 samples" in capsys.readouterr().out
    scores = script.load(path)
    assert scores.shape == (12, 1442)
    assert np.median(scores[-1]) < 0.5 * np.median(scores[0])  # the run has learnt something
    for controller in CONTROLLERS:
        for target in TARGETS:
            check(script, scores, controller, target)


@pytest.mark.data
@pytest.mark.slow
def test_cifar10(script, tmp_path, data_dir):
    path = tmp_path / "scores.npy"
    rows = ["dataset.train_rows=2000", "dataset.val_rows=100", "recipe.epochs=24", "eval_every=24"]
    script.record(path, ["experiment=cifar10_stale", "method.warmup_epochs=1", *rows])
    scores = script.load(path)
    for controller in CONTROLLERS:
        for target in TARGETS:
            check(script, scores, controller, target)


def test_recordings_that_cannot_be_used_are_refused(script, tmp_path):
    with pytest.raises(UserError, match=r"method=dense keeps no scores; type e.g. method=ast"):
        script.record(tmp_path / "x.npy", ["method=dense"])
    for scores, reason in ((np.ones(5), "expected .epochs, samples."), (np.full((2, 5), np.nan), "record more epochs")):
        np.save(tmp_path / "y.npy", scores)
        with pytest.raises(UserError, match=reason):
            script.load(tmp_path / "y.npy")


def test_quality_by_hand(script):
    # Windows of 1,000 rows, epochs of 5,000; out of the band at first, then within 10 %.
    shares = np.array([0.8] * 5 + [0.42] * 5 + [0.44, 0.4] * 10)
    rows = np.full(len(shares), 1000)
    result = script.Replay(None, shares, rows)
    judged = script.quality(result, 5000, 0.4)
    # The stretch that begins with the fifth window, 0.8 and four times 0.42, lies 24 % above; the next one 5 %.
    assert judged.settled == 1.0
    assert judged.deviation == pytest.approx(0.424 / 0.4 - 1)
    assert script.quality(result._replace(shares=shares[::-1]), 5000, 0.4).settled is None
