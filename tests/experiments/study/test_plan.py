"""The request: methods, settings, and the config of each arm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ast_experiments.cli.bench import planned
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.directory import default_name
from ast_experiments.experiments.study.arms import DENSE, Arm, arm_config, parse_methods, with_dense
from ast_experiments.experiments.study.plan import PLAN, extend_plan, read_plan

LOW = Arm("ast rate=0.2 controller=quantile", "ast", ("method.rate=0.2", "controller=quantile"))


@pytest.mark.parametrize(
    ("text", "arms"),
    [
        ("[ast,infobatch]", [Arm("ast", "ast"), Arm("infobatch", "infobatch")]),
        ("ast,infobatch", [Arm("ast", "ast"), Arm("infobatch", "infobatch")]),
        ("[ast:rate=0.2:controller=quantile]", [LOW]),
        ('["ast method.rate=0.2 controller=quantile"]', [LOW]),
        ("[ast rate=0.2 controller=quantile,ast:rate=0.2:controller=quantile]", [LOW]),
        (
            "[kakurenbo:decay_at=[0.3,0.6]:hide=0.2]",
            [
                Arm(
                    "kakurenbo decay_at=[0.3,0.6] hide=0.2",
                    "kakurenbo",
                    ("method.decay_at=[0.3,0.6]", "method.hide=0.2"),
                )
            ],
        ),
        ("[ast:recipe.epochs=7]", [Arm("ast recipe.epochs=7", "ast", ("recipe.epochs=7",))]),
    ],
)
def test_methods(text: str, arms: list[Arm]) -> None:
    assert parse_methods(text) == arms


def test_dense_is_always_there_and_first() -> None:
    assert with_dense(parse_methods("[ast,dense]")) == (DENSE, Arm("ast", "ast"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("seeds=3", "methods: is missing"),
        ("methods=[]", "methods: the list is empty"),
        ("methods=[=3]", "does not begin with a method"),
        ("methods=[ast:dataset.train_rows=5]", "dataset.train_rows=5 in 'ast:dataset.train_rows=5'"),
        ("methods=[ast:recipe.batch_size=5]", "type settings that all arms share outside methods="),
        ("methods=[ast] seeds=0", "seeds=0: expected a number"),
        ("methods=[ast] seeds=[1000000]", "seeds=[1000000]"),
        ("methods=[ast] seed=1", "type seeds=5"),
        ("methods=[ast] method=ast", "list the methods, as methods="),
        ("methods=[ast] lr_trials=1", "type lr_trials=3"),
        (
            "methods=[ast] baselines=[ats]",
            "baselines: 'ats' is none of the methods that can have baselines; nearest: ast; th",
        ),
        ("methods=[ast:rate=0.2] baselines=[ast:rate=0.3]", "nearest: ast:rate=0.2; there are: ast, ast:rate=0.2"),
        ("methods=[ast] baselines=[dense]", "'dense' is none of the methods that can have baselines; there are: ast"),
        ("methods=[ast] baselines=[ast", "baselines=[ast: a bracket is missing; type e.g. baselines=[ast]"),
        ("methods=[ast] cost=euros", "there are: auto, joules, seconds, flops, samples"),
        ("methods=[ast] name=a/b", "name=a-b"),
        ("methods=[ast] name=", "type e.g. name=NAME"),
        ("methods=[ast] hydra.run.dir=x", "type name=NAME"),
        ("methods=[ast] max_steps=5", "type recipe.epochs=N"),
        ("methods=[ast] infobatch", "infobatch: expected KEY=VALUE"),
        ("nothing.yaml", "nothing.yaml cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        planned(arguments.split())
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_what_an_experiment_sets_for_its_method_holds_for_others_as_far_as_rates_go() -> None:
    common = ["experiment=cifar10_stale", "method.rate=0.3", "method.exploration=0.1", "recipe.epochs=7"]
    dense, ast, uniform, infobatch = (
        arm_config(common, arm) for arm in with_dense(parse_methods("ast,random,infobatch"))
    )
    assert (ast.method.rate, ast.method.exploration) == (0.3, 0.1)
    assert (uniform.method.name, uniform.method.rate) == ("random", 0.3)
    assert infobatch.method.name == "infobatch"
    assert dense.method.name == "dense"
    assert {config.recipe for config in (ast, uniform, infobatch)} == {dense.recipe}
    assert dense.recipe.epochs == 7
    (own,) = parse_methods("random:rate=0.5")
    assert arm_config(common, own).method.rate == 0.5
    assert arm_config(common, LOW).controller.name == "quantile"
    baseline = Arm("rs2 rate=0.2", "rs2", ("method.rate=0.2",), ("rs2:ast",))
    assert arm_config([*common, "method.warmup_epochs=2"], baseline).method.warmup_epochs == 0


def test_the_same_settings_have_the_same_name() -> None:
    assert default_name(["experiment=cifar10_stale"]) == default_name(["experiment=cifar10_stale"])
    assert default_name(["experiment=cifar10_stale"]).startswith("cifar10_stale-")
    assert default_name(["recipe.epochs=3"]) != default_name(["recipe.epochs=4"])


def test_a_file_is_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(
        "name: mine\nmethods: [ast, 'ast:rate=0.2:controller=quantile']\nbaselines: [ast]\nseeds: [3, 4, 5]\n"
        "recipe.epochs: 5\nrecipe.clip_grad: null\n"
    )
    plan, folder = planned(["study.yaml", "lr_trials=3"])
    assert folder == Path("outputs/studies/mine")
    study = plan.study
    assert (study.arms, study.baselines) == ((DENSE, Arm("ast", "ast"), LOW), ("ast",))
    assert (study.seeds, study.lr_trials, study.common) == ((3, 4, 5), 3, ("recipe.epochs=5", "recipe.clip_grad=null"))


def test_as_many_seeds_as_a_claim_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert planned(["methods=[ast]"])[0].study.seeds == (0, 1, 2)
    assert planned(["methods=[ast]", "dataset=cifar10"])[0].study.seeds == (0, 1, 2, 3, 4)


def test_a_study_can_grow_but_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan, folder = planned(["methods=[ast]", "seeds=2", "name=s", "recipe.epochs=5"])
    plan.cost = "flops"
    plan.baselines.append(Arm("dense epochs=2", "dense", ("recipe.epochs=2",), ("dense_shorter:ast",)))
    plan.lrs["ast"] = 0.1
    folder.mkdir(parents=True)
    plan.write(folder)
    assert read_plan(folder) == plan
    assert planned([str(folder)])[0] == plan
    more, _ = planned(["methods=[random]", "seeds=3", "name=s", "recipe.epochs=5"])
    assert more.study.seeds == (0, 1, 2)
    assert [arm.label for arm in more.arms] == ["dense", "ast", "random", "dense epochs=2"]
    assert more.lrs == plan.lrs
    for change in ("recipe.epochs=6", "lr_trials=2", "cost=seconds"):
        arguments = {"methods": "[ast]", "seeds": "2", "name": "s", "recipe.epochs": "5"}
        arguments |= dict([change.split("=")])
        with pytest.raises(ConfigError, match="name=s: that study has"):
            planned([f"{key}={value}" for key, value in arguments.items()])


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("[]", []),
        ("[ast]", ["ast", "ast rate=0.2 controller=quantile"]),
        ("ast:rate=0.2:controller=quantile,random", ["ast rate=0.2 controller=quantile", "random"]),
        ('["ast method.rate=0.2 controller=quantile"]', ["ast rate=0.2 controller=quantile"]),
    ],
)
def test_methods_with_baselines_of_their_own(
    text: str, own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = planned(["methods=[ast,ast:rate=0.2:controller=quantile,random]", f"baselines={text}", "seeds=1"])[0].study
    assert [arm.label for arm in study.with_baselines] == own


def test_baselines_can_be_added_but_not_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def asked(*arguments: str) -> list[str]:
        plan, folder = planned(["name=s", *arguments])
        folder.mkdir(parents=True, exist_ok=True)
        plan.write(folder)
        assert read_plan(folder) == plan
        return [arm.label for arm in plan.study.with_baselines]

    assert asked("methods=[ast,random]", "seeds=1", "baselines=[ast]") == ["ast"]
    assert asked("methods=[infobatch,ast:rate=0.2]", "seeds=2") == ["ast", "ast rate=0.2"]
    assert asked("baselines=[ast,random]") == ["ast", "random", "ast rate=0.2"]
    assert asked("seeds=3") == ["ast", "random", "ast rate=0.2"]
    with pytest.raises(
        ConfigError, match=r"name=s: that study has baselines for ast, random, ast rate=0.2, which"
    ) as at:
        asked("baselines=[infobatch]")
    assert str(at.value).endswith("type baselines=[ast,random,ast:rate=0.2,infobatch], or another name=")
    # A study without the option has baselines for all methods; one that is added may do without.
    assert asked("name=all", "methods=[ast]", "seeds=1") == ["ast"]
    assert asked("name=all", "methods=[random]", "baselines=[ast]") == ["ast"]


def test_the_cost_can_be_changed_until_it_is_decided() -> None:
    plan, _ = planned(["methods=[ast]", "seeds=2", "cost=joules", "name=undecided"])
    asked, _ = planned(["methods=[ast]", "seeds=2", "cost=flops", "name=undecided"])
    assert extend_plan(plan, asked.study).study.cost == "flops"


def test_a_broken_plan_is_one_line(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text(json.dumps({"study": {}}))
    with pytest.raises(Exception, match="cannot be read"):
        read_plan(tmp_path)
