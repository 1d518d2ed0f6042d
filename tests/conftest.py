"""Shared by all tests: no W&B server, and a small CIFAR-10 made of noise."""

from __future__ import annotations

import gc
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest_plugins = ["made_runs"]

os.environ.setdefault("WANDB_MODE", "offline")
# Small networks gain nothing from threads, and processes beside each other lose much by them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests in other processes are no neighbours of the runs of this one.
os.environ["AST_MACHINE_DIR"] = tempfile.mkdtemp(prefix="ast-machine-")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests that take minutes unless they are asked for; begins with the files that have slow ones."""
    for item in items:
        if item.get_closest_marker("long") and not os.environ.get("AST_LONG"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; type AST_LONG=1 before pytest"))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spares the garbage collector the modules and tests that stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data sets; skips the test where they are not there."""
    root = os.environ.get("AST_DATA_DIR")
    if not root:
        pytest.skip("AST_DATA_DIR does not name the folder of data sets")
    return Path(root)


@pytest.fixture(scope="session")
def tiny_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 512 + 128 images of noise in CIFAR-10's parquet layout; brightness tells the class."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    root = tmp_path_factory.mktemp("tiny_cifar10")
    rng = np.random.default_rng(0)
    for split, rows in (("train", 512), ("test", 128)):
        labels = rng.integers(0, 10, rows)
        images = []
        for label in labels:
            pixels = np.clip(rng.normal(20 + 22 * label, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"img": images, "label": pa.array(labels, pa.int64())})
        pq.write_table(table, root / f"{split}-00000-of-00001.parquet")
    return root


@pytest.fixture(autouse=True)
def _own_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a launch, which workers inherit through the environment, does not outlive a test."""
    monkeypatch.delenv("AST_EXPERIMENTS_LAUNCH", raising=False)
