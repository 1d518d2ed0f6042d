"""Makes reads back from the device an error, on a CPU too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

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
