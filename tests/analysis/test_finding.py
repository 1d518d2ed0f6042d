"""The sentence at the head of a page."""

from __future__ import annotations

import pytest

from ast_experiments.analysis.finding import run_finding, sweep_finding

RUN = {"status": "finished", "method": "ast", "final_accuracy": 91.234, "compute_savings": 0.6}


@pytest.mark.parametrize(
    ("changes", "begin"),
    [
        ({}, "ast ends at 91.23 % accuracy, with 60.0 % fewer training FLOPs than dense over the"),
        ({"compute_savings": -0.25}, "ast ends at 91.23 % accuracy, with 25.0 % more training FLOPs than dense"),
        ({"compute_savings": None}, "ast ends at 91.23 % accuracy. A single run"),
        ({"method": "dense"}, "dense ends at 91.23 % accuracy: a reference"),
        (
            {"final_accuracy": 33.33, "classes": 3, "val_samples": 60},
            "ast ends at 33.33 % accuracy. The network has learned nothing yet: guessing among 3 "
            "equally frequent classes gives 33.3 %.",
        ),
        ({"final_accuracy": 50.0, "classes": 3, "val_samples": 60}, "ast ends at 50.00 % accuracy, with"),
        ({"status": "failed"}, ""),
        ({"final_accuracy": None}, ""),
    ],
)
def test_of_a_run(changes: dict[str, object], begin: str) -> None:
    found = run_finding(RUN | changes)
    assert found.startswith(begin)
    assert bool(found) == bool(begin)


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ({}, ""),
        ({"rate 0.4": [90.0]}, ""),
        ({"rate 0.4": [60.6], "rate 0.6": [60.6]}, "All settings reach the same accuracy, 60.60 %."),
        (
            {"rate 0.4": [97.75], "rate 0.6": [97.75], "rate 0.2": [93.24]},
            "Highest: rate 0.4 and rate 0.6, 97.75 % accuracy. Lowest: rate 0.2, 93.24 % accuracy. "
            "With one run each, small differences may be chance.",
        ),
        ({"": [90.0, 92.0]}, "91.00 % accuracy on average, 90.00 to 92.00 over 2 runs."),
        (
            {"rate 0.2": [80.0], "rate 0.4": [90.0], "rate 0.6": [85.0]},
            "Highest: rate 0.4, 90.00 % accuracy. Lowest: rate 0.2, 80.00 % accuracy. "
            "With one run each, small differences may be chance.",
        ),
        (
            {"rate 0.2": [80.0, 82.0], "rate 0.4": [90.0, 91.0]},
            "Highest: rate 0.4, 90.50 % accuracy on average, 90.00 to 91.00 over 2 runs. "
            "Lowest: rate 0.2, 81.00 % accuracy on average, 80.00 to 82.00 over 2 runs.",
        ),
    ],
)
def test_of_a_sweep(accuracies: dict[str, list[float]], said: str) -> None:
    assert sweep_finding(accuracies) == said


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ({"rate 0.2": [20.0, 22.0], "rate 0.4": [42.0, 40.0]}, "; it also cost the most, in FLOPs. Lowest"),
        ({"rate 0.2": [41.0], "rate 0.4": [41.1]}, "90.00 % accuracy. Lowest"),  # the same, but for chance
        ({"rate 0.2": [50.0], "rate 0.4": [41.0]}, "90.00 % accuracy. Lowest"),
        ({}, "90.00 % accuracy. Lowest"),
    ],
)
def test_the_most_accurate_setting_may_be_the_dearest(costs: dict[str, list[float]], said: str) -> None:
    assert said in sweep_finding({"rate 0.2": [80.0], "rate 0.4": [90.0]}, costs, "FLOPs")
