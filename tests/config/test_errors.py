"""What is said of wrong settings: the key, what was expected, the nearest choices; one line each."""

from __future__ import annotations

import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.config.preflight import preflight
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import ConfigError
from ast_experiments.runs.build import build_dataset

WRONG: dict[str, tuple[str, ...]] = {
    # unknown choices and settings
    "model=resnett18": ("model=resnett18", "no such choice", "nearest: resnet18_cifar", "simple_cnn, timm"),
    "sweep=pi_gain": ("sweep=pi_gain", "no such choice", "nearest: pi_gains"),
    "experiment=quikstart": ("experiment=quikstart", "nearest: quickstart"),
    "epochs=5": ("epochs: no such setting of the config; type recipe.epochs=5",),
    "lr=0.1": ("lr: no such setting of the config; type recipe.lr=0.1",),
    "recipe.learning_rate=0.1": ("recipe.learning_rate: no such setting of recipe=small; type recipe.lr=0.1",),
    "rate=0.2": ("rate: no such setting of the config; type method.rate=0.2",),
    "method.epochs=3": ("method.epochs: no such setting of method=ast; type recipe.epochs=3",),
    "methd=ast": ("methd: no such setting of the config", "nearest: method;"),
    "controller.kpp=1": ("controller.kpp: no such setting of controller=pi", "nearest: kp;", "settling_windows"),
    "controller=quantile controller.kp=3": ("controller.kp: no such setting of controller=quantile", "alpha, eta"),
    "method=dense method.rate=0.5": ("method.rate: no such setting of method=dense",),
    "+controller.x=1": ("controller.x: no such setting of controller=pi", "alpha, ki, kp"),
    "+seed=1": ("seed: ", "type it without the +"),
    "foo.bar=1": ("foo.bar: no such setting", "ast-train --cfg job"),
    "~recipe.lr": ("recipe.lr: is missing",),
    "~controller": ("~controller: every run needs a controller; type controller=NAME", "pi, quantile"),
    "model=timm model.arch=resnet5000": ("model.arch: timm has no model 'resnet5000'", "nearest: resnet50"),
    "controller.kp=1,2": ("controller.kp=1,2: several values make a sweep", "ast-train -m"),
    "controller=pi,quantile": ("controller=pi,quantile: several values make a sweep",),
    # wrong types
    "controller.kp=abc": ("controller.kp: 'abc' is wrong", "valid number"),
    "controller.kp=nan": ("controller.kp: nan is wrong", "finite number"),
    "recipe.epochs=2.5": ("recipe.epochs: 2.5 is wrong", "valid integer"),
    "recipe.lr=null": ("recipe.lr: None is wrong", "valid number"),
    "tags=abc": ("tags: a list is expected; type 'tags=[abc]'",),
    "dataset.mean=[a]": ("dataset.mean.0: 'a' is wrong", "valid number"),
    "dataset.mean=null": ("dataset.mean: None is wrong", "valid list"),
    "dataset=folder dataset.mean=[0.5] dataset.std=[1,1]": ("dataset.std: has 2 values, but dataset.mean has 1",),
    "model=timm model.arch=resnet50.a9": ("model.arch: timm has no weights 'a9' of resnet50; there are: a1_in1k",),
    "recipe=published_two_stage recipe.first_stage.share=1": ("recipe.first_stage.share: 1 is wrong", "less than 1"),
    "recipe.lr=${nothing}": ("recipe.lr: ", "nothing"),
    # out of range
    "method.rate=1.7": ("method.rate: 1.7 is wrong", "must be at most 1"),
    "method.rate=0": ("method.rate: 0 is wrong", "must be more than 0"),
    "controller.alpha=1": ("controller.alpha: 1 is wrong", "less than 1"),
    "seed=-1": ("seed: -1 is wrong", "must be at least 0"),
    "model.widths=[1,2]": ("model.widths: [1, 2] is wrong", "at least 3 items"),
    "recipe.optimizer=sdg": ("recipe.optimizer: 'sdg' is wrong", "'sgd', 'momentum', 'adamw'"),
    "dataset.horizontal_flip=foo": (
        "dataset.horizontal_flip: 'foo' is wrong",
        "expected a valid boolean or 'alternating'",
    ),
    "dataset.label_noise=1": ("dataset.label_noise: 1 is wrong", "less than 1"),
    "dataset.label_noise_kind=pair": ("dataset.label_noise_kind: 'pair' is wrong", "'symmetric' or 'pairs'"),
    "dataset.duplicates=1.5": ("dataset.duplicates: 1.5 is wrong", "less than 1"),
    "dataset.imbalance=0.5": ("dataset.imbalance: 0.5 is wrong", "must be at least 1"),
    "dataset.corruption=-0.1": ("dataset.corruption: -0.1 is wrong", "must be at least 0"),
    "dataset.regime_seed=x": ("dataset.regime_seed: 'x' is wrong", "valid integer"),
    "method.rate = 0.3": ("method.rate: cannot be parsed", "without blanks around ="),
    "dataset=folder dataset.root=/nope": ("dataset.root: there is no folder /nope", "type dataset.root=FOLDER"),
    "hardware.processes=[1]": ("hardware.processes: [1] is wrong", "a valid integer or a valid string"),
    "hardware.device=tpu": ("hardware.device: 'tpu' is wrong", "'auto', 'cpu', 'cuda' or 'mps'"),
    # settings that do not go together
    "method=ast_fresh method.pick=topk": ("method.pick: no such setting of method=ast_fresh", "nearest: packing"),
    "method=ast_masked method.score_mode=eval": ("method.score_mode: no such setting of method=ast_masked",),
    "method.score_mode=eval": ("method.score_mode: no such setting of method=ast",),
    "method.scoring=gather": ("method.scoring: is part of the choice of method; type method=ast_fresh",),
    "method=ast method.scoring=masked": ("method.scoring: is part of", "type method=ast_masked"),
    "method=selective_backprop method.scoring=fresh": ("method.scoring: ", "type method=selective_backprop_fresh"),
    "method.scoring=none": (
        "method.scoring: ",
        "type method=ast or method=ast_fresh or method=ast_masked or",
    ),
    "method.pick=topk method.window=64": ("method.window: not used by method.pick=topk",),
    "method.temperature=2": ("method.temperature: not used by method.pick=threshold", "type method.temperature=1.0"),
    "method=ast_fresh method.temperature=2": ("method.temperature: no such setting of method=ast_fresh",),
    "method.pick=topk method.reweight=true": (
        "method.reweight: needs the chance of every row to be picked, which method.pick=topk does not know",
        "type method.pick=proportional or method.reweight=false",
    ),
    "method.pick=proportional method.reweight=true method.exploration=0": (
        "method.exploration: with method.reweight=true no weight is above 1 / exploration",
        "type e.g. method.exploration=0.1",
    ),
    "method=ast_masked method.packing=true": ("method.packing: no such setting of method=ast_masked",),
    "method.score_size=16": ("method.score_size: no such setting of method=ast",),
    "method=ast_fresh method.proxy_width=0.5": (
        "method.proxy_width: not used by method.score_net=own",
        "type method.proxy_width=0.25",
    ),
    "method=ast_fresh method.score_net=proxy method.score_mode=train": (
        "method.score_mode: not used by method.score_net=proxy",
        "type method.score_mode=eval",
    ),
    "method=selective_backprop_fresh method.history=5": (
        "method.history: 5 losses are too few to estimate a distribution",
        "=64 or more",
    ),
    "hardware=cpu hardware.processes=3": ("recipe.batch_size: 32 rows cannot be shared", "=33"),
    "method=selective_backprop method.history=5": ("method.history: no such setting of method=selective_backprop",),
    "method=selective_backprop_fresh method.fresh_every=2": (
        "method.fresh_every: no such setting of method=selective_backprop_fresh",
    ),
    "method=seta method.window=0.1": ("method.window: 0.1 of method.groups=5 groups", "type method.window=0.2"),
    "method=kakurenbo method.factors=[1.0]": ("method.factors: has 1 values; expected 5",),
    "method=kakurenbo method.decay_at=[0.6,0.3,0.8]": (
        "method.decay_at: ",
        "type method.decay_at=[0.3,0.6,0.8]",
    ),
    "method=kakurenbo recipe.mixup=0.2": ("recipe.mixup: does not work with method=kakurenbo", "no correct class"),
    "method=rho_loss": ("method=rho_loss: needs samples held out from training", "type holdout=0.1"),
    "method=proxy method.proxy_arch=resnet17": ("method.proxy_arch: timm has no model 'resnet17'",),
    "method.rate_final=0.2": ("method.rate_final: goes with method.rate_schedule=linear",),
    "method.rate_schedule=linear": ("method.rate_final: goes with method.rate_schedule=linear", "type e.g."),
    "method.rate_schedule=[0.6,0.2]": (
        "method.rate_schedule: lists 2 rates for recipe.epochs=30; list one rate an epoch",
    ),
    "recipe.epochs=2 method.warmup_epochs=1 method.rate_schedule=[0.6,0.2]": (
        "method.rate_schedule: a list gives the rate of every epoch; leave out method.warmup_epochs",
    ),
    "recipe.epochs=2 method.rate_schedule=[0.6,2]": ("method.rate_schedule",),
    "method.warmup_epochs=30": ("method.warmup_epochs: 30 leaves nothing of recipe.epochs=30",),
    "recipe.warmup_epochs=30": ("recipe.warmup_epochs: 30.0 leaves nothing of recipe.epochs=30",),
    "controller=sundew_comparison controller.start=2": (
        "controller.start: 2.0 must lie between controller.low=0.01 and controller.high=0.99",
    ),
    "energy=nominal energy.require=gpu": (
        "energy.require: gpu cannot be measured with energy.gpu=none",
        "type energy.gpu=auto",
    ),
    "energy.carbon_intensity=380": ("energy.carbon_source: goes with energy.carbon_intensity", "type e.g."),
}
HYDRA = ("hydra", "append to your config", "see https", "defaults list", "full_key", "object_type", "traceback")


@pytest.mark.parametrize("typed_in", WRONG)
def test_wrong_settings_are_refused_in_one_line(typed_in: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preflight(typed_in.split(), multirun=False)
    message = str(caught.value)
    assert "\n" not in message
    for part in WRONG[typed_in]:
        assert part in message
    assert message.startswith(WRONG[typed_in][0])
    assert not [word for word in HYDRA if word in message.lower()]


@pytest.mark.parametrize("group", ["model", "recipe", "experiment"])
def test_a_group_without_a_choice_is_refused_in_one_line(group: str) -> None:
    with pytest.raises(ConfigError, match=f"^{group}"):
        preflight([f"{group}=null"], multirun=False)


def test_every_wrong_setting_has_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        preflight(["method.rate=2", "method.warmup_epochs=-1"], multirun=False)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["method.rate", "method.warmup_epochs"]


def test_a_missing_device_is_said_before_anything_starts() -> None:
    import torch

    missing = next(
        (
            n
            for n, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
            if not there
        )
    )
    with pytest.raises(ConfigError, match=f"hardware.device: {missing} is not available here .*type hardware=auto"):
        preflight([f"hardware.device={missing}"], multirun=False)


def config_of(*overrides: str) -> Config:
    return load_config(overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["dataset.mean=[0.5,0.5,0.5]", "dataset.std=[1,1,1]"],
            "dataset.mean: has 3 values, but the images have 1 channels",
        ),
        (["recipe.batch_size=1443"], "recipe.batch_size: 1443 is more than the 1442 training samples"),
        (
            ["recipe.batch_size=577", "method.rate_schedule=constant"],
            "recipe.batch_size: 577 is more than the 576 rows that an epoch trains at rate 0.4",
        ),
        (["method=rho_loss", "holdout=0.98"], "recipe.batch_size: 32 is more than the 29 training samples"),
        (
            ["method=orderdp", "method.draw=0.1", "method.keep=0.1"],
            "recipe.batch_size: 32 is more than the 14 rows that an epoch trains at rate 0.01",
        ),
        (["holdout=0.999", "dataset.train_rows=64"], "holdout: no training samples are left; type a smaller one"),
        (["method.rate=1e-9"], "method.rate: trains none of 1,442 samples at rate 1e-09; type a higher one"),
        (["dataset.train_rows=10"], "recipe.batch_size: 32 is more than the 10 training samples"),
    ],
)
def test_settings_that_do_not_fit_the_data(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_dataset(config_of(*overrides))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_batch_of_all_the_data_is_not_too_large() -> None:
    assert len(build_dataset(config_of("recipe.batch_size=1442", "method=dense")).train) == 1442
