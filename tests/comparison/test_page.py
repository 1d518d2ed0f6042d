"""ast-compare as it is typed: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from compare_tools import write_arm, write_run
from sample_tools import left

from ast_experiments.cli.compare import main
from ast_experiments.comparison.charts import accuracy_chart, phases_chart, uniform_line
from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.datasets import charts, side_by_side
from ast_experiments.comparison.runs import load

T2 = 4.302653


def study(root: Path, *, metered: bool, dataset: str = "cifar10", noise: float = 0.1) -> Path:
    around = np.array([0, noise, -noise])
    common = {"metered": metered, "dataset": dataset, "rows": True}
    write_arm(root, "dense", list(95 + around), 100, epochs=10, **common)
    write_arm(root, "dense", list(93 + around), 40, epochs=4, tags=["baseline=dense_shorter:ast"], **common)
    write_arm(root, "rs2", list(92 + around), 40, rate=0.4, tags=["baseline=rs2:ast"], **common)
    write_arm(root, "ast", list(94 + around), 40, rate=0.4, **common)
    return root


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["ast-compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_metered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = study(tmp_path / "study<b>", metered=True)
    assert call(monkeypatch, root) == 0
    printed = capsys.readouterr().out
    for text in ("Verdicts at equal joules", "wins", "joules: 60.0 %", "59.4 %", "by nvml", "compare.html"):
        assert text in printed

    html = (root / "compare.html").read_text()
    finding = html[html.index('<div class="box finding">') :].partition("</div>")[0]
    assert "ast beats uniform training: +1.00 [" in finding
    assert " fewer joules (3 seeds)." in finding
    assert finding.partition("<p>")[2].partition("</p>")[0] in printed
    assert not re.search(r'(?:src|href)="(?!#|data:)', html.replace("xlink:href", "href")), "self-contained"
    assert "study<b>" not in html
    assert "FLOPs: counted (validation included); the page of a run leaves validation out" in html
    assert "60.0\u00a0% [60.0, 60.0]" in html
    assert "open: " not in printed, "no interval is open"
    titles = re.findall(r"<figcaption>([^<]*)<", html)
    assert titles == [
        "Accuracy against energy",
        "Energy saved at equal accuracy",
        "Savings against dense training, three kinds",
        *(f"Accuracy against {axis}" for axis in ("time", "compute", "rows trained")),
        *("Joules by phase", "Seconds by phase", "FLOPs by phase"),
    ]

    with open(root / "compare.csv", newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert (rows["ast"]["verdict"], float(rows["ast"]["joules"])) == ("wins", 12_000)
    assert float(rows["ast"]["joules_above_idle"]) == 9_200
    assert float(rows["ast"]["points_above_uniform"]) == pytest.approx(1)
    assert rows["dense epochs=4"]["points_above_uniform"] == ""

    (content,) = json.loads((root / "compare.json").read_text())
    arms = {arm["arm"]: arm for arm in content["arms"]}
    assert content["rules"]["margin"] == 0.2
    assert len(arms["ast"]["runs"]) == 3
    assert arms["ast"]["on_front"] == {"joules": True, "seconds": True, "flops": True, "samples": True}
    assert not arms["rs2"]["on_front"]["joules"]


def test_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study(tmp_path, metered=False)
    assert call(monkeypatch, root) == 0
    written = {name: (root / f"compare.{name}").read_text() for name in ("html", "csv", "json")}
    for text in (capsys.readouterr().out, *written.values()):
        assert "joule" not in text.lower()
    for text in (written["html"], written["json"]):
        assert "Energy was not measured: GPU: no NVIDIA GPU in use." in text
    assert call(monkeypatch, root, "--x", "joules") == 1
    assert "error: --x joules: cifar10: Energy was not measured" in capsys.readouterr().err


def test_by_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path / "a", metered=True)
    study(tmp_path / "b", metered=False, dataset="imagenette")
    assert call(monkeypatch, tmp_path) == 1
    assert "on 2 data sets (cifar10, imagenette); type --by dataset" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path, "--by", "dataset", "--out", tmp_path / "out") == 0
    html = (tmp_path / "out" / "compare.html").read_text()
    shown = re.findall(r"<figcaption>ast: ([^<]*)<", html)
    kinds = ["FLOPs saved", "seconds saved", "joules saved"]
    assert shown == ["activation rate", "threshold", "points above dense", "rows skipped", *kinds]
    assert len(json.loads((tmp_path / "out" / "compare.json").read_text())) == 2

    loaded = load([tmp_path])
    both = [compare(loaded, name) for name in ("cifar10", "imagenette")]
    table = side_by_side(both)
    assert [row[:3] for row in table.rows] == [["ast", "cifar10", "wins"], ["ast", "imagenette", "wins"]]
    assert [row[-1] for row in table.rows] == ["joules: 60.0 % [60.0, 60.0]", "seconds: 60.0 % [60.0, 60.0]"]
    assert charts(both, "kakurenbo", {}) == []


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([0.4, 0.25], ["ast rate=0.4", "ast rate=0.25"]),
        ([1e-05, 0.00016552359856346997], ["ast rate=0.0001655", "ast rate=1e-05"]),
        ([0.123456, 0.123457], ["ast rate=0.123457", "ast rate=0.123456"]),  # nothing else tells them apart
    ],
)
def test_labels_have_four_digits(tmp_path: Path, rates: list[float], said: list[str]) -> None:
    for i, rate in enumerate(rates):
        write_arm(tmp_path, "ast", [90], 50 - i, rate=rate)
    assert sorted(arm.label for arm in compare(load([tmp_path]), "cifar10").arms) == sorted(said)


def test_long_names_and_many_phases_stay_within_a_chart(tmp_path: Path) -> None:
    seconds = {f"phase_number_{i}": 10.0 for i in range(10)}
    for i in range(3):
        write_arm(tmp_path, "a" * 60, [90], 50, rate=0.1 + i / 10, seconds=seconds)
    comparison = compare(load([tmp_path]), "cifar10")
    drawings = [phases_chart(comparison.arms, "seconds"), accuracy_chart(comparison, "seconds")]
    for drawing, names in zip(drawings, (seconds, ["rate=0.1", "rate=0.2", "rate=0.3"]), strict=True):
        assert drawing is not None
        width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)[0])
        places = re.findall(r'x="(-?[\d.]+)" y="(-?[\d.]+)"[^>]*>([^<]+)</text>', drawing)
        for name in names:
            x, y, text = next(place for place in places if place[2].endswith(name.replace("_", " ")))
            assert 0 < float(x) < width - 4 * len(text), "each character takes at least 4 points"
            assert 8 < float(y) < height


def test_uniform_line_and_its_band(tmp_path: Path) -> None:
    found = uniform_line(compare(load([study(tmp_path, metered=True)]), "cifar10", x="seconds").arms, "seconds", 3)
    assert found is not None
    costs, accuracies, half = found
    assert (costs[0], costs[-1]) == pytest.approx((40, 100))
    middle = len(costs) // 2
    assert accuracies[[0, middle, -1]] == pytest.approx([93, 94, 95])  # rs2 lies below; half-way in the logarithm
    assert half[middle] == pytest.approx(T2 * 0.1 / 3**0.5, rel=1e-5)


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    bad = {
        "unfinished": {"status": "running"},
        "stopped": {"status": "interrupted"},
        "failed": {"status": "failed"},
        "blank": {"final_accuracy": "high"},
        "seedless": {"seed": None},
    }
    for seed, (name, changes) in enumerate(bad.items()):
        path = write_run(tmp_path / "all" / name, method="ast", seed=seed, accuracy=90, cost=40) / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    for name in ("broken", "listed", "bare"):
        write_run(tmp_path / "all" / name, method="ast", seed=9, accuracy=90, cost=40)
    (tmp_path / "all/broken/result.json").write_bytes(b'{"status": \xff')
    (tmp_path / "all/listed/result.json").write_text("[]")
    (tmp_path / "all/bare/result.json").unlink()
    assert call(monkeypatch, "all", "nowhere") == 1
    lines = capsys.readouterr().err.splitlines()
    assert sorted(lines) == sorted(
        [
            "error: nowhere: no run at or below it; skipped",
            "error: all/unfinished: running; skipped",
            "error: all/stopped: interrupted; skipped",
            "error: all/failed: failed; skipped, but counted as failed",
            "error: all/blank: result.json lacks dataset, method, seed or final_accuracy; skipped",
            "error: all/seedless: result.json lacks dataset, method, seed or final_accuracy; skipped",
            "error: all/broken: result.json is not a JSON object; skipped",
            "error: all/listed: result.json is not a JSON object; skipped",
            "error: all/bare: no result.json; skipped",
            "error: no finished run at or below all, nowhere; type ast-compare outputs/DATASET",
        ]
    )

    odd = write_run(tmp_path / "all" / "odd", method="ast", seed=10, accuracy=90, cost=40)
    kept = json.loads((odd / "result.json").read_text())
    strange = {"tags": 5, "hardware": "fast", "energy": [], "seconds": None, "flops": {"train": "much"}, "versions": 3}
    (odd / "result.json").write_text(json.dumps(kept | strange))
    (odd / "config.yaml").write_text("a: [")
    (odd / "metrics.jsonl").write_text('{"kind": "epoch", "progress": "half"}\nnonsense\n[1]\n')
    assert call(monkeypatch, "all", "--by", "dataset", "--out", "out") == 0
    printed = capsys.readouterr()
    assert "all/odd: config.yaml is missing or unreadable; settings are taken from result.json" in printed.out
    assert "not comparable" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("arguments", [("--margin", "0"), ("--margin", "nan"), ("--tolerance", "1")])
def test_options(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ".", *arguments) == 2
    assert f"error: {' '.join(arguments)}: expected" in capsys.readouterr().err


def test_a_bad_place_is_told_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arm(study := tmp_path / "study", "dense", [90], 10)
    (tmp_path / "file").touch()
    assert call(monkeypatch, study, "--out", tmp_path / "file") == 1
    printed = capsys.readouterr()
    assert printed.err.endswith("file: is not writable (File exists); type --out DIR\n")
    assert printed.out == ""


def test_copies_count_once(tmp_path: Path) -> None:
    for name in ("here", "there"):
        write_run(tmp_path / name, method="ast", seed=0, accuracy=90, cost=40, run_id="abc")
    found = load([tmp_path, tmp_path / "here"])
    assert len(found.runs) == 1
    assert sum("a copy of" in note for note in found.notes) == 1


def first_classes(html: str) -> list[str]:
    """The first class of each table of samples; `left` names it after the run."""
    pair = html[html.index('<div class="pair">') :]
    assert pair.count("<figcaption>Activation rate by class") == 2
    return re.findall(r"<td>(\w+-\d a)</td>", pair)


def test_samples_of_two_methods_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study(tmp_path, metered=False)
    for run in ("dense0-0", "rs20-1", "ast0-0"):  # of rs2 the second run: the first one has no table
        left(root / run, np.arange(30) % 3, np.arange(30) % 5, [f"{run} a", "b", "c"])
    page = root / "compare.html"
    assert call(monkeypatch, root) == 0
    assert first_classes(page.read_text()) == ["dense0-0 a", "ast0-0 a"]
    (content,) = json.loads((root / "compare.json").read_text())
    number = {arm["method"]: str(arm["number"]) for arm in content["arms"]}
    assert call(monkeypatch, root, "--samples", number["ast"], number["rs2"]) == 0
    assert first_classes(page.read_text()) == ["ast0-0 a", "rs20-1 a"]
    assert '<p class="quiet">seed 1</p>' in page.read_text()
    write_run(root / "infobatch", method="infobatch", seed=0, accuracy=90, cost=40)
    left(root / "infobatch", np.arange(30) % 3, np.arange(30) % 5, ["infobatch-0 a", "b", "c"])
    assert call(monkeypatch, root) == 0
    assert first_classes(page.read_text()) == ["ast0-0 a", "infobatch-0 a"]
    before = page.read_text()
    capsys.readouterr()
    assert call(monkeypatch, root, "--samples", "1", "99") == 1
    assert "--samples 99: cifar10 has no arm of this number with a table of samples; arms with one: " in (
        capsys.readouterr().err
    )
    assert call(monkeypatch, root, "--samples", "1", "1") == 2
    assert "--samples 1 1: expected two arms; type e.g. --samples 1 2" in capsys.readouterr().err
    assert page.read_text() == before
