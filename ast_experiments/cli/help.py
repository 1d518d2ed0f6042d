"""The text of `ast-train --help`. Hydra's own help is slow: it composes the config once for each group."""

from __future__ import annotations

from ast_experiments.config.groups import CONF, GROUPS

TEXT = """\
ast-train: train on fewer samples, and measure what that saves.

  ast-train                                  run the quick start: AST on digits, a minute, no download
  ast-train experiment=cifar10_stale         run an experiment
  ast-train dataset=cifar10 method.rate=0.2  select choices and set values
  ast-train -m controller.kp=1,3,10          run a sweep over values
  ast-train sweep=pi_gains                   run a prepared sweep
  ast-resume RUN_DIR                         continue a run that was stopped

Every value can be set: group.setting=value. The files in conf/ explain each of them.

  ast-train --cfg job                        show the config that the overrides make
  ast-train --info                           show how the config is composed
  ast-train --config-dir DIR                 add your own choices, DIR/GROUP/NAME.yaml
  ast-train --hydra-help                     show Hydra's help, e.g. on tab completion

Choices (group=choice):

"""


def usage() -> str:
    """Returns the help text with the choices of each group."""
    lines = [f"  {group:13} {', '.join(sorted(f.stem for f in (CONF / group).glob('*.yaml')))}" for group in GROUPS]
    return TEXT + "\n".join(lines)
