"""The text of `ast-train --help`. Hydra's own help is slow: it composes the config once for each group."""

from __future__ import annotations

import shutil
import textwrap

from ast_experiments.config.groups import CONF, GROUPS

TEXT = """\
ast-train: train on fewer samples, and measure what that saves.

Run:
  ast-train                                  the quick start: AST on digits,
                                             about half a minute, no download
  ast-train experiment=cifar10_stale         an experiment
  ast-train dataset=cifar10 method.rate=0.2  choices and values; every setting:
                                             group.setting=value
  ast-train -m controller.kp=1,3,10          a sweep over values
  ast-train -m sweep=pi_gains                a prepared sweep

Then:
  ast-compare outputs/digits                 compare runs: accuracy against cost
  ast-resume RUN_DIR                         continue a run that was stopped
  ast-bench methods=[ast] seeds=3            a study, with baselines at the same
                                             cost
  ast-tune recipe.lr=3e-4..1e-2:log          a search for settings
  ast-doctor dataset=folder dataset.root=DIR
                                             check data, device, disk and time
                                             before a run
  ast-doctor dataset=cifar10 pilot=true      will choosing samples pay here?

Show:
  ast-train --cfg job                        the config that the overrides make
  ast-train --info                           how the config is composed
  ast-train --config-dir DIR                 choices of your own too,
                                             DIR/GROUP/NAME.yaml
  ast-train --hydra-help                     Hydra's help, e.g. on completion
  ast-train --version                        the version

Choices (group=choice; the files in conf/ explain their settings):

"""
INDENT = 16


def usage() -> str:
    """Returns the help text with the choices of each group."""
    width = max(60, shutil.get_terminal_size().columns)
    lines = []
    for group in GROUPS:
        choices = ", ".join(sorted(file.stem for file in (CONF / group).glob("*.yaml")))
        begin = f"  {group}".ljust(INDENT)
        lines += textwrap.wrap(begin + choices, width, subsequent_indent=" " * INDENT, break_on_hyphens=False)
    return TEXT + "\n".join(lines)
