"""Operations counted by the library against products written out by hand."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from ast_experiments.energy import flops
from ast_experiments.energy.flops import Flops, cost_ratio, count_flops
from ast_experiments.models.simple_cnn import SimpleCNN

SIMPLE_CNN = [2 * 32 * 32 * 32 * 27, 2 * 16 * 16 * 64 * 288, 2 * 8 * 8 * 128 * 576, 2 * 2048 * 256, 2 * 256 * 10]


class Attention(nn.Module):
    """Tokens from pixels, one layer for queries, keys and values, attention, a mean over the tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.heads = nn.Linear(width, 3 * width, bias=False), heads

    def forward(self, images: Tensor) -> Tensor:
        n, width, *_ = images.shape
        tokens = images.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(n, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1)


class ReadsData(nn.Module):
    """Asks the device for a value: impossible without data."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)) if images.sum().item() >= 0 else images


class ReadsWords(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise TypeError("expected words\nnot pictures")


def convolution(*args: int, **settings: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(*args, **settings), nn.Flatten())


@pytest.mark.parametrize(
    ("model", "shape", "classes", "forward", "backward"),
    [
        pytest.param(
            nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 5)),
            (3, 2, 2), 5, 2 * 12 * 7 + 2 * 7 * 5, 2 * 12 * 7 + 2 * 2 * 7 * 5, id="linear",
        ),
        pytest.param(
            convolution(3, 4, 3, padding=1), (3, 8, 8), 256, 2 * 64 * 4 * 27, 2 * 64 * 4 * 27, id="conv, weights only"
        ),
        pytest.param(
            convolution(3, 4, 3, stride=2), (3, 9, 9), 64, 2 * 16 * 4 * 27, 2 * 16 * 4 * 27, id="conv, strided"
        ),
        pytest.param(
            nn.Sequential(nn.Conv2d(3, 6, 1), convolution(6, 6, 3, padding=1, groups=6)),
            (3, 8, 8), 384, 2 * 64 * (18 + 54), 2 * 64 * (18 + 2 * 54), id="conv, depthwise",
        ),
        pytest.param(
            nn.Sequential(nn.Conv2d(3, 6, 1), convolution(6, 8, 3, groups=2)),
            (3, 8, 8), 288, 2 * (64 * 18 + 36 * 8 * 27), 2 * (64 * 18 + 2 * 36 * 8 * 27), id="conv, two groups",
        ),
        pytest.param(
            nn.Sequential(nn.Conv2d(3, 6, 1), nn.ConvTranspose2d(6, 4, 2, stride=2), nn.Flatten()),
            (3, 5, 5), 400, 2 * 25 * (18 + 96), 2 * 25 * (18 + 2 * 96), id="conv, transposed",
        ),
        pytest.param(
            Attention(width=12, heads=3), (12, 4, 4), 12,
            2 * 16 * 12 * 36 + 4 * 16 * 16 * 12, 2 * 16 * 12 * 36 + 8 * 16 * 16 * 12, id="attention",
        ),
        pytest.param(
            SimpleCNN(), (3, 32, 32), 10, sum(SIMPLE_CNN), 2 * sum(SIMPLE_CNN) - SIMPLE_CNN[0], id="simple_cnn"
        ),
        pytest.param(ReadsData(), (3, 2, 2), 5, 2 * 12 * 5, 2 * 12 * 5, id="counted on the CPU"),
        pytest.param(
            nn.Sequential(nn.Flatten(), nn.Linear(12, 5).requires_grad_(False)), (3, 2, 2), 5, 120, 0, id="frozen"
        ),
    ],
)  # fmt: skip
def test_closed_forms(model: nn.Module, shape: tuple[int, int, int], classes: int, forward: int, backward: int) -> None:
    assert count_flops(model, shape, classes) == Flops(forward, backward)


def test_simple_cnn_forward() -> None:
    assert sum(SIMPLE_CNN) == 21_697_536


@pytest.mark.parametrize(
    ("arch", "size", "forward"),
    [
        # Twice the multiply-adds that the papers print, at their resolution.
        ("resnet18", 224, 3.6e9),
        ("mobilenetv3_large_100", 224, 0.44e9),
        ("mobilenetv3_small_100", 224, 0.112e9),
        ("efficientnet_b0", 224, 0.78e9),
        ("vit_small_patch16_224", 224, 9.2e9),
    ],
)
def test_known_networks(arch: str, size: int, forward: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted on the meta device, which computes nothing: images of this size would take long on the CPU."""
    model = timm.create_model(arch, num_classes=1000)
    used: list[str] = []
    copy = flops._copy

    def note(model: nn.Module, device: str) -> nn.Module:
        used.append(device)
        return copy(model, device)

    monkeypatch.setattr(flops, "_copy", note)
    counted = count_flops(model, (3, size, size), 1000)
    assert used == ["meta"]
    assert counted is not None
    assert counted.forward == pytest.approx(forward, rel=0.03)
    assert 1.85 <= counted.backward / counted.forward <= 2.05


def test_the_model_stays_as_it_is() -> None:
    model = timm.create_model("resnet10t", num_classes=3).eval()
    model.get_parameter("fc.weight").grad = torch.ones(3, 512)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert count_flops(nn.Sequential(model, nn.Dropout(0.5)), (3, 32, 32), 3) is not None
    assert count_flops(nn.Sequential(ReadsData(), nn.Dropout(0.5)), (3, 2, 2), 5) is not None
    fresh = torch.get_rng_state()
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["fc.weight"]
    torch.set_rng_state(state)
    ReadsData()
    assert torch.equal(torch.get_rng_state(), fresh)


def test_a_network_that_cannot_be_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert count_flops(ReadsWords(), (3, 2, 2), 5) is None
    assert [record.message for record in caplog.records] == ["FLOPs are not counted: expected words"]


@pytest.mark.parametrize(
    ("rate", "scored", "ratio", "cost"),
    [
        (1.0, 0.0, 1.97, 1.0),  # dense, and a masked method that scores by its own forward pass
        (1.0, 1.0, 2.0, 4 / 3),  # a masked method with two forward passes
        (0.4, 1.0, 2.0, 0.4 + 1 / 3),  # scored afresh, then gathered
        (0.4, 0.0, 2.0, 0.4),  # stale scores cost nothing
        (2 / 3, 1.0, 2.0, 1.0),  # where full scoring breaks even
        (0.0, 1.0, 2.0, 1 / 3),  # the most that it can save is two thirds
    ],
)
def test_cost_ratio(rate: float, scored: float, ratio: float, cost: float) -> None:
    assert cost_ratio(rate, scored, ratio) == pytest.approx(cost)
