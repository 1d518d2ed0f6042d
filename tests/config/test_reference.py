"""The tables of the documentation hold every setting of every choice, with its type, range and meaning."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field

from ast_experiments.config.groups import CONF
from ast_experiments.config.schema import CHOICES, SHARED, Config

FILE = Path(__file__).parents[2] / "docs" / "reference.py"
GROUPS = (*CHOICES, *SHARED)
FILES = [file for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


@pytest.fixture(scope="module")
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text(reference: Any) -> str:
    return reference.tables()


@pytest.fixture(scope="module")
def rows(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Value, type and meaning by key; a key of several methods has a row for each dataclass."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            key, *rest = (cell.strip() for cell in line.strip("|").split(" | "))
            assert len(rest) == 3, line
            found.setdefault(key.strip("`"), []).append(tuple(rest))
    return found


def leaves(settings: dict[str, Any], prefix: str) -> list[str]:
    keys = []
    for key, value in settings.items():
        keys.append(f"{prefix}.{key}")
        keys += leaves(value, f"{prefix}.{key}") if isinstance(value, dict) else []
    return [key for key in keys if not key.endswith(".name")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_setting_is_there_with_type_and_meaning(
    file: Path, reference: Any, rows: dict[str, Any], text: str
) -> None:
    group, settings = file.parent.name, yaml.safe_load(file.read_text())
    settings.pop("defaults", None)
    head, read = reference.read(file)
    for key in leaves(settings, group):
        assert read[key.removeprefix(f"{group}.")].comment, f"{file.name}: {key} has no comment"
        for _, kind, meaning in rows[key]:
            assert kind
            assert meaning
    assert f"* `{group}={file.stem}`: {reference.plain(head[0])}" in text


def test_settings_of_a_run_are_there(rows: dict[str, Any]) -> None:
    for field in dataclasses.fields(Config):
        if field.name not in GROUPS:
            ((value, kind, meaning),) = rows[field.name]
            assert value
            assert kind
            assert meaning


@pytest.mark.parametrize("name", [file.stem for file in (CONF / "experiment").glob("*.yaml")])
def test_presets_are_there(name: str, text: str) -> None:
    assert f"`experiment={name}`: " in text


@dataclasses.dataclass
class Inner:
    share: Annotated[float, Gt(0), Lt(1)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "true or false"),
        (str | None, "text or null"),
        (Annotated[int, Ge(1)], "whole number, 1 or more"),
        (Annotated[float, Gt(0), Le(1)] | None, "number, above 0, at most 1, or null"),
        (Literal["a", "b", "c"], "`a`, `b` or `c`"),
        (Literal["a"], "`a`"),
        (Annotated[list[Annotated[float, Gt(0)]], Field(min_length=1)], "list of [number, above 0], 1 or more values"),
        (Annotated[list[int], Field(min_length=3, max_length=3)], "list of [whole number], 3 values"),
        (Inner | None, "the settings below or null"),
    ],
)
def test_types_in_words(kind: Any, words: str, reference: Any) -> None:
    assert reference.in_words(kind) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a": "1", "b": "1"}, "`1`"),
        ({"a": "1", "b": "2", "c": "1"}, "`1`; in `b`: `2`"),
        ({"a": "1", "b": "2"}, "in `a`: `1`; in `b`: `2`"),
        ({"a": "", "b": ""}, ""),
    ],
)
def test_what_differs_is_named(values: dict[str, str], words: str, reference: Any) -> None:
    assert reference.varied(values, "`{}`".format) == words


@pytest.mark.parametrize(
    ("value", "words"), [("1e-3", "`1e-3`"), ("${oc.env:DIR,'~/.cache'}", "`$DIR`, else `~/.cache`")]
)
def test_values_as_typed(value: str, words: str, reference: Any) -> None:
    assert reference.code(value) == words


def test_a_file_is_read_as_it_is_written(tmp_path: Path, reference: Any) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "# @package _global_\n# What it is,\n# in two lines.\nname: x\nlr: 1e-3  # rate # of learning\nplain: null\n"
        "budget:  # at most one\n  samples: null  # rows\n'quoted': 1\n"
    )
    head, settings = reference.read(file)
    assert head == ["What it is,", "in two lines."]
    assert {key: tuple(setting) for key, setting in settings.items()} == {
        "name": ("x", ""),
        "lr": ("1e-3", "rate # of learning"),
        "plain": ("null", ""),
        "budget": ("", "at most one"),
        "budget.samples": ("null", "rows"),
    }


def test_inherited_settings_are_read_with_their_comments(tmp_path: Path, reference: Any) -> None:
    (tmp_path / "base.yaml").write_text("# Base.\nname: base\nlr: 1  # rate\nrows: 2  # count\n")
    file = tmp_path / "x.yaml"
    file.write_text("# Own.\ndefaults:\n  - base\n  - _self_\nname: x\nlr: 3\nrows: 4  # fewer\n")
    head, settings = reference.read(file)
    assert head == ["Own."]
    assert {key: tuple(setting) for key, setting in settings.items()} == {
        "name": ("x", ""),
        "lr": ("3", "rate"),
        "rows": ("4", "fewer"),
    }
