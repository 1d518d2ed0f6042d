"""Networks: sizes counted by hand, stems, and what is said when one cannot be built."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ast_experiments.core.errors import ConfigError
from ast_experiments.models.cifar_resnet import cifar_resnet, small_image_stem
from ast_experiments.models.simple_cnn import SimpleCNN, simple_cnn
from ast_experiments.models.timm import check_arch, timm_model

CNN: dict[str, Any] = {"widths": [32, 64, 128], "hidden": 256, "dropout": 0.5}
TIMM: dict[str, Any] = {"pretrained": False, "checkpoint": None, "drop_rate": 0.0, "drop_path": 0.0}


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def hand_count(classes: int, channels: int, size: int, widths: tuple[int, ...], hidden: int) -> int:
    a, b, c = widths
    pooled = size // 2 // 2 // 2
    convolutions = (9 * channels + 1) * a + (9 * a + 1) * b + (9 * b + 1) * c
    return convolutions + (c * pooled * pooled + 1) * hidden + (hidden + 1) * classes


@pytest.mark.parametrize(
    ("classes", "channels", "size", "widths", "hidden", "expected"),
    [
        (10, 3, 32, (32, 64, 128), 256, 896 + 18_496 + 73_856 + 524_544 + 2_570),
        (10, 3, 32, (32, 64, 128), 256, 620_362),
        (10, 1, 8, (32, 64, 128), 256, 320 + 18_496 + 73_856 + 33_024 + 2_570),
        (100, 3, 32, (32, 64, 128), 256, 620_362 + 90 * 257),
        (10, 1, 28, (32, 64, 128), 256, 390_410),
        (4, 3, 64, (2, 3, 5), 7, 56 + 57 + 140 + (5 * 64 + 1) * 7 + 8 * 4),
        (3, 2, 33, (4, 4, 4), 6, 76 + 148 + 148 + (4 * 16 + 1) * 6 + 7 * 3),
    ],
)
def test_simple_cnn_has_the_parameters_counted_by_hand(
    classes: int, channels: int, size: int, widths: tuple[int, int, int], hidden: int, expected: int
) -> None:
    model = SimpleCNN(classes, channels, size, widths=widths, hidden=hidden)
    assert count(model) == expected == hand_count(classes, channels, size, widths, hidden)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_simple_cnn_has_no_batch_statistics_and_its_dropout() -> None:
    model = simple_cnn(10, 3, 32, **(CNN | {"dropout": 0.25}))
    assert not list(model.buffers())
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.25]


def test_simple_cnn_refuses_images_that_vanish() -> None:
    assert simple_cnn(10, 1, 8, **CNN)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(ConfigError, match="needs 8 pixels or more, not 7"):
        simple_cnn(10, 1, 7, **CNN)


def test_resnet18_cifar() -> None:
    model: Any = cifar_resnet(10, 3, 32, arch="resnet18", drop_path=0.0)
    assert count(model) == 11_173_962
    assert (model.conv1.kernel_size, model.conv1.stride, model.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert model.conv1.bias is None
    assert isinstance(model.maxpool, nn.Identity)
    sizes: list[torch.Size] = []
    for layer in (model.conv1, model.layer1, model.layer4):
        layer.register_forward_hook(lambda module, args, out: sizes.append(out.shape))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(2, 64, 32, 32), (2, 64, 32, 32), (2, 512, 4, 4)]


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 10), (3, 64, 100)])
def test_cifar_resnet_fits_other_images(channels: int, size: int, classes: int) -> None:
    model: Any = cifar_resnet(classes, channels, size, arch="test_resnet", drop_path=0.1)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_a_deep_stem_keeps_its_width() -> None:
    """Stems of three convolutions (resnet10t and the like) are replaced by one of the same width."""
    model: Any = cifar_resnet(10, 3, 32, arch="resnet10t", drop_path=0.0)
    assert (model.conv1.in_channels, model.conv1.out_channels) == (3, 64)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), SimpleCNN()], ids=["linear", "cnn"])
def test_only_a_resnet_has_a_stem_to_replace(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=rf"{type(model).__name__} has no ResNet stem \(conv1, maxpool\)"):
        small_image_stem(model)


@pytest.mark.parametrize(
    ("arch", "channels", "size"),
    [("test_resnet", 3, 32), ("test_resnet", 1, 8), ("test_convnext", 3, 32), ("test_vit", 3, 32), ("test_vit", 1, 64)],
)
def test_timm_models_fit_the_images(arch: str, channels: int, size: int) -> None:
    model = timm_model(7, channels, size, arch=arch, **TIMM).eval()
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_a_vit_is_built_for_the_size_of_the_images() -> None:
    model: Any = timm_model(10, 3, 32, arch="vit_tiny_patch16_224", **TIMM)
    assert model.pos_embed.shape == (1, 1 + (32 // 16) ** 2, 192)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_drop_rates_reach_timm() -> None:
    model: Any = timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"drop_rate": 0.3, "drop_path": 0.2}))
    assert model.drop_rate == 0.3
    assert max(getattr(m, "drop_prob", 0.0) or 0.0 for m in model.modules()) == pytest.approx(0.2)


def test_weights_come_from_a_local_file_with_a_new_head(tmp_path: Path) -> None:
    given: Any = timm_model(1000, 3, 32, arch="test_resnet", **TIMM)
    file = tmp_path / "weights.pt"
    torch.save(given.state_dict(), file)
    model: Any = timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"checkpoint": str(file)}))
    for name, tensor in given.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, model.state_dict()[name]), name
    assert model.fc.weight.shape[0] == 10


@pytest.mark.parametrize(("arch", "head"), [("test_efficientnet", "classifier"), ("test_resnet", "fc")])
def test_a_new_head_on_loaded_weights_starts_small(arch: str, head: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(timm_model(1000, 3, 32, arch=arch, **TIMM).state_dict(), file)
    new: Any = getattr(timm_model(3, 3, 32, arch=arch, **(TIMM | {"checkpoint": str(file)})), head)
    assert 0 < new.weight.abs().max() < 3 / new.in_features**0.5
    kept: Any = getattr(timm_model(1000, 3, 32, arch=arch, **(TIMM | {"checkpoint": str(file)})), head)
    assert torch.equal(kept.weight, torch.load(file)[f"{head}.weight"]), "a head that fits is loaded"


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.pt"
    with pytest.raises(ConfigError, match=r"model.checkpoint=.*none\.pt: no such file"):
        timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"checkpoint": str(missing)}))


def test_weights_that_are_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_text("not a checkpoint")
    with pytest.raises(ConfigError, match=r"holds no weights that test_resnet can load") as caught:
        timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"checkpoint": str(file)}))
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(nn.Linear(3, 2).state_dict(), file)
    with pytest.raises(ConfigError):
        timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"checkpoint": str(file)}))


def test_weights_in_the_layout_of_their_authors(tmp_path: Path) -> None:
    """Timm renames the tensors of many published files; not one name of these fits before."""
    given = timm_model(1000, 3, 32, arch="test_convnext", **TIMM).state_dict()
    names = (
        (r"^stem\.(\d)", r"downsample_layers.0.\1"),
        (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
        (r"^stages\.(\d)\.blocks", r"stages.\1"),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )

    def theirs(name: str) -> str:
        for ours, original in names:
            name = re.sub(ours, original, name)
        return name

    renamed = {theirs(name): tensor for name, tensor in given.items()}
    assert not [name for name in renamed.keys() & given if given[name].dim() > 1]
    file = tmp_path / "weights.pt"
    torch.save({"model": renamed}, file)
    model = timm_model(10, 3, 32, arch="test_convnext", **(TIMM | {"checkpoint": str(file)}))
    for name, tensor in model.state_dict().items():
        assert name.startswith("head.fc.") or torch.equal(tensor, given[name]), name


def test_weights_of_a_smaller_relative_are_refused(tmp_path: Path) -> None:
    """Every tensor of the file fits, and most of the network would stay random."""
    file = tmp_path / "weights.pt"
    given = timm_model(1000, 3, 32, arch="test_resnet", **TIMM).state_dict()
    torch.save({name: tensor for name, tensor in given.items() if name.startswith(("conv1", "layer1"))}, file)
    with pytest.raises(ConfigError, match=r"holds \d% of the weights of test_resnet; name the file of that network"):
        timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"checkpoint": str(file)}))


def test_weights_do_not_move_the_draws(tmp_path: Path) -> None:
    """The new head is that of the same seed without a file."""
    file = tmp_path / "weights.pt"
    torch.save(timm_model(1000, 3, 32, arch="test_resnet", **TIMM).state_dict(), file)
    heads = []
    for checkpoint in (None, str(file)):
        torch.manual_seed(3)
        model: Any = timm_model(10, 3, 32, arch="test_resnet", **(TIMM | {"checkpoint": checkpoint}))
        heads.append(torch.cat([model.fc.weight.flatten(), torch.rand(3)]))
    assert torch.equal(*heads)


@pytest.mark.parametrize(
    ("arch", "problem"),
    [
        ("resnet18", None),
        ("resnet18.a1_in1k", None),
        ("vit_tiny_patch16_224", None),
        ("resnet5000", r"timm has no model 'resnet5000'; nearest: resnet\d+"),
        ("resnet18.a9_in1k", r"timm has no weights 'a9_in1k' of resnet18; there are: a1_in1k, "),
        ("%%%%", r"timm has no model '%%%%'$"),
    ],
)
def test_check_arch(arch: str, problem: str | None) -> None:
    said = check_arch(arch)
    assert said is None if problem is None else said is not None and re.match(problem, said)


@pytest.mark.parametrize(
    ("size", "line"), [(32, None), (40, "leave 8 of 40"), (100, "type dataset.size=96 or dataset.size=112")]
)
def test_pixels_that_no_patch_covers_are_said(size: int, line: str | None) -> None:
    import timm

    from ast_experiments.models.timm import unseen_pixels

    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", img_size=size)
    told = unseen_pixels(model, size)
    assert told is None if line is None else line in str(told)
    assert unseen_pixels(nn.Conv2d(3, 4, 3), size) is None


def test_attempts_to_reach_the_hub_are_for_the_log_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub, terminal = logging.getLogger("huggingface_hub"), io.StringIO()
    own = logging.StreamHandler(terminal)
    monkeypatch.setattr(hub, "handlers", [own])

    def no_network(*args: Any, **settings: Any) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("there is no network\nand more")

    monkeypatch.setattr("timm.create_model", no_network)
    said = r"model.arch=resnet18: pretrained weights could not be loaded \(there is no network\); give a local file"
    with pytest.raises(ConfigError, match=said):
        timm_model(10, 3, 32, arch="resnet18", **(TIMM | {"pretrained": True}))
    assert terminal.getvalue() == ""
    assert "Retry 1/5" in caplog.text
    assert hub.handlers == [own]
