"""Settings made at random from the schema: each is accepted and built, or refused in at most three lines.

They are put into composed configs and checked as preflight checks them, which takes a third of the time of typing them;
`test_fuzz_typed.py` types some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz_tools import changed, composed, ended, judge, put, ways
from hypothesis import given
from omegaconf import OmegaConf

from ast_experiments.config.checks import check
from ast_experiments.config.validate import validate
from ast_experiments.core.errors import ConfigError

DIRECT = 1750 if os.environ.get("AST_LONG") else 500


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@ways(DIRECT)
@given(changed())
def test_settings_of_any_kind(case: tuple[str, str, list[tuple[str, Any]]]) -> None:
    group, name, changes = case
    base = composed(group, name)
    if base is None:
        return
    cfg = base.copy()
    OmegaConf.set_struct(cfg, False)
    try:
        for key, value in changes:
            put(cfg, key, value)
    except Exception:  # OmegaConf refuses the value itself: it cannot be composed either
        return
    try:
        check(validate(cfg))
    except ConfigError as error:
        judge(error)
    else:
        judge(None)


def test_enough_were_judged() -> None:
    print(f"{ended['accepted']} settings were accepted, {ended['refused']} refused")
    assert ended["accepted"] >= DIRECT // 9
    assert ended["refused"] >= DIRECT // 2
