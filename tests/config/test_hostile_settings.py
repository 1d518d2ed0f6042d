"""Settings that hang, pass the checks and fail later, or get a message that misleads: each is one line at once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ast_experiments.cli import bench, resume, tune
from ast_experiments.cli.bench import planned
from ast_experiments.cli.main import guarded, parser_of
from ast_experiments.cli.train import _parser, _search
from ast_experiments.config.compose import Source
from ast_experiments.config.hydra_app import show
from ast_experiments.config.preflight import preflight
from ast_experiments.core.errors import ConfigError, DataError
from ast_experiments.experiments.directory import check_name
from ast_experiments.experiments.study.arms import parse_methods
from ast_experiments.runs.resume import _parsed

SINGLE = {
    "hardware.threads=99999999999": "hardware.threads: 99999999999 is wrong; must be at most",
    "hardware.processes=99999999999": "hardware.processes: 99999999999 is wrong; type a number up to 1024",
    "hardware.processes=true": "hardware.processes: True is wrong",
    "recipe.epochs=99999999999": "recipe.epochs: 99999999999 is wrong",
    "recipe.batch_size=99999999999": "recipe.batch_size: 99999999999 is wrong",
    "recipe.cutmix=1e-320": "recipe.cutmix: 1e-320 is wrong; type 0 for none, or an alpha from 0.001 to 1000",
    "recipe.mixup=1e30": "recipe.mixup: 1e+30 is wrong",
    "hydra.job_logging.root.level=abc": "hydra.job_logging.root.level: 'abc' is no level; there are: CRITICAL",
    "hydra.job.chdir=true": "hydra.job.chdir: is not supported",
    "~recipe": "~recipe: every run needs a recipe; type recipe=NAME; there are: adamw",
    "~method=ast": "~method: every run needs a method",
    "recipe.lr=${recipe.lr}": "recipe.lr: ",
    "seed=" + "9" * 5000: "...: the number has too many digits",
}
SWEPT = {
    "seed=range(0,3,0)": "seed=range(0,3,0): expected finite numbers and a step other than 0",
    "seed=range(0,99999999)": "seed=range(0,99999999): makes more than 1,000 jobs",
    "seed=shuffle(range(0,99999999))": "makes more than 1,000 jobs",
    "seed=range(0,0)": "lists no values; type seed=A,B,C",
    "recipe.lr=range(0,1,1e-300)": "makes more than 1,000 jobs",
    "recipe=glob(zz*)": "recipe=glob(zz*): matches no choice of recipe; there are: adamw",
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("override", "message"), [*SINGLE.items(), *SWEPT.items()], ids=lambda text: text[:40])
def test_refused_at_once_in_one_line(override: str, message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ConfigError) as refused:
        preflight([override], multirun=override in SWEPT)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert time.monotonic() - begin < 30
    assert os.listdir() == []


def test_the_product_of_lists_is_bounded() -> None:
    seeds = ",".join(map(str, range(40)))
    with pytest.raises(ConfigError, match=r"^seed recipe\.epochs: makes more than 1,000 jobs"):
        preflight([f"seed={seeds}", f"recipe.epochs={seeds}", "recipe=sgd"], multirun=True)


def test_a_glob_is_a_sweep_over_choices() -> None:
    sweep = preflight(["recipe=glob(s*,exclude=speedrun)"], multirun=True)
    assert sweep is not None
    assert sweep.jobs == [["recipe=scratch"], ["recipe=sgd"], ["recipe=small"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"mine\.yaml, line \d: is not valid YAML"),
        ("# @package _global_\ndefaults:\n  - mine\n", "the config files include each other in a circle"),
        ("# @package _global_\nhydra:\n  job:\n    chdir: true\n", "hydra.job.chdir: is not supported"),
        ("- 1\n- 2\n", "."),
    ],
    ids=["broken", "loop", "chdir", "list"],
)
def test_files_of_choices_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        preflight([f"hydra.searchpath=['file://{tmp_path}']", "experiment=mine"], multirun=False)
    assert len(str(refused.value).splitlines()) == 1


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]\n", "x" * 1_000_001], ids=["bomb", "circle", "long"])
def test_a_file_that_grows_beyond_bounds_is_not_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(text)
    (tmp_path / "config.yaml").write_text(text)
    for read in (
        lambda: preflight([_search(tmp_path)], multirun=False),
        lambda: preflight([], multirun=False, source=Source(tmp_path)),
        lambda: show(["--cfg", "job"], Source(tmp_path)),
    ):
        with pytest.raises(DataError, match=r"\.yaml"):
            read()
    with pytest.raises(ConfigError, match=r"mine\.yaml cannot be read"):
        planned([str(file)])


def test_a_pipe_among_choices_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(DataError, match=r"mine\.yaml is no file"):
        preflight([_search(tmp_path)], multirun=False)


@pytest.mark.parametrize("change", ["hardware.max_hours='", "hardware.threads=[", "hardware.threads={a:"])
def test_a_change_of_a_resume_that_is_no_yaml(change: str) -> None:
    with pytest.raises(ConfigError, match="cannot be parsed; expected key=value, with quotes") as refused:
        _parsed([change])
    assert str(refused.value).startswith(change)


@pytest.mark.parametrize("text", ["[ast", "ast]", "[ast,[random]", "[ast:rate_schedule=[0.1,0.2,random"])
def test_a_bracket_is_missing(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a bracket is missing; type e\.g\. methods=\[ast"):
        parse_methods(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/etc/passwd"], "/etc/passwd: expected KEY=VALUE, a .yaml file, or a study's directory"),
        (["methods=[ast]", "seeds=[9999999999999999999999]"], "seeds=.*expected a number"),
        (["methods=[ast]", "seeds=[9223372036854775808]"], "seeds=.*expected a number"),
        (["methods=[ast]", f"name={'x' * 300}"], "has 300 letters, more than 100"),
    ],
    ids=["a file", "many digits", "above int64", "a long name"],
)
def test_studies_that_are_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(arguments)
    assert os.listdir() == []
    assert check_name("x" * 100)


def test_a_study_in_joules_needs_a_meter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        sys, "argv", ["ast-bench", "methods=[random]", "cost=joules", "energy=nominal", "tracking=jsonl", "seeds=1"]
    )
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "cost=joules: nothing measures joules on this machine; type cost=flops" in capsys.readouterr().err
    assert os.listdir() == []


@pytest.mark.parametrize(
    "arguments",
    [["-m", "a=1", "b=2"], ["a=1", "-m", "b=2"], ["a=1", "b=2", "-m"], ["a=1", "--multirun", "b=2"]],
    ids=" ".join,
)
def test_flags_may_stand_anywhere(arguments: list[str]) -> None:
    args = _parser().parse_intermixed_args(arguments)
    assert (args.multirun, args.overrides) == (True, ["a=1", "b=2"])


COMMANDS = {"ast-resume": resume, "ast-bench": bench, "ast-tune": tune}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_one_line_in_every_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "RUN", "--epochs", "5"])
    with pytest.raises(SystemExit) as ended:
        COMMANDS[name].main()
    lines = capsys.readouterr().err.splitlines()
    expected = "error: --epochs: no such flag; settings have no dashes, as in recipe.epochs=5; type "
    assert (ended.value.code, lines) == (2, [f"{expected}{name} --help"])


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ast-resume"])
    with pytest.raises(SystemExit):
        resume.main()
    said = "error: the following arguments are required: RUN_DIR; type ast-resume --help\n"
    assert capsys.readouterr().err == said


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert guarded(lambda: print("é\udcff", flush=True) or 0) == 0
    assert shown.getvalue() == b"\\xe9\\udcff\n"


def test_a_reader_that_is_gone_is_no_error() -> None:
    code = """
import sys
from ast_experiments.cli.main import guarded
def command():
    for _ in range(100_000):
        print("line")
sys.exit(guarded(command))
"""
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.readline()
    started.stdout.close()
    assert started.stderr.read() == b""
    assert started.wait(60) == 1
    assert parser_of("ast-x", "", "").prog == "ast-x"
