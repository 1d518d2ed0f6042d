"""`ast-doctor` finds what is wrong with a set in which faults were planted."""

from __future__ import annotations

import sys
import types

import image_tools as tools
import pytest

from ast_experiments.cli.doctor import command as doctor
from ast_experiments.cli.doctor import machine as doctor_machine
from ast_experiments.cli.doctor.data import data_findings
from ast_experiments.cli.doctor.machine import advice, device_findings, supports, time_findings
from ast_experiments.cli.doctor.sizes import describe_enlarged
from ast_experiments.config.compose import load_config
from ast_experiments.data.encoded.classes import read_list

FIRST, SECOND = tools.SYNSETS[:2]


def run(monkeypatch, capsys, *arguments, free=10**12):
    """Exit code and lines of `ast-doctor`."""
    monkeypatch.setattr(sys, "argv", ["ast-doctor", *arguments])
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=free))
    with pytest.raises(SystemExit) as ended:
        doctor.main()
    return ended.value.code, capsys.readouterr().out.splitlines()


def planted(root):
    """Kaggle's parts without one class of the list, with a fault of each other kind; returns what has to be said."""
    splits = tools.samples()
    train, val = splits["train"], splits["val"]
    train[4] = (FIRST, f"{FIRST}_77.JPEG", val[7][2])  # a picture of SECOND in val
    val[0] = (FIRST, f"{FIRST}_78.JPEG", train[12][2])  # one of FIRST in train
    splits["val"] = [row for row in val if row[0] != tools.SYNSETS[5]]
    tools.kaggle(root, splits)
    broken = root / "train.X4" / FIRST / f"{FIRST}_9.JPEG"
    broken.write_bytes(broken.read_bytes()[:300])
    tools.write(root / "val.X", SECOND, f"{FIRST}_5.JPEG", tools.encode(tools.image(99)))
    tools.write(root / "train.X1", FIRST, f"{FIRST}_10.JPEG", tools.encode(tools.image(98)))
    return broken


def test_every_planted_fault_is_found(tmp_path, monkeypatch, capsys):
    broken = planted(tmp_path)
    (tmp_path / "list.txt").write_text("\n".join((*tools.SYNSETS, "n09999999")))
    arguments = ["dataset=imagenet100", f"dataset.root={tmp_path}", f"dataset.class_list={tmp_path}/list.txt"]
    code, lines = run(monkeypatch, capsys, *arguments, free=1000)
    wrong = [line.removeprefix("wrong  ") for line in lines if line.startswith("wrong")]
    assert code == 1
    root = str(tmp_path)
    expected = {
        "missing class: n09999999": "in the class list, but not in the data",
        "missing class: val": f"no images of {tools.SYNSETS[5]}",
        "label clash: " + f"{root}/val.X/{SECOND}/{FIRST}_5.JPEG": f"its name says {FIRST}",
        "label clash: " + f"{root}/train.X4/{FIRST}/{FIRST}_77.JPEG": "are the same image",
        "unreadable image: " + str(broken): "cannot be decoded",
        "same file twice: train has ": f"train.X4/{FIRST}/{FIRST}_10.JPEG; remove one of them",
        "disk: 0.00 GB free": "checkpoints and logs: free some",
    }
    for begin, rest in expected.items():
        assert any(line.startswith(begin) and rest in line for line in wrong), (begin, wrong)
    both = [line for line in wrong if line.startswith("in both splits: ")]
    assert len(both) == 2
    assert any(f"{FIRST}_78.JPEG" in line for line in both)
    assert any("not estimated" in line for line in lines)


@pytest.mark.parametrize("layout", [tools.folders, tools.kaggle, tools.parquet])
def test_a_sound_set_is_said_to_be_one(layout, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(doctor_machine, "PROBE_S", 0.02)
    splits = tools.samples()
    splits["train"][0] = (*splits["train"][0][:2], tools.encode(tools.image(1), mode="L"))
    splits["train"][1] = (*splits["train"][1][:2], tools.encode(tools.image(2), mode="CMYK"))
    layout(tmp_path, splits)
    arguments = [
        f"dataset.root={tmp_path}",
        f"dataset.cache={tmp_path}/cache",
        "dataset.size=32",
        "recipe.batch_size=4",
    ]
    code, lines = run(monkeypatch, capsys, "dataset=folder", *arguments, "recipe.eval_batch_size=8")
    assert code == 0, lines
    assert any("6 classes, 24 train images, 12 val images" in line for line in lines)
    assert "ok     images: colour modes: 1 L, 1 CMYK; read as RGB" in lines
    assert "ok     images: all 36 can be decoded; none is in both splits or two classes" in lines
    assert any("for a copy of the train images" in line for line in lines) == (layout is tools.parquet)
    assert "note   time: an estimate from these rates:" in lines[-1]
    assert " s for one dense epoch, " in lines[-1]


def test_quick_reads_nothing(tmp_path, monkeypatch, capsys):
    planted(tmp_path)
    code, lines = run(monkeypatch, capsys, "--quick", "dataset=folder", f"dataset.root={tmp_path}")
    assert code == 1
    assert not any("unreadable" in line or "same image" in line for line in lines)
    code, lines = run(monkeypatch, capsys, "--quick", "dataset=folder", "dataset.root=/nowhere")
    assert code == 1
    assert any(line.startswith("wrong  data: there is no folder /nowhere") for line in lines)
    code, lines = run(monkeypatch, capsys, "--quick", "dataset=imagenet100", "dataset.class_list=nope")
    assert code == 1
    assert sum("there is no list nope" in line for line in lines) == 1
    assert lines[-1].startswith("ok     disk: ")


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (1000, "ok     classes: class list imagenet1k"),
        (400, "note   classes: these 400 classes are no class list of ImageNet-1K: they contain 400 of 1000"),
        (999, "wrong  missing class: n15075141: in the class list, but not in the data"),
    ],
)
def test_all_of_imagenet_is_known(classes, told, tmp_path, monkeypatch, capsys):
    data, synsets = tools.encode(tools.image(0, 16, 16)), sorted(read_list("imagenet1k"))[:classes]
    rows = [(synset, f"{synset}_1.JPEG", data) for synset in synsets]
    tools.parquet(tmp_path, {"train": rows, "val": rows})
    code, lines = run(monkeypatch, capsys, "--quick", "dataset=imagenet1k", f"dataset.root={tmp_path}")
    assert any(line.startswith(told) for line in lines)
    assert code == told.startswith("wrong")
    published = "note   counts: published are 1,281,167 train and 50,000 val images"
    assert (published in lines) == (classes == 1000)


def test_small_images_and_a_wrong_setting(monkeypatch, capsys):
    code, lines = run(monkeypatch, capsys, "--quick", "hardware.device=cuda")
    assert "ok     layout: scikit-learn: 10 classes, 1,442 train and 355 val images" in lines
    assert code == any(line.startswith("wrong") for line in lines)


@pytest.mark.parametrize(
    ("overrides", "end"),
    [
        (["method=ast_fresh"], "at a mean rate of 0.40"),
        (["method=ast_masked"], "at a mean rate of 1.00"),
        (["method=dense", "hardware.processes=2"], "at a mean rate of 1.00, in one of its 2 processes"),
    ],
)
def test_the_estimate_says_what_it_counts(overrides, end, monkeypatch):
    monkeypatch.setattr(doctor_machine, "PROBE_S", 0)
    first, last = time_findings(load_config([*overrides, "hardware.device=cpu"]))
    assert first.text.endswith("timed over 1 batch")
    assert last.text.endswith(end)


TIMM = ("model=timm", "model.arch=resnet18")


@pytest.mark.parametrize(
    ("side", "size", "model", "line"),
    [
        (48, 224, (), "48 px (median shorter side), enlarged to 224 px; type dataset.size=48 to save time"),
        (50.5, 224, TIMM, "50 px (median shorter side), enlarged to 224 px; type dataset.size=48 to save time"),
        (20, 224, (), "20 px (median shorter side), enlarged to 224 px; type dataset.size=32 to save time"),
        (20, 32, (), "20 px (median shorter side), enlarged to 32 px"),
        (48, 224, (*TIMM, "model.pretrained=true"), "48 px (median shorter side), enlarged to 224 px"),
        (168, 224, (), ""),
        (500, 224, (), ""),
    ],
)
def test_small_images_need_no_large_network_input(side, size, model, line):
    assert describe_enlarged(side, size, load_config(model).model, classes=3) == line


def test_the_proposed_size_is_one_that_the_network_takes():
    model = load_config(["model=timm", "model.arch=vit_tiny_patch16_224"]).model
    assert "dataset.size=48 " in describe_enlarged(40, 224, model, classes=3)


def test_enlarged_images_are_noted(tmp_path):
    tools.folders(tmp_path, tools.samples())
    found = list(data_findings(load_config(["dataset=folder", f"dataset.root={tmp_path}"]), quick=False))
    line = "42 px (median shorter side), enlarged to 224 px; type dataset.size=40 to save time"
    assert ("note", "images", line) in found


def test_many_findings_are_cut_short(tmp_path, monkeypatch, capsys):
    splits = tools.samples()
    tools.folders(tmp_path, splits | {"val": [*splits["val"], *splits["train"]]})
    for most, extra in (([], "       in both splits: and 14 more; type --all to see them"), (["--all"], None)):
        _, lines = run(monkeypatch, capsys, *most, "dataset=folder", f"dataset.root={tmp_path}")
        assert sum(line.startswith("wrong  in both splits") for line in lines) == (24 if extra is None else 10)
        assert extra is None or extra in lines


CU13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("gpu", "capability", "built", "works", "install"),
    [
        ("P100", (6, 0), CU13, False, "+cu126"),
        ("P100", (6, 0), CU126, True, ""),
        ("V100", (7, 0), CU13, False, "+cu126"),
        ("T4", (7, 5), CU13, True, ""),
        ("A100", (8, 0), CU126, True, ""),
        ("L4 by sm_86", (8, 9), CU126, True, ""),
        ("H100", (9, 0), CU13, True, ""),
        ("B200", (10, 0), CU126, False, "+cu128"),
        ("RTX 5090", (12, 0), CU126, False, "+cu128"),
        ("a later one", (13, 0), CU13, True, ""),
        ("machine code alone", (13, 0), CU13[:-1], False, "+cu128"),
        ("accelerated code alone", (9, 0), ["sm_90a"], True, ""),
        ("accelerated code of another", (9, 1), ["sm_90a"], False, "+cu128"),
        ("nothing", (8, 0), [], False, "no GPU"),
    ],
)
def test_what_torch_was_built_for(gpu, capability, built, works, install):
    assert supports(capability, built) is works, gpu
    assert works or install in advice(capability, built)


@pytest.mark.parametrize(
    ("available", "driver", "cuda", "level", "text"),
    [
        (False, False, "13.2", "ok", "no GPU"),
        (False, True, None, "wrong", "is built without CUDA; install a CUDA build"),
        (False, True, "13.2", "wrong", "less than CUDA 13.2, update the driver"),
        (True, True, "13.2", "wrong", "Tesla P100 (sm_60), torch"),
    ],
)
def test_device_findings(available, driver, cuda, level, text, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: CU13)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda name: "nvidia-smi" if driver else None)
    (finding,) = device_findings()
    assert finding.level == level
    assert text in finding.text


@pytest.mark.parametrize("value", ["7", "yes", "", "0", "0.2", "-0.1"])
def test_a_wrong_share_of_the_pilot_is_one_line(value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ast-doctor", f"pilot={value}"])
    with pytest.raises(SystemExit) as ended:
        doctor.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: pilot={value}: expected true, false, or a share of the run up to 0.1, as pilot=0.05\n"
    )


def test_the_pilot_ends_with_a_verdict_and_a_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, lines = run(monkeypatch, capsys, "pilot=true", "hardware=cpu", "recipe.epochs=12")
    assert code == 0
    assert "Not recommended: choosing samples will not pay here." in lines
    assert any(line.startswith("  why       ") for line in lines)
    assert any(line.startswith("note   rare classes: classes are balanced (140 to 147 rows") for line in lines)
    assert lines[-2:] == [
        "  type      ast-train hardware=cpu method=dense recipe.epochs=5",
        "  epochs    12 planned epochs of ast at a mean rate of 0.4 cost as much as 5 dense",
    ]
    assert not any(line.startswith("note   time") for line in lines)
    assert list(tmp_path.iterdir()) == []
    code, lines = run(monkeypatch, capsys, "pilot=0.01", "hardware=cpu", "dataset.imbalance=30", "recipe.batch_size=16")
    assert any(line.startswith("note   pilot: not run; it needs at least 500 training images") for line in lines)
    assert any(line.startswith("No prediction: ") and "are too few for a pilot" in line for line in lines)
    assert lines[-1].startswith("  study     ast-bench ")


def test_no_pilot_where_something_is_wrong(monkeypatch, capsys):
    code, lines = run(monkeypatch, capsys, "pilot=true", "dataset=folder", "dataset.root=/nowhere")
    assert code == 1
    assert lines[-1] == "note   pilot: not run, because something is wrong"
