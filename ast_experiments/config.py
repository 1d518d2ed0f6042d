"""The schema: one dataclass per choice of a config group, and the table of choices.

Values and their meaning live in `conf/<group>/<choice>.yaml`; here are their types and ranges, and where the choice is
built. A new choice is one yaml file and one row in `CHOICES` (and a dataclass, unless an existing one fits).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
NESTED = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Of a dataclass within another: strict, it would not take the dictionary that it is given."""

Share = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Gt(0), Le(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Smoothing = Annotated[float, Gt(0), Le(1)]
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
Means = Annotated[list[float], Field(min_length=1)]
Deviations = Annotated[list[Positive], Field(min_length=1)]


# --- dataset


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SamplesConfig:
    """Settings that every data set has."""

    name: str
    train_rows: Count | None
    val_rows: Count | None
    horizontal_flip: bool

    @model_validator(mode="after")
    def _channels(self) -> Self:
        mean, std = getattr(self, "mean", None), getattr(self, "std", None)
        if mean is not None and std is not None and len(mean) != len(std):
            raise ValueError(f"dataset.std: has {len(std)} values, but dataset.mean has {len(mean)}")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DatasetConfig(SamplesConfig):
    """Small images, kept in memory."""

    mean: Means
    std: Deviations
    crop_padding: Annotated[int, Ge(0), Le(64)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CifarConfig(DatasetConfig):
    """CIFAR-10 or CIFAR-100."""

    root: str
    download: bool


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PhotosConfig(SamplesConfig):
    """Photographs of any size, decoded when they are asked for; what is None of their pictures, the model says."""

    root: str
    cache: str
    size: Annotated[int, Ge(8), Le(4096)] | None
    mean: Means | None
    std: Deviations | None
    crop_scale: Annotated[list[Rate], Field(min_length=2, max_length=2)]
    crop_ratio: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    crop_share: Rate | None
    interpolation: Literal["bilinear", "bicubic"] | None
    stored_size: Annotated[int, Ge(8), Le(4096)] | None
    brightness: NonNegative
    contrast: NonNegative
    saturation: NonNegative
    hue: Annotated[float, Ge(0), Le(0.5)]
    grey: Share
    erasing: Share

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for key in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"dataset.{key}: [{low}, {high}] must rise; type dataset.{key}=[{high},{low}]")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ImageNet100Config(PhotosConfig):
    """ImageNet-100, of which there are two."""

    class_list: str | None


# --- model


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SimpleCNNConfig:
    """The small network of the CIFAR-10 report."""

    name: str
    widths: Annotated[list[Count], Field(min_length=3, max_length=3)]
    hidden: Count
    dropout: Annotated[float, Ge(0), Lt(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CifarResNetConfig:
    """A timm ResNet with a stem for 32 px."""

    name: str
    arch: str
    drop_path: Annotated[float, Ge(0), Lt(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TimmConfig:
    """Any timm architecture."""

    name: str
    arch: str
    pretrained: bool
    checkpoint: str | None
    drop_rate: Annotated[float, Ge(0), Lt(1)]
    drop_path: Annotated[float, Ge(0), Lt(1)]


# --- method


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


# --- controller


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PIConfig:
    """Proportional-integral control of the log-threshold."""

    name: str
    kp: NonNegative | None
    ki: NonNegative | None
    alpha: Annotated[float, Gt(0), Lt(1)]
    settling_windows: Annotated[float, Ge(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class QuantileConfig:
    """Online quantile tracking."""

    name: str
    eta: Positive
    alpha: Smoothing


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TopKConfig:
    """An exact count of each window or batch."""

    name: str
    alpha: Smoothing


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SundewReportConfig:
    """The law of the CIFAR-10 report."""

    name: str
    kp: NonNegative
    ki: NonNegative
    alpha: Smoothing
    start: float
    integral_limit: Positive


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SundewBatchConfig(SundewReportConfig):
    """The law of the comparison and of the two-stage run."""

    low: float
    high: float

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not self.low <= self.start <= self.high:
            raise ValueError(
                f"controller.start: {self.start} must lie between controller.low={self.low} "
                f"and controller.high={self.high}"
            )
        return self


# --- significance


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossConfig:
    """The loss alone."""

    name: str


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossIntensityConfig:
    """Loss and image contrast."""

    name: str
    variant: Literal["report", "comparison"]
    loss_weight: NonNegative
    intensity_weight: NonNegative


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossEntropyConfig:
    """Loss and predictive entropy."""

    name: str
    loss_weight: NonNegative
    entropy_weight: NonNegative


# --- recipe, hardware, energy, tracking


@dataclass(config=NESTED, frozen=True, kw_only=True)
class FirstStageConfig:
    """Epochs at the beginning with a schedule and label smoothing of their own."""

    share: Annotated[float, Strict(), Gt(0), Lt(1)]
    lr_scale: Annotated[float, Strict(), Gt(0)]
    warmup: Annotated[float, Strict(), Ge(0), Lt(1)]
    min_lr: Annotated[float, Strict(), Ge(0)]
    label_smoothing: Annotated[float, Strict(), Ge(0), Lt(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RecipeConfig:
    """How the network is optimised."""

    name: str
    epochs: Count
    batch_size: Count
    eval_batch_size: Count
    optimizer: Literal["sgd", "momentum", "adamw", "adam", "lamb", "lion", "muon"]
    lr: Positive
    momentum: Annotated[float, Ge(0), Lt(1)]
    weight_decay: NonNegative
    decay_norm_and_bias: bool
    schedule: Literal["constant", "cosine", "poly", "linear"]
    schedule_by: Literal["step", "epoch"]
    warmup_epochs: NonNegative
    warmup_lr: NonNegative
    min_lr: NonNegative
    first_stage: FirstStageConfig | None
    clip_grad: Positive | None
    label_smoothing: Annotated[float, Ge(0), Lt(1)]
    mixup: NonNegative
    cutmix: NonNegative
    soft_labels: str | None
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"recipe.warmup_epochs: {self.warmup_epochs} leaves nothing of recipe.epochs={self.epochs}"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HardwareConfig:
    """Where and how the arithmetic runs."""

    name: str
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    channels_last: bool
    compile: bool
    deterministic: bool
    data_on_device: bool | None
    workers: Annotated[int, Ge(0), Le(256)] | None
    threads: Count | None
    processes: int | str | None
    batch_scale: Positive
    auto_batch: bool
    max_hours: Positive | None

    @model_validator(mode="after")
    def _number(self) -> Self:
        if self.processes not in ("all", None) and not (isinstance(self.processes, int) and self.processes > 0):
            raise ValueError(
                f"hardware.processes: {self.processes!r} is wrong; type a number, all (one for each GPU) or null"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EnergyConfig:
    """What is measured, and the nominal cost model."""

    name: str
    gpu: Literal["auto", "nvml", "nvml_power", "none"]
    cpu: Literal["auto", "rapl", "none"]
    require: Literal["gpu", "cpu"] | None
    idle_seconds: Annotated[float, Ge(0), Le(600)]
    target_accuracy: Annotated[float, Gt(0), Le(100)] | None
    carbon_intensity: NonNegative | None
    carbon_source: str | None
    active_cost: Positive
    skipped_cost: NonNegative

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.require is not None and getattr(self, self.require) == "none":
            raise ValueError(
                f"energy.require: {self.require} cannot be measured with energy.{self.require}=none; "
                f"type energy.{self.require}=auto"
            )
        if (self.carbon_intensity is None) != (self.carbon_source is None):
            raise ValueError(
                "energy.carbon_source: goes with energy.carbon_intensity and only with it; "
                "type e.g. energy.carbon_intensity=380 'energy.carbon_source=\"grid operator, mean of last year\"'"
            )
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TrackingConfig:
    """Where the numbers go."""

    name: str
    console: bool
    wandb: Literal["auto", "online", "offline", "disabled"]
    wandb_timeout_s: Positive
    project: str
    entity: str | None
    artifacts: bool
    tensorboard: bool
    log_every: Count
    report: bool


# --- the whole


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Config:
    """One experiment, checked."""

    dataset: Any
    model: Any
    method: Any
    controller: Any
    significance: Any
    recipe: RecipeConfig
    hardware: HardwareConfig
    energy: EnergyConfig
    tracking: TrackingConfig
    experiment_name: str | None
    seed: Seed
    holdout: Annotated[float, Ge(0), Lt(1)]
    group: str | None
    tags: list[str]
    checkpoint_every_s: Positive
    eval_every: Count
    max_steps: Count | None
    profile: bool


class Choice(NamedTuple):
    """A row of the table of choices.

    Attributes:
        schema: Its dataclass.
        build: Where it is built, `module:function`, called with the settings by name.
        uses: Groups whose choice the builder gets too, built, by the name of the group.
        unmixable: Of a method, why it does not work with mixup, cutmix and soft labels; empty where it does.
    """

    schema: type
    build: str
    uses: tuple[str, ...] = ()
    unmixable: str = ""


_SIGNIFICANCE = "ast_experiments.selection.significance"
_SUNDEW = "ast_experiments.selection.sundew"
_METHODS = "ast_experiments.selection.methods"
_MODELS = "ast_experiments.models.build"
_SOURCES = "ast_experiments.data.sources"
_PHOTOS = "ast_experiments.data.photo_sets"

CHOICES: dict[str, dict[str, Choice]] = {
    "dataset": {
        "digits": Choice(DatasetConfig, f"{_SOURCES}:load_digits"),
        "cifar10": Choice(CifarConfig, f"{_SOURCES}:load_cifar10"),
        "cifar100": Choice(CifarConfig, f"{_SOURCES}:load_cifar100"),
        "imagenette": Choice(PhotosConfig, f"{_PHOTOS}:load_imagenette"),
        "imagenet100": Choice(ImageNet100Config, f"{_PHOTOS}:load_imagenet100"),
        "imagenet1k": Choice(PhotosConfig, f"{_PHOTOS}:load_imagenet1k"),
        "folder": Choice(PhotosConfig, f"{_PHOTOS}:load_folder"),
    },
    "model": {
        "simple_cnn": Choice(SimpleCNNConfig, f"{_MODELS}:simple_cnn"),
        "resnet18_cifar": Choice(CifarResNetConfig, f"{_MODELS}:cifar_resnet"),
        "resnet34_cifar": Choice(CifarResNetConfig, f"{_MODELS}:cifar_resnet"),
        "resnet50_cifar": Choice(CifarResNetConfig, f"{_MODELS}:cifar_resnet"),
        "timm": Choice(TimmConfig, f"{_MODELS}:timm_model"),
    },
    "method": {
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
        "ast": Choice(ASTConfig, f"{_METHODS}.ast:build", uses=("controller", "significance")),
    },
    "controller": {
        "pi": Choice(PIConfig, "ast_experiments.selection.controllers:PI"),
        "quantile": Choice(QuantileConfig, "ast_experiments.selection.controllers:Quantile"),
        "topk": Choice(TopKConfig, "ast_experiments.selection.controllers:TopK"),
        "sundew_report": Choice(SundewReportConfig, f"{_SUNDEW}:SundewReport"),
        "sundew_comparison": Choice(SundewBatchConfig, f"{_SUNDEW}:SundewBatch"),
        "sundew_two_stage": Choice(SundewBatchConfig, f"{_SUNDEW}:build_two_stage"),
    },
    "significance": {
        "loss": Choice(LossConfig, f"{_SIGNIFICANCE}:build_loss"),
        "loss_intensity": Choice(LossIntensityConfig, f"{_SIGNIFICANCE}:build_loss_intensity"),
        "loss_entropy": Choice(LossEntropyConfig, f"{_SIGNIFICANCE}:build_loss_entropy"),
    },
}

SHARED: dict[str, type] = {
    "recipe": RecipeConfig,
    "hardware": HardwareConfig,
    "energy": EnergyConfig,
    "tracking": TrackingConfig,
}
"""Groups whose choices have the same settings: a new choice is one yaml file."""
