"""Two torchruns as two nodes on this machine: a node or a process dies, the run goes on from its checkpoint."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from run_tools import assert_same_run

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the ranks in /proc"),
]

RUN = [
    "dataset.train_rows=320",
    "dataset.val_rows=100",
    "recipe.epochs=20",
    "recipe.batch_size=64",
    "tracking=jsonl",
    "tracking.report=false",
    "checkpoint_every_s=0.1",
    "hardware.threads=1",
]
ELASTIC = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it the first node tells a node that comes back no address: it has told it once, in the first round."""
KILLS = int(os.environ.get("AST_NODE_KILLS", "2"))
BOUND_S = float(os.environ.get("AST_NODE_BOUND_S", "120"))
LOST = "another of the 4 processes has gone or no longer answers; the run is saved up to its last checkpoint"


class Nodes:
    """Two torchruns with two ranks each, which meet at one address."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.options = folder, options
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.agents = [self.start(number) for number in range(2)]

    def start(self, number: int) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2",
            "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{self.port}", "--rdzv-id=nodes",
            f"--rdzv-conf=is_host={number == 0}", *self.options,
            "-m", "ast_experiments.cli.train", *RUN, f"hydra.run.dir={self.folder}",
        ]  # fmt: skip
        with self.said(number).open("wb") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | ELASTIC)

    def said(self, number: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}.node{number}")

    def kill(self, number: int) -> None:
        """Ends a node as a power cut does: first torchrun, which could start the ranks again."""
        agent = self.agents[number]
        ranks = children(agent.pid)
        for pid in (agent.pid, *ranks):
            os.kill(pid, signal.SIGKILL)
        agent.wait()

    def kill_rank(self, number: int, which: int) -> None:
        """Ends one process of a node, as a lack of memory does; torchrun then ends the node."""
        os.kill(children(self.agents[number].pid)[which], signal.SIGKILL)

    def wait(self, *numbers: int, seconds: float = BOUND_S) -> list[int]:
        deadline = time.monotonic() + seconds
        return [self.agents[number].wait(max(1.0, deadline - time.monotonic())) for number in numbers]


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@contextmanager
def nodes(folder: Path, *options: str) -> Iterator[Nodes]:
    both = Nodes(folder, *options)
    try:
        yield both
    finally:
        for number, agent in enumerate(both.agents):
            if agent.poll() is None:
                both.kill(number)


def wait_for(path: Path, size: float, both: Nodes) -> None:
    deadline = time.monotonic() + 600
    while not (path.exists() and path.stat().st_size >= size) and time.monotonic() < deadline:
        assert all(agent.poll() is None for agent in both.agents)
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two nodes that nothing happened to."""
    folder = tmp_path_factory.mktemp("nodes") / "whole"
    with nodes(folder) as both:
        assert both.wait(0, 1, seconds=900) == [0, 0], both.said(0).read_text()
    assert json.loads((folder / "result.json").read_text())["ranks"] == 4
    return folder


@pytest.mark.parametrize("number", range(KILLS))
def test_the_other_node_ends_with_one_line_and_the_run_resumes(tmp_path: Path, whole: Path, number: int) -> None:
    rng = random.Random(number)
    folder, dead, whole_node = tmp_path / "broken", number % 2, number % 3 < 2
    with nodes(folder) as both:
        wait_for(folder / "checkpoints/last.pt", 1, both)
        wait_for(folder / "metrics.jsonl", rng.uniform(0.1, 0.6) * (whole / "metrics.jsonl").stat().st_size, both)
        begun = time.monotonic()
        if whole_node:
            both.kill(dead)
        else:
            both.kill_rank(dead, rng.randrange(2))
        assert all(both.wait(0, 1))
        victim = "the node" if whole_node else "one process of node"
        print(f"kill {number}: {victim} {dead}; the other ended after {time.monotonic() - begun:.1f} s", flush=True)
        said = both.said(1 - dead).read_text()
        # The summary on the standard output names the error too, as after any failure.
        assert len([line for line in said.splitlines() if line.startswith(f"error: {LOST}")]) == 1, said
    assert json.loads((folder / "result.json").read_text())["status"] in ("failed", "running")
    with nodes(folder) as both:
        assert both.wait(0, 1, seconds=900) == [0, 0], both.said(0).read_text()
    assert_same_run(whole, folder)


def test_elastic_restart_goes_on_from_the_checkpoint(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "broken"
    with nodes(folder, "--max-restarts=3") as both:
        wait_for(folder / "checkpoints/last.pt", 1, both)
        both.kill(1)
        time.sleep(40)  # until the rendezvous has noticed: a node that comes back sooner finds its dead self in it
        both.agents[1] = both.start(1)
        assert both.wait(0, 1, seconds=900) == [0, 0], both.said(0).read_text()
    assert json.loads((folder / "result.json").read_text())["resumed"] >= 1
    assert_same_run(whole, folder)
