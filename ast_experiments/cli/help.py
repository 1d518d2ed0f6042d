"""What `ast-train --help` says. Written here because Hydra composes the config once per group to list its choices."""

from __future__ import annotations

from ast_experiments.config.groups import CONF, GROUPS

TEXT = """\
ast-train: train on fewer samples, and measure what that saves.

  ast-train                                  the quick start: AST on digits, a minute, no download
  ast-train experiment=cifar10_stale         an experiment
  ast-train dataset=cifar10 method.rate=0.2  choices and values by override
  ast-train -m controller.kp=1,3,10          a sweep over values
  ast-train sweep=pi_gains                   a ready sweep
  ast-resume RUN_DIR                         go on with a stopped run

Every value can be overridden: group.setting=value. The files under conf/ say what each means.

  ast-train --cfg job                        the whole config with its values, for the overrides given
  ast-train --info                           how the config was composed
  ast-train --hydra-help                     flags of Hydra, tab completion among them

Choices (group=choice):

"""


def usage() -> str:
    """The text of `--help` with the choices that are there."""
    lines = [f"  {group:13} {', '.join(sorted(f.stem for f in (CONF / group).glob('*.yaml')))}" for group in GROUPS]
    return TEXT + "\n".join(lines)
