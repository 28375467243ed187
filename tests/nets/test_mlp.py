"""The dense nets: their layers, their initial scale, and the rows they take and give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ganvas.nets.mlp import Critic, Generator


def count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize("shape", [(2,), (7,), (3, 8, 6)])
@pytest.mark.parametrize("depth", [1, 3])
def test_layers_are_as_many_and_as_wide_as_asked(shape: tuple[int, ...], depth: int) -> None:
    D, W, Z = math.prod(shape), 5, 4
    G, critic = Generator(shape, W, Z, depth=depth), Critic(shape, W, depth=depth)
    middle = (depth - 1) * (W * W + W)
    assert count(G) == (Z * W + W) + middle + (W * D + D)
    assert count(critic) == (D * W + W) + middle + (W + 1)
    x = G(torch.randn(6, Z))
    assert x.shape == (6, *shape)
    assert critic(x).shape == (6,)


@pytest.mark.parametrize(("slope", "net"), [(0.0, Generator((2,), 400, 300)), (0.2, Critic((300,), 400))])
def test_initial_weights_keep_the_scale_of_what_passes(slope: float, net: nn.Module) -> None:
    """He et al. 2015: the mean square of what a layer gives, rectified and weighed, equals that of what it takes."""
    trunk = net.get_submodule("trunk")
    h = torch.randn(2_000, 300)
    for layer in trunk.get_submodule("layers").children():
        assert isinstance(layer, nn.Linear)
        assert abs(float(layer.weight.detach().std()) * math.sqrt(layer.in_features * (1 + slope**2) / 2) - 1) < 0.02
        assert 0 < float(layer.bias.detach().abs().max()) <= 1 / math.sqrt(layer.in_features)
    with torch.no_grad():
        assert 0.7 < float(trunk(h).square().mean()) < 1.4


def test_pictures_are_squashed_and_vectors_are_not() -> None:
    z = 100 * torch.randn(50, 4)
    assert Generator((2,), 8, 4)(z).detach().abs().max() > 1
    assert Generator((2,), 8, 4, squash=True)(z).detach().abs().max() <= 1
