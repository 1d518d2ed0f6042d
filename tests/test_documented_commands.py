"""Every command of the documents is one that its program accepts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ast_experiments.cli.bench import planned
from ast_experiments.cli.tune import asked
from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config, split_jobs
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.study.arms import arm_config
from ast_experiments.experiments.tuning.space import check_space, parse_space

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BEGIN = re.compile(r"^(?:\$ )?(?:uv run (?:--extra \w+ )*)?(ast-(?:train|bench|tune|doctor))\b(.*)$")
PLACES = {"FOLDER": ".", "RUN_DIR": ".", "DIR": ".", "HOST": "localhost", "NEW": "new", "N": "2"}
"""Words of the documents that stand for the user's own, and something in their place."""
OWN = ("hydra", "method=my_", "method=easiest", "significance=my_", "-cd", "--config-dir")
"""Beginnings of what depends on a launcher that is installed, or on the user's own files."""
FLAGS = {"--cfg": 1, "-p": 1, "--package": 1, "--info": 1, "-m": 0, "--help": 0, "--quick": 0, "--version": 0, "-sc": 1}
NAMES = {"method": "ast", "experiment": "quickstart"}
SHOWN_AS_WRONG = (
    "controller=quantile controller.kp=3",
    "method.rat=0.2",
    "method.rate=1.5",
    "method=random method.exploration=0.1",
)


def commands() -> Iterator[tuple[str, str, str]]:
    """Yields page, program and arguments of each command in a code block or in backticks."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:bash|text)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        blocks += ["\n".join(re.findall(r"^    (\S.*)$", text, re.MULTILINE))]
        blocks += [re.sub(r"\s+", " ", span) for span in re.findall(r"`((?:uv run )?ast-[^`]+)`", text)]
        for line in re.sub(r"\\\n\s*", "", "\n".join(blocks)).splitlines():
            if found := BEGIN.match(line.strip()):
                program, rest = found.groups()
                rest = re.split(r"\s{3,}\S|\s#", rest.rstrip())[0] if "  " in rest or " #" in rest else rest
                yield page.name, program, rest.strip()


def arguments(rest: str) -> list[str]:
    """Returns the settings of a command line, without flags, dots and what is the user's own."""
    found, words = [], iter(shlex.split(rest))
    for word in words:
        if word in FLAGS:
            for _ in range(FLAGS[word]):
                next(words)
        elif "=" in word.strip("=.") and not word.startswith(OWN):
            key, _, value = word.partition("=")
            found.append(f"{key}={NAMES.get(key, 'resnet18') if value == 'NAME' else PLACES.get(value, value)}")
    return found


def accept(program: str, settings: list[str]) -> None:
    """Checks settings as a program does before it starts."""
    if program == "ast-bench":
        if settings:
            study = planned(
                settings if any(s.startswith("methods=") for s in settings) else ["methods=[ast]", *settings]
            )
            for arm in study[0].study.arms:
                check(arm_config(study[0].study.common, arm))
    elif program == "ast-tune":
        if settings:
            space, common = parse_space(asked(settings)[0].arguments)
            check_space(space, common)
    else:
        jobs = split_jobs(settings)
        for job in (jobs[0], jobs[-1]):
            check(load_config(job))


@pytest.mark.parametrize(("page", "program", "rest"), sorted(set(commands())))
def test_a_command_of_the_documents(
    page: str, program: str, rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if rest in SHOWN_AS_WRONG:
        with pytest.raises(ConfigError):
            accept(program, arguments(rest))
        return
    try:
        accept(
            program,
            [setting for setting in arguments(rest) if setting.partition("=")[0] not in ("jobs", "name", "pilot")],
        )
    except ConfigError as error:
        if "is not available here" not in str(error) and "GPU" not in str(error):
            raise


def test_the_documents_have_commands() -> None:
    programs = [program for _, program, _ in commands()]
    assert {program: programs.count(program) > 2 for program in programs} == dict.fromkeys(
        ("ast-train", "ast-bench", "ast-tune", "ast-doctor"), True
    )
