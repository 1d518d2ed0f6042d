"""Names in place of synsets."""

from __future__ import annotations

import pytest

from ast_experiments.data import synsets


def test_names_in_place_of_synsets() -> None:
    assert synsets.readable(["n01440764", "n02102040"]) == ["tench", "English springer"]
    assert synsets.readable(["n02012849", "n03126707"]) == ["crane (n02012849)", "crane (n03126707)"]


@pytest.mark.parametrize("classes", [[], ["cat", "n01440764"], ["n99999999", "n99999998"]])
def test_other_classes_stay(classes: list[str]) -> None:
    assert synsets.readable(classes) == classes


def test_without_the_file_synsets_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synsets, "find_spec", lambda name: None)
    assert synsets.readable(["n01440764"]) == ["n01440764"]
