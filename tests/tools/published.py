"""The three published forms, written out row by row from the method definitions.

Nothing here comes from the package: floats, loops and NumPy only, so that each line can be held
against the text. Random draws are arguments: `u` and `inflow` hold one number for each row of the
batch, `fallback_rows` the two rows that the fallback takes when no row is active.
"""

import math
from dataclasses import dataclass, field

import numpy as np

TARGET = {"report": 0.10, "comparison": 0.10, "two_stage": 0.40}
THETA0 = {"report": 0.5, "comparison": 0.5, "two_stage": 3.0}
BOUNDS = {"report": (0.0, 1.0), "comparison": (0.01, 0.99), "two_stage": (0.5, 10.0)}
KP = {"report": 0.0015, "comparison": 0.0015, "two_stage": 0.005}
KI = {"report": 0.00005, "comparison": 0.00005, "two_stage": 0.0001}
ALPHA = {"report": 0.3, "comparison": 0.3, "two_stage": 0.1}
INTEGRAL_LIMIT = {"report": 50.0, "comparison": 50.0, "two_stage": 100.0}


def clip(x, lo, hi):
    return min(max(x, lo), hi)


def unbiased_std(values):
    n = len(values)
    mean = sum(values) / n
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))


def report_significance(losses, images):
    losses = [float(v) for v in losses]
    d = [unbiased_std([float(v) for v in np.ravel(image)]) for image in images]
    mean_loss = sum(losses) / len(losses)
    mean_d = sum(d) / len(d)
    return [
        0.7 * clip(loss / (mean_loss + 1e-6), 0, 2) / 2 + 0.3 * clip(dev / (mean_d + 1e-6), 0, 2) / 2
        for loss, dev in zip(losses, d, strict=True)
    ]


def comparison_significance(losses, images):
    losses = [float(v) for v in losses]
    d = []
    for image in images:
        per_channel = [unbiased_std([float(v) for v in np.ravel(channel)]) for channel in image]
        d.append(sum(per_channel) / len(per_channel))
    mean_loss = sum(losses) / len(losses)
    mean_d = sum(d) / len(d)
    return [0.7 * loss / (mean_loss + 1e-8) + 0.3 * dev / (mean_d + 1e-8) for loss, dev in zip(losses, d, strict=True)]


def two_stage_significance(losses, logits):
    scores = []
    for loss, row in zip(losses, logits, strict=True):
        top = max(float(v) for v in row)
        exps = [math.exp(float(v) - top) for v in row]
        p = [v / sum(exps) for v in exps]
        entropy = -sum(v * math.log(v + 1e-8) for v in p)
        scores.append(0.7 * float(loss) + 0.3 * entropy)
    return scores


@dataclass
class Published:
    """One published form: the gate, the fallback, the rate and the law, batch after batch."""

    form: str
    theta: float = field(init=False)
    ema: float = field(init=False)
    integral: float = 0.0
    reservoir: float = 100.0
    gate_total: int = 0
    row_total: int = 0
    cost: float = 0.0
    dense_cost: float = 0.0
    fallbacks: int = 0
    visited: set = field(default_factory=set)

    def __post_init__(self):
        self.theta = THETA0[self.form]
        self.ema = TARGET[self.form]

    def gate(self, scores, u=None, inflow=None):
        kept = []
        for i, s in enumerate(scores):
            keep = s > self.theta
            if self.form == "report":
                keep = keep and u[i] < 1 / (1 + math.exp(-(s - self.theta) / 0.15))
                if keep and not self.reservoir > 10:
                    keep = False
                    self.visited.add("reservoir empty")
                if keep:
                    self.reservoir = self.reservoir - 10
                self.reservoir = min(100.0, self.reservoir + inflow[i])
            kept.append(bool(keep))
        return kept

    def with_fallback(self, scores, kept, fallback_rows=()):
        active = list(kept)
        if self.form == "two_stage":
            least = max(2, len(scores) // 10)
            if sum(kept) < least:
                self.fallbacks += 1
                best_first = sorted(range(len(scores)), key=lambda i: -scores[i])
                active = [i in best_first[:least] for i in range(len(scores))]
        elif not any(kept):
            self.fallbacks += 1
            for i in fallback_rows:
                active[i] = True
        return active

    def control(self, kept, active):
        form = self.form
        if form == "report":
            self.gate_total += sum(kept)
            self.row_total += len(kept)
            y = self.gate_total / self.row_total
        else:
            y = sum(active) / len(active)
        self.ema = ALPHA[form] * y + (1 - ALPHA[form]) * self.ema
        e = self.ema - TARGET[form]
        lo, hi = BOUNDS[form]
        limit = INTEGRAL_LIMIT[form]
        if form == "report":
            new = self.theta + KP[form] * e + KI[form] * self.integral
            if 0.01 < new < 0.99:
                self.integral = clip(self.integral + e, -limit, limit)
                self.visited.add("accumulate")
            else:
                self.integral = 0.9 * self.integral
                self.visited.add("decay")
        else:
            if lo < self.theta < hi:
                self.integral = clip(self.integral + e, -limit, limit)
                self.visited.add("accumulate")
            else:
                self.integral = 0.9 * self.integral
                self.visited.add("decay")
            new = self.theta + KP[form] * e + KI[form] * self.integral
        if abs(self.integral) == limit:
            self.visited.add("integral limit")
        if new <= lo:
            self.visited.add("low clip")
        if new >= hi:
            self.visited.add("high clip")
        self.theta = clip(new, lo, hi)

    def account(self, active):
        self.cost = self.cost + 1.0 * sum(active) + 0.01 * (len(active) - sum(active))
        self.dense_cost = self.dense_cost + 1.0 * len(active)

    @property
    def nominal_savings(self):
        return 1 - self.cost / self.dense_cost

    def step(self, scores, u=None, inflow=None, fallback_rows=()):
        """One batch; returns the gate's decisions and the active rows."""
        scores = [float(s) for s in scores]
        kept = self.gate(scores, u, inflow)
        active = self.with_fallback(scores, kept, fallback_rows)
        self.control(kept, active)
        self.account(active)
        return kept, active
