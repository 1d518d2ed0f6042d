"""Every command of the documents is one that its program accepts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ast_experiments.cli import compare, resume
from ast_experiments.cli.bench import planned
from ast_experiments.cli.tune import asked
from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config, split_jobs
from ast_experiments.core.errors import ConfigError
from ast_experiments.experiments.study.arms import arm_config
from ast_experiments.experiments.tuning.space import check_space, parse_space

ROOT = Path(__file__).parents[1]
OTHERS = ("README.md", "CONTRIBUTING.md", "outputs/README.md")
PAGES = [*(ROOT / name for name in OTHERS), *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = ("ast-train", "ast-bench", "ast-tune", "ast-doctor")
PROGRAMS = (*SETTINGS, "ast-compare", "ast-resume", "python")
BEGIN = re.compile(rf"^(?:\$ )?(?:pip install uv && )?(?:uv run (?:--extra \w+ )*)?({'|'.join(PROGRAMS)}) (.*)$")
NOT_CHECKED = {
    "torchrun": "needs several processes or machines",
    "uv run wandb": "needs an account of W&B",
    "uv run pytest": "runs this test",
    "uv sync": "changes the environment",
    "uv tool": "changes the environment",
    "uvx": "needs a registry",
    "pip install": "changes the environment",
    "uv run sphinx-build": "run by the check of the documents",
    "uv run ruff": "run by the check of the style",
    "uv run pyright": "run by the check of the types",
    "uv run lint-imports": "run by the check of the layers",
    "git clone": "needs a server",
    "cd ": "needs a clone",
    "source ": "needs an environment",
}
"""Beginnings of commands that no test of this file checks, and why."""
PLACES = {"FOLDER": ".", "RUN_DIR": ".", "DIR": ".", "HOST": "localhost", "NEW": "new", "N": "2"}
"""Words of the documents that stand for the user's own, and something in their place."""
OWN = (
    *("hydra", "-cd", "--config-dir", "method=my_", "significance=my_"),
    *("method=easiest", "controller=frozen", "dataset=parity", "model=mlp", "significance=ambiguity"),
)
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
        blocks += ["\n".join(re.findall(r"^    (\S.*?(?:\\\n.*)*)$", text, re.MULTILINE))]
        blocks += [re.sub(r"\s+", " ", span) for span in re.findall(r"`((?:uv run )?(?:ast-|python )[^`]+)`", text)]
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


def shown() -> Iterator[tuple[str, str]]:
    """Yields page and line of each command in a block that is marked as one of a shell, or begins with a prompt."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                if line.startswith("$ ") or (language == "bash" and re.match(r"[a-z]", line)):
                    yield page.name, line.removeprefix("$ ")


def accept_script(rest: str) -> None:
    """Checks that a script or module of the project exists and knows the flags."""
    words = shlex.split(rest.rstrip("\\"))
    path = ROOT / (words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0])
    text = path.read_text(encoding="utf-8")
    assert [flag for flag in words[1:] if flag.startswith("--") and flag != "--" and f'"{flag}"' not in text] == []


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
    if program == "python":
        if rest.startswith(("scripts/", "-m ast_experiments")):
            accept_script(rest)
        return
    if program not in SETTINGS:
        words = shlex.split(rest)
        words = ["RUN", *words] if words[0].startswith("-") else words  # a mention of a flag
        {"ast-compare": compare, "ast-resume": resume}[program]._parser().parse_intermixed_args(words)
        return
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
    assert {program: programs.count(program) > 2 for program in programs} == dict.fromkeys(PROGRAMS, True)


@pytest.mark.parametrize(("page", "line"), sorted(set(shown())))
def test_a_command_that_is_not_checked_says_why(page: str, line: str) -> None:
    known = (
        BEGIN.match(line)
        or re.match(rf"(uv run )?({'|'.join(PROGRAMS)})$", line)
        or line.startswith(tuple(NOT_CHECKED))
    )
    own = page == "CONTRIBUTING.md" and re.match(r"losses\(|before=|diff |for |if ", line)  # a function of the shell
    assert known or own
