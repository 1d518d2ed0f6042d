"""The step log: what it holds does not depend on when it was written."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from ast_experiments.training.step_log import StepLog, check_loss

AVERAGED = frozenset({"control/gate_share", "control/fallback"})
EPOCHS, STEPS = 3, 11


def records(tensors: bool = False) -> list[dict[str, Any]]:
    """Three epochs of eleven steps; the first is dense, the others are under control."""
    draw = random.Random(0)
    made: list[dict[str, Any]] = []
    for epoch in range(EPOCHS):
        for index in range(STEPS):
            step = epoch * STEPS + index + 1
            trained = draw.randint(1, 8)
            record: dict[str, Any] = {
                "step": step,
                "epoch": step / STEPS,
                "progress": step / STEPS / EPOCHS,
                "last": index == STEPS - 1,
                "time": 0.25 * step,
                "offered": 10,
                "trained": trained,
                "loss_sum": float(trained) / 4,
                "train/lr": 1.0 / step,
                "control/target": 0.5,
            }
            if epoch:
                record["control/threshold"] = float(step)
                record["control/gate_share"] = draw.randint(0, 4) / 4
                record["control/fallback"] = float(index == 0)
            made.append(record)
    if tensors:
        for record in made:
            record["loss_sum"] = torch.tensor(record["loss_sum"], dtype=torch.float32)
            record["trained"] = torch.tensor(record["trained"])
            if "control/threshold" in record:
                record["control/threshold"] = torch.tensor(record["control/threshold"], dtype=torch.float64)
                record["control/fallback"] = torch.tensor(record["control/fallback"] > 0)
    return made


def write(made: list[dict[str, Any]], every: int, flush_after: set[int]) -> tuple[list[Any], list[Any], StepLog]:
    """All rows and the entries of each epoch; flushed after these steps and at the end of every epoch."""
    log, rows, epochs = StepLog(every, AVERAGED), [], []
    for record in made:
        log.add(record)
        if record["step"] in flush_after or record["last"]:
            rows += log.flush()
        if record["last"]:
            epochs.append(log.end_epoch())
    return rows, epochs, log


@pytest.mark.parametrize("every", [1, 2, 4, 7, 100])
@pytest.mark.parametrize("tensors", [False, True])
def test_rows_do_not_depend_on_flushes(every: int, tensors: bool) -> None:
    seldom = write(records(), every, set())
    for flush_after in (set(range(1, 34)), {1, 2, 13, 20}, {5}, set(range(0, 34, 3))):
        often = write(records(tensors), every, flush_after)
        assert often[:2] == seldom[:2]
        assert (often[2].trained, often[2].offered) == (seldom[2].trained, seldom[2].offered)


@pytest.mark.parametrize(
    ("every", "ends"),
    [
        (1, list(range(1, 34))),
        (4, [4, 8, 11, 12, 16, 20, 22, 24, 28, 32, 33]),
        (11, [11, 22, 33]),
        (100, [11, 22, 33]),
    ],
)
def test_a_row_covers_so_many_steps_and_never_two_epochs(every: int, ends: list[int]) -> None:
    rows, _, _ = write(records(), every, set())
    assert [row["step"] for row in rows] == ends


def test_values_of_a_folded_row() -> None:
    made = records()
    rows, _, _ = write(made, 4, set())
    begin = 0
    for row in rows:
        part = [r for r in made if begin < r["step"] <= row["step"]]
        begin = row["step"]
        trained = sum(r["trained"] for r in part)
        assert row["train/loss"] == pytest.approx(sum(r["loss_sum"] for r in part) / trained)
        assert row["control/activation_rate"] == pytest.approx(trained / (10 * len(part)))
        assert row["samples_seen"] == sum(r["trained"] for r in made if r["step"] <= begin)
        assert row["samples_offered"] == 10 * begin
        for key in ("train/lr", "control/target", "epoch", "progress"):
            assert row[key] == part[-1][key]
        if "control/threshold" in part[-1]:
            assert row["control/threshold"] == part[-1]["control/threshold"]
            assert row["control/gate_share"] == sum(r["control/gate_share"] for r in part) / len(part)
        else:
            assert "control/threshold" not in row


def test_throughput_is_of_trained_rows_and_begins_anew_with_each_epoch() -> None:
    made = records()
    rows, _, _ = write(made, 1, set())
    for row, record in zip(rows, made, strict=True):
        first = record["step"] % STEPS == 1
        assert ("train/throughput" in row) is not first
        if not first:
            assert row["train/throughput"] == pytest.approx(record["trained"] / 0.25)


def test_picked_rows_make_the_rate_where_some_were_picked_before() -> None:
    log = StepLog(1)
    base = {"epoch": 0.5, "progress": 0.5, "last": 0, "time": 0.0, "loss_sum": 8.0, "trained": 8}
    log.add(base | {"step": 1, "offered": 20, "picked": 5})
    log.add(base | {"step": 2, "offered": 0, "picked": 0})
    first, second = log.flush()
    assert first["control/activation_rate"] == 0.25
    assert "control/activation_rate" not in second  # nothing was offered
    assert second["train/loss"] == 1.0


def test_signals_of_any_name_pass_through() -> None:
    log = StepLog(2, frozenset({"mine/kept"}))
    base = {"epoch": 0.5, "progress": 0.5, "last": 0, "time": 0.0, "loss_sum": 8.0, "trained": 8, "offered": 10}
    log.add(base | {"step": 1, "mine/margin": torch.tensor(0.25), "mine/kept": 1.0, "mine/seldom": 3.0})
    log.add(base | {"step": 2, "mine/margin": 0.75, "mine/kept": torch.tensor(False), "offered": 30})
    (row,) = log.flush()
    assert (row["mine/margin"], row["mine/kept"], row["mine/seldom"]) == (0.75, 0.5, 3.0)
    assert not row.keys() & {"trained", "offered", "loss_sum", "picked", "last", "time"}
    assert log.end_epoch()["epoch/kept_share"] == 0.25


def test_sums_of_an_epoch() -> None:
    made = records()
    _, epochs, log = write(made, 4, set())
    for number, entries in enumerate(epochs):
        part = made[number * STEPS : (number + 1) * STEPS]
        trained = sum(r["trained"] for r in part)
        assert entries["epoch/rows_trained"] == trained
        assert entries["epoch/rows_offered"] == 10 * STEPS
        assert entries["epoch/activation_rate"] == trained / (10 * STEPS)
        assert entries["epoch/train_loss"] == pytest.approx(sum(r["loss_sum"] for r in part) / trained)
        assert ("epoch/fallback_share" in entries) is (number > 0)
        if number:
            assert entries["epoch/fallback_share"] == pytest.approx(1 / STEPS)
            assert entries["epoch/gate_share"] == pytest.approx(sum(r["control/gate_share"] for r in part) / STEPS)
    assert log.epoch == {}


def test_rows_offered_after_the_last_step_count() -> None:
    log = StepLog(1)
    log.add(records()[0])
    log.flush()
    log.offer(30)
    assert log.offered == 40
    assert log.end_epoch()["epoch/rows_offered"] == 40


def test_an_epoch_without_a_step() -> None:
    log = StepLog(1)
    assert log.flush() == []
    log.offer(7)
    assert log.end_epoch() == {"epoch/rows_trained": 0, "epoch/rows_offered": 7, "epoch/activation_rate": 0.0}


@pytest.mark.parametrize("stop", [1, 5, 10, 15, 24, 33])
@pytest.mark.parametrize("every", [1, 4, 7])
def test_the_state_goes_on_in_the_middle_of_a_row(stop: int, every: int) -> None:
    made = records(tensors=True)
    whole, whole_epochs, _ = write(made, every, set())
    first, rows, epochs = StepLog(every, AVERAGED), [], []
    log = first
    for record in made:
        log.add(record)
        if record["step"] == stop:
            rows += log.flush()
            state = torch_round_trip(log.state_dict())
            log = StepLog(every, AVERAGED)
            log.load_state_dict(state)
        if record["last"]:
            rows += log.flush()
            epochs.append(log.end_epoch())
    assert without_throughput(rows) == without_throughput(whole)
    assert epochs == whole_epochs


def test_the_state_is_a_copy() -> None:
    log = StepLog(4)
    log.add(records()[0])
    log.flush()
    state = log.state_dict()
    before = {**state, "open": [dict(r) for r in state["open"]], "epoch": dict(state["epoch"])}
    log.add(records()[1])
    log.flush()
    assert state == before


def test_len_counts_what_waits() -> None:
    log = StepLog(4)
    log.add(records()[0])
    assert len(log) == 1
    log.flush()
    assert len(log) == 0


@pytest.mark.parametrize(
    ("losses", "step"),
    [([0.1, 2.0], None), ([], None), ([0.1, float("nan"), float("inf")], 2), ([float("-inf")], 1), ([None, 1.0], None)],
)
def test_check_loss_names_the_first_step(losses: list[float | None], step: int | None) -> None:
    rows: list[dict[str, float]] = [
        {"step": number, **({} if loss is None else {"train/loss": loss})} for number, loss in enumerate(losses, 1)
    ]
    assert check_loss(rows) == step


def without_throughput(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "train/throughput"} for row in rows]


def torch_round_trip(state: dict[str, Any]) -> dict[str, Any]:
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
