"""The finding on each method in one sentence, and which arms AST's published criteria judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_tools import compared, study, write_arm

from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.runs import load
from ast_experiments.comparison.tables import tables
from ast_experiments.comparison.wording import findings


@pytest.mark.parametrize(
    ("accuracies", "begin"),
    [
        ((94.0, 94.1, 93.9), "ast beats uniform training: +1.00 ["),
        ((93.02, 93.12, 92.9), "ast equals uniform training within ± 0.2 points: +0.01 ["),
        ((92.0, 92.1, 91.9), "ast loses to uniform training: -1.00 ["),
        ((94.0, 92.0, 93.5), "ast against uniform training is undecided: +0.17 ["),
    ],
)
def test_findings(tmp_path: Path, accuracies: tuple[float, ...], begin: str) -> None:
    comparison = compared(study(tmp_path, accuracies))
    (finding,) = findings(comparison.results, comparison.rules)
    assert finding.startswith(begin)
    assert "at equal joules" in finding
    assert "(3 seeds)." in finding
    assert ("fewer joules" in finding) == ("beats" in finding)


def test_what_a_table_needs_to_be_read_is_below_it(tmp_path: Path) -> None:
    verdicts, savings, *_ = tables(compared(study(tmp_path / "as_long", (94.0, 94.1, 93.9))))
    assert [note.partition(":")[0] for note in verdicts.notes] == ["uniform", "± and [ ]"]
    assert not any("epochs differ" in note for note in savings.notes)
    for method, epochs in (("dense", 10), ("ast", 30)):
        write_arm(tmp_path / "other", method, [94.0], 40, epochs=epochs, rate=0.4 if method == "ast" else 1.0)
    verdicts, savings, *_ = tables(compared(tmp_path / "other"))
    assert verdicts.notes == []
    assert savings.notes[-1].startswith("epochs differ (ast 30, dense 10): nominal and rows skipped are shares of")


def test_findings_without_a_verdict(tmp_path: Path) -> None:
    write_arm(tmp_path, "ast", [94.0], 40)
    comparison = compared(tmp_path)
    assert findings(comparison.results, comparison.rules)[0].startswith("ast: no verdict. ")
    assert findings((), comparison.rules) == ["There is no method to judge: all runs are uniform baselines."]


def test_the_criteria_judge_ast_on_its_own_data_alone(tmp_path: Path) -> None:
    for dataset in ("cifar10", "digits"):
        for method in ("ast", "ast_fresh", "infobatch"):
            write_arm(tmp_path / dataset / method, method, [76.0], 40, rate=0.1, dataset=dataset)
    assert [met.arm.method for met in compared(tmp_path).criteria] == ["ast", "ast_fresh"]
    assert compare(load([tmp_path]), "digits").criteria == ()
