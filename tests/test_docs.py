"""The documents name every choice that they list."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README, METHODS, CONTROLLERS = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/methods.md", "docs/controllers.md")
)


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize("name", choices("method"))
def test_every_method_has_its_rows_and_its_heading(name: str) -> None:
    lines = METHODS.splitlines()
    assert f"## {name}" in lines, "docs/methods.md has no heading for it"
    assert any(line.startswith(f"| [`{name}`](#{name}) |") for line in lines), "docs/methods.md has no row for it"
    assert f"`{name}`" in README, "README.md does not name it"


@pytest.mark.parametrize("name", choices("significance"))
def test_every_significance_has_its_row(name: str) -> None:
    assert f"\n| `{name}` |" in METHODS.partition("## Significances")[2], "docs/methods.md has no row for it"
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", choices("controller"))
def test_every_controller_is_described(name: str) -> None:
    assert f"`{name}`" in CONTROLLERS
    assert f"`{name}`" in README
