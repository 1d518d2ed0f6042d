"""The fast network: shapes, whitening, identities and what stays frozen."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from ast_experiments.core.errors import ConfigError
from ast_experiments.energy.flops import count_flops
from ast_experiments.models.airnet import EPS, AirNet, Block, airnet
from ast_experiments.models.build import build_auxiliary, whiten


def photos(rows: int = 200, channels: int = 3, size: int = 16) -> torch.Tensor:
    """Images whose neighbouring pixels and channels are correlated."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(rows, channels, size, size, generator=generator)
    smooth = functional.avg_pool2d(noise, 3, stride=1, padding=1)
    return smooth + 0.5 * smooth.mean(1, keepdim=True) + 0.3


def whitened(model: AirNet, images: torch.Tensor) -> torch.Tensor:
    """Outputs of the first half of the whitening convolution, one row for each patch."""
    out = functional.conv2d(images, model.whitening.weight)
    half = out.shape[1] // 2
    assert torch.equal(out[:, half:], -out[:, :half])
    return out[:, :half].permute(0, 2, 3, 1).reshape(-1, half).double()


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_unit_covariance(channels: int) -> None:
    model, images = AirNet(10, channels, width=0.25), photos(channels=channels)
    model.whiten(images)
    patches = functional.unfold(images, 2).transpose(1, 2).reshape(-1, 4 * channels).double()
    variances = torch.linalg.eigvalsh(patches.T @ patches / len(patches))
    made = whitened(model, images)
    # Exactly the identity but for EPS, which shrinks directions of little variance.
    expected = torch.diag(variances / (variances + EPS))
    torch.testing.assert_close(made.T @ made / len(made), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(expected, torch.eye(4 * channels).double(), atol=0.1, rtol=0)


def test_whitening_is_frozen_and_its_bias_is_not() -> None:
    model = AirNet(width=0.25)
    model.whiten(photos())
    before = model.whitening.weight.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(photos(8)).square().sum().backward()
    optimizer.step()
    assert torch.equal(model.whitening.weight, before)
    assert model.whitening.bias is not None
    assert model.whitening.bias.abs().sum() > 0


def test_whiten_leaves_other_networks_alone() -> None:
    def none(rows: int) -> torch.Tensor:
        raise AssertionError("no images are needed")

    whiten(nn.Linear(2, 2), none)


def test_first_channels_of_a_convolution_pass_the_input_on() -> None:
    block = Block(5, 8)
    x = torch.randn(2, 5, 6, 6)
    torch.testing.assert_close(block.conv1(x)[:, :5], x)
    y = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(block.conv2(y), y)


def test_norms_have_no_scale_to_learn() -> None:
    norms = [m for m in AirNet().modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 6
    for norm in norms:
        assert not norm.weight.requires_grad
        assert norm.bias.requires_grad
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))


@pytest.mark.parametrize(("width", "blocks"), [(1.0, (64, 256, 256)), (0.25, (16, 64, 64)), (0.01, (8, 8, 8))])
def test_width_scales_the_blocks(width: float, blocks: tuple[int, ...]) -> None:
    model = AirNet(width=width)
    assert tuple(m.conv2.out_channels for m in model.blocks if isinstance(m, Block)) == blocks
    assert model.scale == pytest.approx(1 / (16 * blocks[2] ** 0.5))


def test_parameters_and_operations_at_full_width() -> None:
    model = AirNet()
    assert sum(p.numel() for p in model.parameters()) == 1_972_792
    assert model.scale == 1 / 256
    flops = count_flops(model, (3, 32, 32), 10)
    assert flops is not None
    convolutions = 31**2 * 24 * (12 + 9 * 64) + 15**2 * 9 * 64 * (64 + 256) + 7**2 * 9 * 256 * (256 + 256)
    assert flops.forward == 2 * (convolutions + 3**2 * 9 * 256 * 256 + 10 * 256)
    # 0.354 PFLOP for ten epochs of CIFAR-10; airbench94 states 0.36.
    assert 10 * 50_000 * (flops.forward + flops.backward) == pytest.approx(0.354e15, rel=1e-3)


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 9, 4), (3, 16, 10), (3, 33, 10), (3, 64, 100)])
def test_takes_images_of_other_sizes(channels: int, size: int, classes: int) -> None:
    assert airnet(classes, channels, size, width=0.1)(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_images_that_vanish_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs 9 pixels or more, not 8"):
        airnet(10, 1, 8, width=1.0)


def test_an_auxiliary_model_is_narrower() -> None:
    made = build_auxiliary({"name": "airnet", "width": 0.5}, 10, 3, 32, width=0.5, arch=None)
    assert isinstance(made, AirNet)
    assert made.head.in_features == 64
