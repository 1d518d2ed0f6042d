"""Methods: which samples are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Strict, model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import NESTED, STRICT, Choice
from ast_experiments.core.ranges import Count, Rate, Share


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DenseConfig:
    """Every sample."""

    name: str


@dataclass(config=NESTED, frozen=True, kw_only=True)
class BudgetConfig:
    """What a run may spend; at most one of them."""

    samples: Annotated[int, Strict(), Ge(1)] | None
    flops: Annotated[float, Strict(), Gt(0)] | None
    seconds: Annotated[float, Strict(), Gt(0)] | None
    joules: Annotated[float, Strict(), Gt(0)] | None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [kind for kind in ("samples", "flops", "seconds", "joules") if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"method.budget: {' and '.join(given)} are given, but a run has one budget; leave one")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RatedConfig:
    """A method that is given a target rate."""

    name: str
    rate: Rate
    rate_schedule: Literal["constant", "linear", "cosine"]
    rate_final: Rate | None
    warmup_epochs: Annotated[int, Ge(0)]
    final_epochs: Annotated[int, Ge(0)]
    budget: BudgetConfig

    @model_validator(mode="after")
    def _final(self) -> Self:
        if (self.rate_schedule != "constant") != (self.rate_final is not None):
            raise ValueError(
                "method.rate_final: goes with method.rate_schedule=linear or cosine and only with them; "
                "type e.g. method.rate_schedule=linear method.rate=0.6 method.rate_final=0.2"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ASTConfig(RatedConfig):
    """Adaptive sparse training. Settings of another way of scoring are refused unless left at null."""

    scoring: Literal["stale", "gather", "masked"]
    pick: Literal["threshold", "topk", "proportional"] | None
    exploration: Share | None
    window: Annotated[int, Ge(1), Le(4096)] | None
    temperature: Annotated[float, Ge(0), Le(10)] | None
    reweight: bool | None
    packing: bool | None
    score_mode: Literal["train", "eval"] | None
    score_size: Count | None
    score_net: Literal["own", "proxy"] | None
    proxy_width: Rate | None
    proxy_arch: str | None
    proxy_every: Count | None

    @model_validator(mode="after")
    def _used(self) -> Self:
        planned = ("pick", "exploration", "window", "temperature", "reweight")
        gathered = ("packing", "score_mode", "score_size", "score_net")
        used = {"stale": planned, "gather": gathered, "masked": ()}[self.scoring]
        for field in (*planned, *gathered):
            if field not in used and getattr(self, field) is not None:
                raise ValueError(f"method.{field}: not used by method.scoring={self.scoring}; type method.{field}=null")
        other = "own" if self.score_net == "proxy" else "proxy"
        for field in ("proxy_width", "proxy_arch", "proxy_every") if other == "proxy" else ("score_mode",):
            if getattr(self, field) is not None:
                needs = f"method.scoring=gather method.score_net={other}"
                raise ValueError(f"method.{field}: goes with {needs}; type method.{field}=null")
        return self

    @model_validator(mode="after")
    def _picked(self) -> Self:
        pick = self.pick or "threshold"
        if self.window is not None and pick != "threshold":
            raise ValueError(f"method.window: not used by method.pick={pick}; type method.window=null")
        if self.temperature is not None and pick != "proportional":
            raise ValueError(f"method.temperature: not used by method.pick={pick}; type method.temperature=null")
        if self.reweight and pick != "proportional":
            raise ValueError(
                f"method.reweight: needs the chance of every row to be picked, which method.pick={pick} does not know; "
                "type method.pick=proportional or method.reweight=null"
            )
        if self.reweight and self.exploration == 0:
            raise ValueError(
                "method.exploration: with method.reweight=true no weight is above 1 / exploration, so it may not be 0; "
                "type e.g. method.exploration=0.1"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CurriculumConfig:
    """Easy to hard."""

    name: str
    start: Rate
    ramp: Rate


@dataclass(config=STRICT, frozen=True, kw_only=True)
class InfoBatchConfig:
    """Easy samples at random, with larger weights."""

    name: str
    drop: Annotated[float, Ge(0), Lt(1)]
    full_after: Share


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SelectiveBackpropConfig(RatedConfig):
    """Hard samples with a higher probability. Settings of the other way of scoring are refused unless left at null."""

    scoring: Literal["stale", "fresh"]
    fresh_every: Count | None
    history: Count | None

    @model_validator(mode="after")
    def _used(self) -> Self:
        unused = "history" if self.scoring == "stale" else "fresh_every"
        if getattr(self, unused) is not None:
            raise ValueError(f"method.{unused}: not used by method.scoring={self.scoring}; type method.{unused}=null")
        if self.history is not None and self.history < 64:
            raise ValueError(
                f"method.history: {self.history} losses tell no distribution; type method.history=64 or more"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ProxyConfig(RatedConfig):
    """A narrow network chooses."""

    proxy_width: Rate
    proxy_arch: str | None
    proxy_every: Count


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RhoLossConfig(RatedConfig):
    """Loss minus irreducible loss."""

    irreducible_epochs: Count
    proxy_width: Rate
    proxy_arch: str | None


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OrderDPConfig:
    """The largest losses of a random part."""

    name: str
    draw: Rate
    keep: Rate


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SeTaConfig:
    """A sliding window of difficulty."""

    name: str
    drop: Annotated[float, Ge(0), Lt(1)]
    groups: Count
    window: Rate
    random_after: Share

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.window * self.groups + 1e-9 < 1:
            raise ValueError(
                f"method.window: {self.window:g} of method.groups={self.groups} groups is less than one; "
                f"type method.window={1 / self.groups:.2g} or more"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class KakurenboConfig:
    """Samples that are known for sure are hidden."""

    name: str
    hide: Annotated[float, Ge(0), Lt(1)]
    factors: list[Share]
    decay_at: list[Share]
    confidence: Share

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.factors) != len(self.decay_at) + 2:
            raise ValueError(
                f"method.factors: has {len(self.factors)} values; expected {len(self.decay_at) + 2}: at the start, "
                f"after the warm-up, and at each of method.decay_at={self.decay_at}"
            )
        if self.decay_at != sorted(self.decay_at):
            rising = ",".join(map(str, sorted(self.decay_at)))
            raise ValueError(f"method.decay_at: {self.decay_at} must rise; type method.decay_at=[{rising}]")
        return self


_METHODS = "ast_experiments.selection.methods"

METHODS: dict[str, Choice] = {
    "dense": Choice(DenseConfig, f"{_METHODS}.dense:Dense"),
    "random": Choice(RatedConfig, f"{_METHODS}.random:Random"),
    "rs2": Choice(RatedConfig, f"{_METHODS}.rs2:RS2"),
    "curriculum": Choice(CurriculumConfig, f"{_METHODS}.curriculum:Curriculum"),
    "infobatch": Choice(InfoBatchConfig, f"{_METHODS}.infobatch:InfoBatch"),
    "selective_backprop": Choice(SelectiveBackpropConfig, f"{_METHODS}.selective_backprop:build"),
    "orderdp": Choice(OrderDPConfig, f"{_METHODS}.orderdp:OrderDP"),
    "seta": Choice(SeTaConfig, f"{_METHODS}.seta:SeTa"),
    "kakurenbo": Choice(
        KakurenboConfig,
        f"{_METHODS}.kakurenbo:Kakurenbo",
        unmixable="it hides samples that were predicted right, and a mixture has no right class",
    ),
    "rho_loss": Choice(RhoLossConfig, f"{_METHODS}.rho_loss:RhoLoss"),
    "proxy": Choice(ProxyConfig, f"{_METHODS}.proxy:Proxy"),
    "ast": Choice(ASTConfig, f"{_METHODS}.ast_build:build", uses=("controller", "significance")),
}
