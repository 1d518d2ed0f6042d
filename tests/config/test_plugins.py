"""Methods and significances of other packages are choices without a yaml file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

METHOD = """
import numpy as np
from ast_experiments.core.ranges import Count
from ast_experiments.selection.method import Method


class Easiest(Method):
    def __init__(self, *, window: Count = 3) -> None:
        self._window = window

    def plan(self, epoch, target, history):
        order = self.permutation(epoch)
        easiest = np.argsort(np.nan_to_num(history.losses[order], nan=-np.inf), kind="stable")
        return self.train(order[np.sort(easiest[: self.full_batches(target)])])

    def signals(self):
        return {"easy/window": self._window}
"""
MARGIN = "def margin(losses, logits, images, *, power: float = 1.0):\n    return losses**power\n"
LABELS = "from torch import Tensor\ndef {}(losses, *, {}: Tensor = None):\n    return losses\n"
SHORT = ["recipe.epochs=2", "dataset.train_rows=200", "tracking=jsonl", "hydra.run.dir=out"]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A directory with a package of choices."""
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "easiest.py").write_text(METHOD)
    (folder / "several.py").write_text(f"{METHOD}\n\nclass Other(Easiest):\n    rate = 0.2\n")
    (folder / "misspelt.py").write_text(METHOD.replace("def signals", "def signal"))
    (folder / "margin.py").write_text(MARGIN)
    (folder / "fourth.py").write_text(MARGIN.replace("margin", "fourth").replace("images", "images, targets"))
    (folder / "late.py").write_text(LABELS.format("late", "labels"))
    (folder / "tensor.py").write_text(LABELS.format("tensor", "offset"))
    return tmp_path


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "ast_experiments.cli.train", *overrides],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_a_method_and_a_significance_in_the_current_directory(package: Path) -> None:
    own = ["method=my_package.easiest", "method.window=5", "method.rate=0.5", "significance=my_package.margin"]
    done = train(package, *own, "significance.power=2.0", *SHORT)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (package / "out" / "metrics.jsonl").read_text().splitlines()]
    assert {row["easy/window"] for row in rows if row["kind"] == "step"} == {5}
    assert json.loads((package / "out" / "result.json").read_text())["method"] == "my_package.easiest"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=my_package.nothing"], "there is no module my_package.nothing"),
        (["method=my_package.several"], "defines Easiest, Other; type e.g. method=my_package.several:Other"),
        (["method=my_package.several:Nobody"], "the module my_package.several has no Nobody"),
        (["method=my_package.misspelt"], "is no hook of a method; write signals(self)"),
        (["method=my_package.margin"], "defines no subclass of Method"),
        (["method=my_package.easiest", "method.window=0"], "method.window: 0 is wrong"),
        (["method=my_package.easiest", "method.windw=1"], "nearest: window"),
        (["significance=my_package.easiest"], "defines no function easiest"),
        (["significance=my_package.fourth"], "a significance is not given targets; name what it takes of losses"),
        (["significance=my_package.late"], "labels stands where settings stand; write it before the *"),
        (["significance=my_package.tensor"], "the setting offset has the type Tensor; expected a number"),
    ],
    ids=" ".join,
)
def test_errors_say_what_is_wrong(
    package: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    from ast_experiments.config.compose import load_config
    from ast_experiments.core.errors import UserError

    monkeypatch.syspath_prepend(str(package))
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError) as error:
        load_config(overrides)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("group", "name"), [("method", "rs2"), ("significance", "margin"), ("controller", "topk")])
def test_a_choice_without_its_config_file(group: str, name: str) -> None:
    from hydra.errors import MissingConfigException

    from ast_experiments.config.explain import explain

    error = MissingConfigException("", f"{group}/{name}", ["zebra"])
    assert explain(error, [], lambda _: None).startswith(  # pyright: ignore
        f"{group}={name}: has no config file; write conf/{group}/{name}.yaml"
    )
    error = MissingConfigException("", f"{group}/nothing", ["zebra"])
    assert explain(error, [], lambda _: None) == f"{group}=nothing: no such choice; there are: zebra"  # pyright: ignore


def test_experiments_take_other_methods(package: Path) -> None:
    done = train(package, "experiment=cifar10_published", "method=my_package.several:Other", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "name: my_package.several:Other" in done.stdout
    assert "packing" not in done.stdout
