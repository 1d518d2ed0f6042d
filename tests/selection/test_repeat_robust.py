"""AST draws more rows uniformly where rows repeat others."""

from dataclasses import replace

import numpy as np
import pytest
import selection_tools as tools

from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.selector import Selector
from ast_experiments.selection.significance.loss import loss


def begun(share, **settings):
    return Selector(AST(PI(), loss, **settings), replace(tools.context(), repeated_share=lambda: share))


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0.3), (0.1, 0.3), (0.2, 0.5), (0.4, 1.0), (0.8, 1.0)])
def test_the_uniform_share_grows_with_the_repeated_rows(share, drawn):
    facts = begun(share).facts()
    assert (facts["repeated_share"], facts["uniform_share"]) == (share, pytest.approx(drawn))


def test_with_many_repeats_the_losses_are_not_followed():
    shares = []
    for share in (0.0, 0.8):
        selector = begun(share)
        for epoch in range(6):
            plan = selector.plan(epoch, 0.4)
            for ids in tools.chunks(plan):
                selector.observe(tools.batch_of(ids), tools.outputs_of(ids / 1000))
            selector.end_epoch(tools.no_score)
        shares.append(np.mean(plan.ids >= 600))
    assert shares[0] > 0.7
    assert shares[1] == pytest.approx(0.4, abs=0.1)


def test_without_it_nothing_is_counted():
    def refuse():
        raise AssertionError("nothing was to be counted")

    selector = Selector(AST(PI(), loss, repeat_robust=False), replace(tools.context(), repeated_share=refuse))
    assert "repeated_share" not in selector.facts()
