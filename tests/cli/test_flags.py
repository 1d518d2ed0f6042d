"""Flags of ast-train: where they may stand, what they refuse, and what Hydra leaves in a run directory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ast_experiments.cli.train import main
from ast_experiments.config.groups import CONF
from ast_experiments.config.naming import LAUNCH

QUICK = ["debug=one_batch", "dataset.train_rows=200", "tracking.console=false", "tracking.report=false"]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls `ast-train` in this process, in an empty directory; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setenv(LAUNCH, "")
        monkeypatch.delenv(LAUNCH)
        monkeypatch.setattr(sys, "argv", ["ast-train", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert sys.argv == ["ast-train", *arguments]
        return int(left.value.code or 0)

    return call


def test_a_run_directory_holds_what_hydra_composed(train: Callable[..., int]) -> None:
    assert train("seed=3", *QUICK, "hydra.run.dir=mine") == 0
    assert yaml.safe_load(Path("mine/.hydra/overrides.yaml").read_text()) == ["seed=3", *QUICK]
    config = yaml.safe_load(Path("mine/.hydra/config.yaml").read_text())
    assert config["seed"] == 3
    assert "hydra" not in config
    hydra = yaml.safe_load(Path("mine/.hydra/hydra.yaml").read_text())["hydra"]
    assert hydra["runtime"]["output_dir"] == str(Path("mine").resolve())
    assert hydra["runtime"]["choices"]["debug"] == "one_batch"
    assert Path("mine/train.log").is_file()


@pytest.mark.parametrize(
    "arguments",
    [["-m", "seed=0,1", *QUICK], ["seed=0,1", "--multirun", *QUICK], ["seed=0,1", *QUICK, "-m"]],
    ids=["before", "between", "after"],
)
def test_flags_and_overrides_mix(train: Callable[..., int], arguments: list[str]) -> None:
    assert train(*arguments, "group=mine") == 0
    assert len(list(Path("outputs/sweeps/mine").glob("*/result.json"))) == 2
    assert len(list(Path("outputs/sweeps/mine").glob("*/.hydra/overrides.yaml"))) == 2


def test_own_choices_and_an_own_primary_config(train: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    Path("own/model").mkdir(parents=True)
    text = (CONF / "model" / "simple_cnn.yaml").read_text()
    Path("own/model/tiny.yaml").write_text(text.replace("[32, 64, 128]", "[4, 4, 4]"))
    assert train("model=tiny", "--config-dir", "own", *QUICK, "hydra.run.dir=tiny") == 0
    assert yaml.safe_load(Path("tiny/config.yaml").read_text())["model"]["widths"] == [4, 4, 4]
    assert train("--config-dir", "own", "--cfg", "job", "--package", "model", "model=tiny") == 0
    assert "- 4" in capsys.readouterr().out

    Path("own/main.yaml").write_text(
        f"defaults:\n  - config\n  - _self_\nseed: 7\nhydra:\n  searchpath: [file://{CONF}]\n"
    )
    assert train("--config-path", "own", "--config-name", "main", *QUICK, "hydra.run.dir=main") == 0
    assert yaml.safe_load(Path("main/config.yaml").read_text())["seed"] == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "--nonsense: no such flag; settings have no dashes, as in nonsense=VALUE"),
        (
            ["--learning-rate", "0.1"],
            "--learning-rate: no such flag; settings have no dashes, as in recipe.lr=0.1",
        ),
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["--config-dir", "nowhere"], "--config-dir: there is no directory nowhere"),
        (["--config-path", "nowhere"], "--config-path, --config-name: there is no file nowhere/config.yaml"),
        (["--config-name", "../x"], "/conf/../x.yaml"),
        (["hydra.searchpath=[file:///nowhere]"], "hydra.searchpath: there is no directory /nowhere"),
        (["hydra.job.chdir=true"], "hydra.job.chdir: is not supported"),
        (["+method.name=dense"], "method.name: is read-only; type method=NAME to select another choice"),
        (["-m", "seed=interval(0,3)"], "seed=interval(0,3): a sweep needs a list of values; type seed=A,B,C"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flags_are_one_line(
    train: Callable[..., int], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not list(Path().iterdir())
