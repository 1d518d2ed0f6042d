"""Command lines made at random from the schema: each is accepted, or refused in at most three lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fuzz_tools import OF_SEARCHES, OF_STUDIES, RAW, asked_for, ended, judge, typed, ways
from hypothesis import given
from hypothesis import strategies as st

from ast_experiments.config.preflight import preflight
from ast_experiments.core.errors import ConfigError

TYPED, STUDIES, SEARCHES = (130, 60, 60) if os.environ.get("AST_LONG") else (40, 30, 30)


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@ways(TYPED)
@given(typed())
def test_command_lines_of_any_kind(case: tuple[Sequence[str], bool]) -> None:
    overrides, multirun = case
    try:
        preflight(overrides, multirun)
    except ConfigError as error:
        judge(error)
    else:
        judge(None)


@ways(STUDIES)
@given(asked_for(OF_STUDIES))
def test_arguments_of_studies(arguments: list[str]) -> None:
    from ast_experiments.cli.bench import planned

    try:
        planned(arguments)
    except ConfigError as error:
        judge(error)
    else:
        judge(None)


@ways(SEARCHES)
@given(asked_for(OF_SEARCHES))
def test_arguments_of_searches(arguments: list[str]) -> None:
    from ast_experiments.cli.tune import asked
    from ast_experiments.experiments.tuning.space import check_space, parse_space

    try:
        search, _ = asked(arguments)
        check_space(*parse_space(search.arguments))
    except ConfigError as error:
        judge(error)
    else:
        judge(None)


@ways(SEARCHES)
@given(st.lists(st.tuples(st.sampled_from(["seed", "hardware.threads", "é", ""]), RAW), max_size=3))
def test_changes_of_a_resume(changes: list[tuple[str, str]]) -> None:
    from ast_experiments.runs.resume import _parsed

    try:
        _parsed([f"{key}={value}" for key, value in changes])
    except ConfigError as error:
        judge(error)
    else:
        judge(None)


def test_enough_were_judged() -> None:
    print(f"{ended['accepted']} command lines were accepted, {ended['refused']} refused")
    assert ended["accepted"] >= 5
    assert ended["refused"] >= 60
