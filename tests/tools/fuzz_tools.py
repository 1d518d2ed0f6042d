"""Settings and command lines made at random from the schema."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from ast_experiments.config.compose import compose
from ast_experiments.config.groups import CONF, GROUPS
from ast_experiments.config.schema import CHOICES, SHARED, RunConfig
from ast_experiments.core.errors import ConfigError

DELETE, NEAR = object(), object()
ended: Counter[str] = Counter()


def names(schema: type) -> list[str]:
    return [field.name for field in dataclasses.fields(schema)]


@cache
def keys(group: str, name: str) -> tuple[str, ...]:
    """Every setting of a choice, and those within its mappings."""
    schema = SHARED[group] if group in SHARED else CHOICES[group][name]
    inner = {"recipe": ["first_stage.share", "muon_sgd.head_lr", "progressive_resizing.initial_scale"]}
    budget = ["budget.samples", "budget.joules"] if "budget" in names(schema) else []
    return tuple(f"{group}.{key}" for key in [*names(schema), *inner.get(group, []), *budget, "nosuch", "é"])


OWN = (*names(RunConfig), "nosuch", "recipe", "dataset", "method")
ALL = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63 - 1, 2**63, 10**30, -(2**63)]),
    st.floats(0, 1),
    st.sampled_from([1e-320, 1e308, float("inf"), float("-inf"), float("nan"), 0.0, -0.0, -1e-9, 1e-3, 3.0]),
)
REFERENCES = [
    "${seed}",
    "${recipe.lr}",
    "${nosuch}",
    "${oc.env:NOSUCH_VARIABLE}",
    "${method}",
    "${recipe}",
    "${",
    "???",
]
TEXT = st.one_of(
    st.sampled_from(
        ["", "auto", "null", "é漢😀", "\u202e", "a\nb", "x" * 500, "../..", "cpu", "sgd", "cosine", "%s", "{}"]
    ),
    st.text(max_size=8),
)
SIMPLE = st.one_of(NUMBERS, TEXT, st.booleans(), st.none(), st.sampled_from(REFERENCES))
VALUES = st.one_of(
    SIMPLE,
    NUMBERS,
    st.lists(SIMPLE, max_size=4),
    st.dictionaries(st.one_of(st.sampled_from(["name", "initial_scale", "samples"]), TEXT), SIMPLE, max_size=2),
    st.just(DELETE),
)
MOSTLY_NEAR = st.one_of(st.just(NEAR), st.just(NEAR), st.just(NEAR), VALUES)


@cache
def composed(group: str, name: str) -> DictConfig | None:
    """The config of a choice; None for one that cannot stand alone."""
    try:
        return compose([f"{group}={name}"])
    except ConfigError:
        return None


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, str, list[tuple[str, Any]]]:
    """A choice of a group, and changes of some settings."""
    group, name = draw(st.sampled_from(ALL))
    chosen = {group: name}
    own = [(each, chosen.get(each)) for each in (*CHOICES, *SHARED)]
    changes = []
    for _ in range(draw(st.integers(1, 3))):
        part, choice = draw(st.sampled_from(own))
        cfg = composed(group, name)
        if choice is None and cfg is not None:
            choice = str(cfg[part].name)
        options = OWN if draw(st.integers(0, 5)) == 0 or choice is None else keys(part, choice)
        changes.append((draw(st.sampled_from(options)), draw(MOSTLY_NEAR)))
    return group, name, changes


def put(cfg: DictConfig, key: str, value: Any) -> None:
    if value is DELETE:
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else cfg
        if isinstance(node, DictConfig):
            node.pop(leaf, None)
        return
    if value is NEAR:
        before = OmegaConf.select(cfg, key, throw_on_missing=False)
        if before is None or isinstance(before, DictConfig):
            return
        value = not before if isinstance(before, bool) else before * 2 if isinstance(before, int | float) else before
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)


def judge(error: ConfigError | None) -> None:
    """Counts an ending; a refusal has at most three lines, none of them empty."""
    ended["accepted" if error is None else "refused"] += 1
    if error is not None:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 3, error
        assert all(line.strip() for line in lines)


def ways(count: int) -> Any:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


SIGNS = st.sampled_from(["", "", "", "+", "++", "~"])
HYDRA = ("run.dir", "job.chdir", "verbose", "nosuch", "job_logging.root.level", "sweep.dir")
SWEEPS = ["range(0,9,0)", "range(0,1e9)", "glob(*)", "choice(1,2)", "sort(3,1)", "int(x)", "a,b", "1..2"]
BROKEN = ["[1,", "{a:", "'", '"', "\\", "$", "="]
RAW = st.one_of(
    VALUES.map(lambda value: "" if value is DELETE else str(value)),
    st.sampled_from([*SWEEPS, *BROKEN]),
)


@st.composite
def typed(draw: st.DrawFn) -> tuple[list[str], bool]:
    """A command line."""
    overrides = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 4))
        group, name = draw(st.sampled_from(ALL))
        if kind == 0:
            overrides.append(f"{group}={name}")
        elif kind == 1:
            overrides.append(draw(SIGNS) + group + draw(st.sampled_from(["", "=null", "=", "=nosuch", "=é", "@x=y"])))
        elif kind == 2:
            key = f"hydra.{draw(st.sampled_from(HYDRA))}"
            overrides.append(f"{key}={draw(RAW)}")
        else:
            options = keys(group, name) if group in CHOICES or group in SHARED else OWN
            overrides.append(f"{draw(SIGNS)}{draw(st.sampled_from(options))}={draw(RAW)}")
    return overrides, draw(st.booleans())


OF_STUDIES = ("methods", "baselines", "seeds", "lr_trials", "cost", "name")
OF_SEARCHES = ("trials", "goal", "prune", "name")
METHODS = ["[ast]", "[ast,random:rate=0.2]", "[dense]", "ast:", "[ast:rate=]", "[,]", "[[", "ast:recipe.lr=1", "[é]"]


@st.composite
def asked_for(draw: st.DrawFn, own: Sequence[str]) -> list[str]:
    """Arguments of ast-bench or ast-tune."""
    given = ["methods=" + draw(st.sampled_from(METHODS))] if "methods" in own else []
    for _ in range(draw(st.integers(1, 3))):
        given.append(f"{draw(st.sampled_from([*own, 'recipe.lr', 'seed', 'é']))}={draw(RAW)}")
    return given + draw(st.sampled_from([[], [], ["/etc/passwd"], ["x.yaml"], [""], ["~recipe"]]))
