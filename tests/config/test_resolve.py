"""What a config leaves to the model: size and normalisation of encoded images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import image_tools
import pytest
import yaml

from ast_experiments.config.compose import load_config
from ast_experiments.config.resolve import USUAL, describe_images, image_settings, resolve
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import ConfigError
from ast_experiments.runs.build import build_dataset, build_run
from ast_experiments.runs.identity import config_hash
from ast_experiments.runs.run import execute

HALVES = {"mean": [0.5] * 3, "std": [0.5] * 3}
# As published with the weights.
WANTED: dict[str, dict[str, Any]] = {
    "model=simple_cnn": {},
    "model=resnet18_cifar": {},
    "model=timm model.arch=resnet50.tv_in1k": {},
    "model=timm model.arch=resnet50": {"crop_share": 0.95, "interpolation": "bicubic"},
    "model=timm model.arch=efficientnet_b0": {"interpolation": "bicubic"},
    "model=timm model.arch=vit_small_patch16_224": {**HALVES, "crop_share": 0.9, "interpolation": "bicubic"},
    "model=timm model.arch=tf_efficientnet_lite0": {**HALVES, "interpolation": "bicubic"},
    "model=timm model.arch=test_vit": {**HALVES, "size": 160, "crop_share": 0.95, "interpolation": "bicubic"},
    "model=timm model.arch=volo_d4_448": {"size": 448, "crop_share": 1.0, "interpolation": "bicubic"},
    "model=timm model.arch=test_vit dataset.size=32 dataset.mean=[0.1,0.2,0.3]": {
        **HALVES, "size": 32, "mean": [0.1, 0.2, 0.3], "crop_share": 0.95, "interpolation": "bicubic"
    },
}  # fmt: skip


def config_of(*overrides: str) -> Config:
    return load_config(overrides)


@pytest.mark.parametrize("overrides", WANTED)
def test_what_is_left_is_what_the_model_says(overrides: str) -> None:
    config = config_of("dataset=folder", *overrides.split())
    after = resolve(config)
    assert image_settings(after) == USUAL | WANTED[overrides]
    assert resolve(after) is after
    assert config_hash(config) == config_hash(after)


def test_the_hash_is_of_the_values_wherever_they_come_from() -> None:
    left = config_of("dataset=folder", "model=timm", "model.arch=test_vit")
    typed_in = [f"dataset.{key}={value}" for key, value in image_settings(resolve(left)).items()]
    assert config_hash(config_of("dataset=folder", "model=timm", "model.arch=test_vit", *typed_in)) == config_hash(left)
    assert config_hash(config_of("dataset=folder", "model=timm", "model.arch=test_vit", "dataset.size=64")) != (
        config_hash(left)
    )


def test_images_in_memory_leave_nothing() -> None:
    config = config_of("dataset=cifar10", "model=timm")
    assert resolve(config) is config
    assert describe_images(config) is None
    assert image_settings(config) == {}


def test_it_is_told() -> None:
    config = config_of("dataset=folder", "model=timm", "model.arch=test_vit", "dataset.size=32")
    assert describe_images(config) == (
        "preprocessing, as timm has it for test_vit: mean [0.5 0.5 0.5], std [0.5 0.5 0.5], crop_share 0.95, "
        "interpolation bicubic"
    )
    small = config_of("dataset=folder", "dataset.crop_share=1", "dataset.interpolation=bicubic")
    assert "ImageNet's defaults: size 224, mean [0.485 0.456 0.406], std [" in str(describe_images(small))


@pytest.fixture
def encoded_images(tmp_path: Path) -> list[str]:
    image_tools.folders(tmp_path / "data", image_tools.samples())
    small = ["recipe=small", "recipe.batch_size=4", "recipe.epochs=1", "hardware=cpu", "hardware.workers=0"]
    return ["dataset=folder", f"dataset.root={tmp_path / 'data'}", "tracking=jsonl", "tracking.report=false", *small]


def test_a_run_records_it(tmp_path: Path, encoded_images: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(*encoded_images, "model=timm", "model.arch=test_resnet", "max_steps=1")
    result = execute(config, tmp_path)
    expected = USUAL | {**HALVES, "size": 160, "crop_share": 0.95}
    assert result["pictures"] == expected
    assert json.loads((tmp_path / "result.json").read_text())["pictures"] == expected
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert {key: saved["dataset"][key] for key in USUAL} == expected
    assert result["config_hash"] == config_hash(config)
    assert "preprocessing, as timm has it for test_resnet: size 160, mean" in capsys.readouterr().out


def test_the_size_of_the_model_is_the_size_of_the_image_settings(encoded_images: list[str]) -> None:
    config = config_of(*encoded_images, "model=timm", "model.arch=test_vit")
    assert build_dataset(config).image_shape == (160, 160, 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.size=40"], r"model=timm: does not take images of 40 pixels \(Input height"),
        (["dataset.size=32", "method=ast_fresh", "method.score_size=24"], "method.score_size: timm takes no im"),
    ],
)
def test_a_size_that_the_network_does_not_take(
    tmp_path: Path, encoded_images: list[str], overrides: list[str], message: str
) -> None:
    config = config_of(*encoded_images, "model=timm", "model.arch=test_vit", *overrides)
    with pytest.raises(ConfigError, match=message):
        build_run(config, tmp_path, lambda facts: None)  # pyright: ignore[reportArgumentType]
