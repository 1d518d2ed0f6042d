"""Batches scaled and in parts, memory that runs out, the end of a session, several processes."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from run_tools import assert_same_run, interrupt_at, resume, run, stable_result, stable_rows, weights
from torch import nn

from ast_experiments.config.compose import load_config
from ast_experiments.core import process
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import ConfigError, DataError, EvalOutOfMemory, Interrupted, OutOfMemory, UserError
from ast_experiments.runs.launcher import run_ranks
from ast_experiments.training import hardware
from ast_experiments.training import stop as stopping
from ast_experiments.training.auto_batch import largest_that_fits
from ast_experiments.training.hardware import Hardware, check_processes, out_of_memory, scaled_batch, worker_count
from ast_experiments.training.loop import Trainer
from ast_experiments.training.step import Stepper
from ast_experiments.training.stop import Stop

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


# --- scaling, processes, workers


@pytest.mark.parametrize(
    ("batch", "scale", "optimizer", "expected"),
    [
        (64, 1.0, "adamw", (64, 1.0)),
        (64, 4.0, "sgd", (256, 4.0)),
        (64, 4.0, "momentum", (256, 4.0)),
        (64, 4.0, "adamw", (256, 2.0)),
        (64, 0.25, "lamb", (16, 0.5)),
        (3, 0.5, "sgd", (2, 2 / 3)),  # the factor is that of the rows there really are
        (1, 0.1, "sgd", (1, 1.0)),
    ],
)
def test_scaled_batch(batch: int, scale: float, optimizer: str, expected: tuple[int, float]) -> None:
    assert scaled_batch(batch, scale, optimizer) == pytest.approx(expected)


def test_a_scaled_run_equals_one_of_that_batch_and_rate(tmp_path: Path) -> None:
    short = ["max_steps=4", "recipe.warmup_epochs=1"]
    scaled = run(tmp_path / "a", [*short, "recipe.lr=0.01", "hardware.batch_scale=2.25"])
    run(tmp_path / "b", [*short, "recipe.lr=0.015", "recipe.batch_size=72"])
    assert scaled["batch"] == {"rows": 72, "at_once": 72, "processes": 1, "lr": pytest.approx(0.015)}
    mine, theirs = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize(
    ("device", "gpus", "processes", "expected"),
    [
        ("cuda", 2, None, 1),
        ("cuda", 2, "all", 2),
        ("cuda", 2, 2, 2),
        ("cuda", 2, 3, "3 need as many GPUs, here are 2; type 2 or all"),
        ("auto", 0, "all", 1),
        ("cpu", 0, 3, 3),
        ("cpu", 2, 3, 3),
    ],
)
def test_check_processes(
    device: str, gpus: int, processes: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    if isinstance(expected, int):
        assert check_processes(device, processes) == expected
    else:
        with pytest.raises(ConfigError, match=expected):
            check_processes(device, processes)


@pytest.mark.parametrize(
    ("workers", "device", "cores", "ranks", "expected"),
    [
        (3, "cuda", 8, 1, 3), (0, "cuda", 8, 1, 0), (None, "cuda", 8, 1, 7), (None, "cuda", 64, 2, 16),
        (None, "cuda", 1, 2, 1), (None, "cuda", 4, 1, 4), (None, "cuda", 8, 2, 4),
        (None, "cpu", 8, 1, 2), (None, "cpu", 1, 1, 1), (5, "cpu", 8, 1, 5),
    ],
)  # fmt: skip
def test_worker_count(
    workers: int | None, device: str, cores: int, ranks: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(hardware.distributed, "size", lambda: ranks)
    assert worker_count(workers, device) == expected


# --- the end of a session


def test_stop_after_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STARTED", time.monotonic() - 3600)
    assert Stop().received is None
    assert Stop(1.1).received is None
    assert Stop(0.9).received == "hardware.max_hours=0.9"


def test_a_warning_is_passed_on_to_who_waits_for_it_when_the_run_is_saved() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with suppress(Interrupted), Stop() as stop:
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGTERM)  # another one is no second
            assert (stop.received, heard) == ("SIGUSR2", [])
            raise Interrupted("saved")
        assert heard == [signal.SIGUSR2]
        with Stop():  # the run had ended anyway
            os.kill(os.getpid(), signal.SIGUSR2)
        assert heard == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_batch_systems_may_repeat_themselves(number: int) -> None:
    with Stop() as stop:
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert stop.received == signal.Signals(number).name
        assert stop.first == number


def test_a_second_ctrl_c_ends_at_once_but_not_a_bounce(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == "SIGINT"
        monkeypatch.setattr(stopping, "AGAIN_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_whose_time_is_up_is_saved_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer._step

    def late(self: Trainer, *args: Any) -> None:
        if self.progress.step == 6:
            monkeypatch.setattr(process, "STARTED", process.STARTED - 9 * 3600)
        step(self, *args)

    run(tmp_path / "whole", [])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", late)
        with pytest.raises(Interrupted, match=r"hardware.max_hours=8.5; resume with: ast-resume"):
            run(tmp_path / "stopped", ["hardware.max_hours=8.5"])
    state = json.loads((tmp_path / "stopped" / "result.json").read_text())
    assert (state["status"], state["steps"]) == ("interrupted", 7)
    with pytest.raises(Interrupted):  # time is still up
        resume(tmp_path / "stopped")
    resume(tmp_path / "stopped", ["hardware.max_hours=null"])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize(
    ("change", "message"),
    [("recipe.lr=1.0", "changes the results of the run; type ast-train to start another"), ("lr", "expected key=value"),
     ("hardware.hours=1", "hardware.hours: no such setting")],
)  # fmt: skip
def test_a_resumed_run_takes_no_change_of_its_figures(tmp_path: Path, change: str, message: str) -> None:
    run(tmp_path, ["max_steps=1"])
    with pytest.raises(ConfigError, match=message):
        resume(tmp_path, [change])


# --- memory


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("at_once", [1, 2, 3, 6, 10, 16])
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_add_up_to_the_step_of_the_whole_batch(at_once: int, weighted: bool) -> None:
    rng = torch.Generator().manual_seed(1)
    images, labels = torch.randn(10, 1, 2, 2, generator=rng), torch.randint(0, 3, (10,), generator=rng)
    batch = Batch(torch.arange(10), images, labels, torch.rand(10, generator=rng) if weighted else None)
    made = []
    for rows in (None, at_once):
        model = copy.deepcopy(net())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        stepper = Stepper(model, optimizer, Hardware(torch.device("cpu"), torch.float32, False), clip_grad=0.3)
        stepper.at_once = rows
        outputs, weights = stepper.train(batch, lambda batch, outputs: batch.weights)
        made.append((outputs, weights, [p.detach().clone() for p in model.parameters()]))
    (one, one_weights, one_net), (other, other_weights, other_net) = made
    torch.testing.assert_close(one.losses, other.losses)
    torch.testing.assert_close(one.logits, other.logits)
    assert (one_weights is None) == (other_weights is None) == (not weighted)
    if one_weights is not None and other_weights is not None:
        assert torch.equal(one_weights, other_weights)
    torch.testing.assert_close(one_net, other_net)


@pytest.mark.parametrize(
    ("room", "most", "tried"),
    [(100, 32, [32]), (31, 32, [32, 16]), (5, 32, [32, 16, 8, 4]), (1, 9, [9, 5, 3, 2, 1]), (0, 2, [2, 1])],
)
def test_the_largest_batch_that_fits(room: int, most: int, tried: list[int]) -> None:
    asked: list[int] = []

    def attempt(rows: int) -> None:
        asked.append(rows)
        if rows > room:
            raise FULL

    if room:
        assert largest_that_fits(attempt, most) == tried[-1]
    else:
        with pytest.raises(OutOfMemory, match="not even one row"):
            largest_that_fits(attempt, most)
    assert asked == tried


def test_other_errors_of_an_attempt_are_not_hidden() -> None:
    def attempt(rows: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        largest_that_fits(attempt, 4)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (FULL, True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (EvalOutOfMemory(7), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)  # fmt: skip
def test_out_of_memory(error: Exception, is_one: bool) -> None:
    assert out_of_memory(error) is is_one


def small_device(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A device on which so many rows fit at once in training, and ten times as many in validation."""

    def limited(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > (room if module.training else 10 * room):
            raise FULL

    init = Stepper.__init__

    def watched(self: Stepper, model: nn.Module, *args: Any, **settings: Any) -> None:
        init(self, model, *args, **settings)
        model.register_forward_pre_hook(limited)

    monkeypatch.setattr(Stepper, "__init__", watched)


def test_out_of_memory_is_told_and_the_run_goes_on_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        small_device(patch, 20)
        with pytest.raises(OutOfMemory) as raised:
            run(tmp_path, ["recipe.eval_batch_size=100"])
        told = f"out of memory with recipe.batch_size=32; resume with: ast-resume {tmp_path} hardware.auto_batch=true"
        assert str(raised.value) == f"{told}, or start a new run with recipe.batch_size=16"
        result = json.loads((tmp_path / "result.json").read_text())
        assert (result["status"], result["error"]) == ("failed", f"OutOfMemory: {raised.value}")
        resume(tmp_path, ["hardware.auto_batch=true", "tracking.console=true"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["epochs"]) == ("finished", 4)
    assert result["batch_split_from_step"] == 0  # the first step had no room
    assert result["batch"] | {"lr": 0} == {"rows": 32, "at_once": 16, "processes": 1, "lr": 0}
    assert "batches of 32 rows 16 rows at once, with gradients added up" in capsys.readouterr().out


def test_out_of_memory_in_validation_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_device(monkeypatch, 32)
    with pytest.raises(
        OutOfMemory, match=r"with recipe.eval_batch_size=350; .* new run with recipe.eval_batch_size=175"
    ):
        run(tmp_path, ["recipe.eval_batch_size=350", "recipe.epochs=1"])
    resume(tmp_path, ["hardware.auto_batch=true"])


def test_a_killed_worker_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer._step

    def killing(self: Trainer, *args: Any) -> None:
        if self.progress.step == 3:
            (worker,) = self.train._pool._iterator._workers  # pyright: ignore
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
        step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", killing)
        with pytest.raises(UserError, match=r"^DataLoader worker .* ast-resume .* hardware.workers=1"):
            run(tmp_path, ["hardware.data_on_device=false", "hardware.workers=1"])
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"
    resume(tmp_path, ["hardware.workers=0"])
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "finished"


def test_a_batch_that_fits_is_trained_as_it_is(tmp_path: Path) -> None:
    run(tmp_path / "a", ["max_steps=5"])
    result = run(tmp_path / "b", ["max_steps=5", "hardware.auto_batch=true"])
    assert "batch_split_from_step" not in result
    assert_same_run(tmp_path / "a", tmp_path / "b")


# --- several processes


@pytest.mark.slow
def test_processes_are_started_stopped_and_resumed(tmp_path: Path) -> None:
    two = ["hardware.processes=2", "dataset.train_rows=600", "hardware.threads=1"]
    folder = tmp_path / "two"
    with pytest.raises(Interrupted, match=r"hardware.max_hours=1e-06; resume with: ast-resume"):
        run(folder, [*two, "hardware.max_hours=1e-6"])
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    resume(folder, ["hardware.max_hours=null"])
    result = stable_result(folder)
    assert (result["status"], result["ranks"], result["epochs"]) == ("finished", 2, 4)
    one = run(tmp_path / "one", ["dataset.train_rows=600"])
    assert result["rows_trained"] == one["rows_trained"]
    assert len(stable_rows(folder)) == len(stable_rows(tmp_path / "one"))


@pytest.mark.slow
def test_an_error_of_one_process_is_raised(tmp_path: Path) -> None:
    config = load_config(["dataset=cifar10", f"dataset.root={tmp_path / 'nowhere'}", "dataset.download=false"])
    with pytest.raises(DataError, match="nowhere"):
        run_ranks(config, tmp_path, [], 2)


def test_a_resumed_run_says_from_which_step_its_batches_were_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, ["recipe.epochs=2", "max_steps=5"])
    whole = json.loads((tmp_path / "result.json").read_text())
    interrupt_at(monkeypatch, {3})
    with pytest.raises(Interrupted):
        run(tmp_path / "a", [])
    with monkeypatch.context() as patch:
        small_device(patch, 20)
        resume(tmp_path / "a", ["hardware.auto_batch=true"])
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert "batch_split_from_step" not in whole
    assert (result["status"], result["batch_split_from_step"], result["batch"]["at_once"]) == ("finished", 4, 16)
