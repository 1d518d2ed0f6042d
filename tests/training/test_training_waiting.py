"""Nothing in a step reads back from the device: seen on a CPU, where such reads are operations like others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tools import run
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ast_experiments.data.augment import Crops
from ast_experiments.training.run import Run

LAW = ["controller=sundew_two_stage", "controller.low=0.01", "controller.start=2.0"]
METHODS = {
    "dense": ["method=dense"],
    "random": ["method=random"],
    "rs2": ["method=rs2"],
    "infobatch": ["method=infobatch"],
    "stale": [],
    "stale, proportional, reweighted": ["method.pick=proportional", "method.reweight=true"],
    "stale, published law": ["controller=sundew_report", "significance=loss_intensity"],
    "masked": ["method.scoring=masked", *LAW],
    "masked, with a fallback": ["method.scoring=masked", "controller=sundew_comparison", "method.rate=0.1"],
    "clipped, averaged": ["recipe.clip_grad=1", "recipe.ema_decay=0.9"],
}
READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique", "aten.equal")


class NoReads(TorchDispatchMode):
    """While inside, what would wait for a GPU is an error: reads, and masks as indices."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(func)
        assert not name.startswith(READS), name
        if name.startswith(("aten.index.", "aten.index_put")):
            assert all(each is None or each.dtype != torch.bool for each in args[1]), f"{name} by a mask"
        return func(*args, **(kwargs or {}))


def strict(
    function: Callable[..., Any],
    when: Callable[[Any], bool] = lambda owner: True,
    watch: Callable[[], AbstractContextManager[Any]] = NoReads,
) -> Callable[..., Any]:
    """The function, run inside `watch`: where reading back is an error."""

    def inside(owner: Any, *args: Any) -> Any:
        with watch() if when(owner) else nullcontext():
            return function(owner, *args)

    return inside


@pytest.mark.parametrize("overrides", METHODS.values(), ids=METHODS.keys())
def test_a_step_reads_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    monkeypatch.setattr(Run, "_step", strict(Run._step, lambda run: run.at.step > 0))
    monkeypatch.setattr(Crops, "make", strict(Crops.make))
    assert run(tmp_path, ["hardware.device=cpu", *overrides])["status"] == "finished"


@pytest.mark.parametrize(
    "read",
    [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool(x.any())],
)
def test_reads_are_seen(read: Callable[[Tensor], Any]) -> None:
    with pytest.raises(AssertionError), NoReads():
        read(torch.ones(3))
