"""Every choice of every group composes to a checked config, and table, files and names agree."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.config.groups import CONF, GROUPS, read_choice
from ast_experiments.config.plugins import defaults_of
from ast_experiments.config.preflight import preflight
from ast_experiments.config.schema import CHOICES, SHARED, Config
from ast_experiments.data.build import NOT_FOR_LOADING
from ast_experiments.data.find import loader
from ast_experiments.models.find import builder
from ast_experiments.runs.identity import config_hash
from ast_experiments.selection.build import build_controller, build_method, build_rate_schedule
from ast_experiments.selection.find import find

DERIVED = ("method", "controller", "significance")
"""Groups whose schema follows from signatures."""
FILES = sorted(CONF.glob("*/*.yaml"))
SETTINGS = [f for f in FILES if f.parent.name in (*CHOICES, *SHARED)]
RUNS = [f for f in FILES if f.parent.name in ("experiment", "debug")]
SWEEPS = [f for f in FILES if f.parent.name == "sweep"]


def choice(file: Path) -> str:
    return f"{file.parent.name}={file.stem}"


def config_of(*overrides: str) -> Config:
    return load_config(overrides)


def test_the_groups_are_the_folders() -> None:
    assert sorted([*GROUPS, "hydra"]) == sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
    assert sorted([*CHOICES, *SHARED, "experiment", "sweep", "debug"]) == sorted(GROUPS)


@pytest.mark.parametrize("group", CHOICES)
def test_the_table_of_choices_names_the_files(group: str) -> None:
    assert sorted(CHOICES[group]) == sorted(f.stem for f in SETTINGS if f.parent.name == group)


@pytest.mark.parametrize("file", [CONF / "config.yaml", *FILES], ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_every_file_says_what_it_is(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line != "# @package _global_"]
    said = [line for line in lines if line.startswith("# ")]
    assert said, "no comment at the top level"
    assert lines[0] == said[0], "the file does not begin with its comment"


@pytest.mark.parametrize("file", SETTINGS, ids=choice)
def test_every_choice_is_valid_and_named_as_its_file(file: Path) -> None:
    group = file.parent.name
    settings = getattr(config_of(choice(file)), group)
    assert settings.name == file.stem
    in_file = set(read_choice(file)) - {"defaults"}
    assert sorted(in_file) == sorted(field.name for field in dataclasses.fields(settings)), "a value has no home"


@pytest.mark.parametrize("file", RUNS, ids=choice)
def test_every_experiment_and_debug_choice_passes_the_preflight(file: Path) -> None:
    assert preflight([choice(file)], multirun=False) is None
    if file.parent.name == "experiment":
        assert config_of(choice(file)).experiment_name == file.stem


@pytest.mark.parametrize("arch", ["vit_small_patch16_224", "efficientnet_b0"])
@pytest.mark.parametrize("name", ["imagenet100_stale", "imagenet100_two_stage", "imagenette_stale"])
def test_experiments_on_encoded_images_take_other_networks(name: str, arch: str) -> None:
    overrides = [f"experiment={name}", f"model.arch={arch}"]
    assert preflight(overrides, multirun=False) is None
    assert config_of(*overrides).model.arch == arch


@pytest.mark.parametrize("file", SWEEPS, ids=choice)
def test_every_sweep_is_one_and_its_jobs_are_valid(file: Path) -> None:
    folder = preflight([choice(file)], multirun=False)
    assert folder is not None
    assert folder.folder.parts[:2] == ("outputs", "sweeps")


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in DERIVED for name in CHOICES[group]])
def test_values_are_the_defaults_of_what_is_built(group: str, name: str) -> None:
    written = read_choice(CONF / group / f"{name}.yaml")
    written.pop("defaults", None)
    assert written == defaults_of(group, name)


@pytest.mark.parametrize("name", CHOICES["controller"])
def test_settings_are_the_fields_of_a_controller(name: str) -> None:
    settings = load_config([f"controller={name}"]).controller
    made = build_controller(settings)
    for key, value in dataclasses.asdict(settings).items():
        assert key == "name" or getattr(made, key) == value


@pytest.mark.parametrize(
    ("group", "name", "find", "positional", "without"),
    [
        *(("model", name, builder, 3, ("name",)) for name in CHOICES["model"]),
        *(("dataset", name, loader, 0, NOT_FOR_LOADING) for name in CHOICES["dataset"]),
    ],
)
def test_builders_take_the_settings(
    group: str, name: str, find: Callable[[str], Any], positional: int, without: tuple[str, ...]
) -> None:
    settings = dataclasses.asdict(getattr(config_of(f"{group}={name}"), group))
    given = {key: value for key, value in settings.items() if key not in without}
    inspect.signature(find(name)).bind(*[0] * positional, **given)


@pytest.mark.parametrize("name", CHOICES["method"])
def test_methods_are_built(name: str) -> None:
    config = load_config([f"method={name}"])
    made = build_method(config.method, config.controller, config.significance)
    assert type(made) is find("method", name)
    assert {"ast": "stale", "ast_fresh": "gather", "ast_masked": "masked"}.get(name, made.scoring) == made.scoring
    assert made.uniform is (name in ("dense", "random", "rs2"))
    assert (build_rate_schedule(config.method, 30) is None) is (made.rate is None)
    assert 0 < made.least_share(0.5) <= 1


def test_the_rate_schedule_follows_the_method() -> None:
    assert build_rate_schedule(config_of("method=dense").method, 7) is None
    linear = ["method.rate_schedule=linear", "method.rate=0.6", "method.rate_final=0.2", "method.warmup_epochs=2"]
    setpoint = build_rate_schedule(config_of(*linear).method, 7)
    assert setpoint is not None
    assert [setpoint.target(epoch, 7) for epoch in range(7)] == pytest.approx([1.0, 1.0, 0.6, 0.5, 0.4, 0.3, 0.2])


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        ([], True),
        (["tracking=jsonl", "group=g", "tags=[t]", "experiment_name=x", "checkpoint_every_s=5", "profile=true"], True),
        (["dataset.train_rows=null"], True),
        (["energy=nvml", "energy.require=gpu", "energy.target_accuracy=90"], True),
        (["energy.skipped_cost=0.5"], False),
        (["seed=1"], False),
        (["method.rate=0.3"], False),
        (["controller.settling_windows=3.0"], False),
        (["tracking.log_every=2"], False),
        (["max_steps=5"], False),
        (["hardware.workers=1", "hardware.processes=2", "hardware.auto_batch=true", "hardware.max_hours=8.5"], True),
        (["hardware.batch_scale=2.0"], False),
    ],
    ids=str,
)
def test_config_hash_is_of_what_determines_the_numbers(overrides: list[str], same: bool) -> None:
    assert (config_hash(config_of(*overrides)) == config_hash(config_of())) is same


def test_config_hash_does_not_depend_on_where_the_data_lies() -> None:
    one = config_of("dataset=cifar10", "dataset.root=/one", "dataset.download=false")
    assert config_hash(one) == config_hash(config_of("dataset=cifar10", "dataset.root=/other"))
