"""The nets of DCGAN: the paper's table of layers, sizes, batch norm, classes, spectral norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import hand
from ganvas.errors import UsageError
from ganvas.nets.dcgan import Critic, Generator, stages, widths

F64 = torch.float64


def count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


def layers(net: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in net.modules() if type(module) is kind]


# ---- the paper's table -----------------------------------------------------------------------------------------------
def test_layers_at_64_pixels_are_the_papers() -> None:
    """Figure 1: 100 numbers become 4x4x1024, then 512, 256, 128 maps and 3 channels; the critic is its mirror."""
    G, D = Generator((3, 64, 64), 128, 100), Critic((3, 64, 64), 128)
    up = [(conv.in_channels, conv.out_channels) for conv in layers(G, nn.ConvTranspose2d)]
    assert up == [(1024, 512), (512, 256), (256, 128), (128, 3)]
    assert [norm.num_features for norm in layers(G, nn.BatchNorm2d)] == [1024, 512, 256, 128]  # none on the output
    assert G.dense.weight.shape == (4 * 4 * 1024, 100)
    down = [(conv.in_channels, conv.out_channels) for conv in layers(D, nn.Conv2d)]
    assert down == [(3, 128), (128, 256), (256, 512), (512, 1024)]
    assert [norm.num_features for norm in layers(D, nn.BatchNorm2d)] == [256, 512, 1024]  # none on the input
    assert D.score.weight.shape == (1, 4 * 4 * 1024)
    for conv in layers(G, nn.ConvTranspose2d) + layers(D, nn.Conv2d):
        assert (conv.kernel_size, conv.stride, conv.padding) == ((4, 4), (2, 2), (1, 1))
    assert not [m for net in (G, D) for m in net.modules() if "Pool" in type(m).__name__]


def test_the_nets_at_64_pixels_have_the_numbers_of_pytorch_examples() -> None:
    assert count(Generator((3, 64, 64), 64, 100)) == 3_576_704
    assert count(Critic((3, 64, 64), 64)) == 2_765_568


def test_the_widest_layer_is_as_wide_as_asked() -> None:
    assert widths((3, 128, 128), 4) == [4, 8, 16, 32, 32]
    assert widths((3, 128, 128), 4, 16) == [4, 8, 16, 32, 64]
    assert widths((3, 128, 128), 4, 1) == [4] * 5
    G, D = Generator((3, 128, 128), 2, 5, widest=16), Critic((3, 128, 128), 2, widest=16)
    assert (G.dense.weight.shape, D.score.weight.shape) == ((16 * 32, 5), (1, 16 * 32))
    assert D(G(torch.randn(2, 5))).shape == (2,)


SIZES = [(32, 32), (64, 64), (128, 128), (64, 48), (32, 16), (96, 64), (16, 16), (60, 20)]


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_weights_are_as_many_as_the_formula_says(size: tuple[int, int], batch_norm: bool) -> None:
    (height, width), channels, w, Z = size, 3, 2, 5
    n = 0
    while min(height, width) >> (n + 1) >= 4 and height % 2 ** (n + 1) == width % 2 ** (n + 1) == 0:
        n += 1
    maps = [w * m for m in (1, 2, 4, 8, 8, 8)][:n]
    kernels = 16 * sum(a * b for a, b in zip([channels, *maps[:-1]], maps, strict=True))
    base = (height >> n) * (width >> n) * maps[-1]
    ours = Generator((channels, *size), w, Z, batch_norm=batch_norm)
    theirs = Critic((channels, *size), w, batch_norm=batch_norm)
    if batch_norm:  # gamma and beta, and no bias
        assert count(ours) == Z * base + kernels + 2 * sum(maps)
        assert count(theirs) == kernels + 2 * sum(maps[1:]) + base
    else:
        assert count(ours) == (Z + 1) * base + kernels + sum(maps[:-1]) + channels
        assert count(theirs) == kernels + sum(maps) + base + 1


@pytest.mark.parametrize("size", SIZES)
def test_pictures_come_out_in_the_size_they_went_in(size: tuple[int, int]) -> None:
    G, D = Generator((3, *size), 2, 5), Critic((3, *size), 2)
    x = G(torch.randn(4, 5))
    assert x.shape == (4, 3, *size)
    assert x.detach().abs().max() <= 1
    assert D(x).shape == (4,)


@pytest.mark.parametrize("net", ["generator", "critic"])
def test_nets_equal_plain_ones_in_float64(net: str) -> None:
    """Maps are flattened with channels last here and first there, and kept channels-last in memory or not."""
    if net == "generator":
        ours: nn.Module = Generator((3, 16, 16), 4, 5, classes=3).double()
        plain: nn.Module = hand.Generator(3, 4, 5, classes=3)
        x = torch.randn(6, 5, dtype=F64)
    else:
        ours, plain = Critic((3, 16, 16), 4, classes=3).double(), hand.Critic(3, 4, classes=3)
        x = torch.randn(6, 3, 16, 16, dtype=F64)
    plain = hand.put(hand.plain(ours), plain)
    label = torch.tensor([0, 1, 2, 2, 1, 0])
    torch.testing.assert_close(ours(x, label), plain(x, label), atol=1e-12, rtol=0)
    ours = ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(ours(x, label), plain(x, label), atol=1e-12, rtol=0)


def test_initial_weights_are_the_papers() -> None:
    for net in (Generator((3, 32, 32), 64, 100), Critic((3, 32, 32), 64, classes=50)):
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert abs(float(module.weight.detach().std()) - 0.02) < 0.002
                assert module.bias is None or not module.bias.detach().any()
            if isinstance(module, nn.BatchNorm2d):
                assert abs(float(module.weight.detach().mean()) - 1) < 0.01
                assert not module.bias.detach().any()


# ---- sizes -----------------------------------------------------------------------------------------------------------
def promised(height: int, width: int) -> bool:
    """What the refusal says of the shorter side, and of both."""
    short, step = min(height, width), 4
    while short >= 32 * step:
        step *= 2
    return short >= 16 and height % step == 0 and width % step == 0


sides = st.one_of(
    st.integers(1, 1100), *(st.integers(1, 1100 // step).map(step.__mul__) for step in (4, 8, 16, 32, 64))
)


@settings(deadline=None, max_examples=300)
@given(height=sides, width=sides)
def test_the_sentence_of_a_refusal_is_true(height: int, width: int) -> None:
    """What it promises fits, and what it excludes is refused."""
    if promised(height, width):
        n = stages((3, height, width))
        assert 4 <= min(height, width) >> n <= 31
        assert (height >> n << n, width >> n << n) == (height, width)
        assert widths((3, height, width), 3) == [3, 6, 12, 24, 24, 24, 24, 24, 24][:n]
    else:
        with pytest.raises(
            UsageError, match=f"Images of {width}x{height} do not fit these nets: .*multiples of 4, of 8"
        ):
            stages((3, height, width))


@settings(deadline=None, max_examples=25)
@given(height=st.integers(4, 40).map((4).__mul__), width=st.integers(4, 40).map((4).__mul__))
def test_promised_sizes_do_build(height: int, width: int) -> None:
    assume(promised(height, width))
    x = Generator((1, height, width), 1, 2)(torch.randn(2, 2))
    assert x.shape == (2, 1, height, width)
    assert Critic((1, height, width), 1)(x).shape == (2,)


# ---- classes, spectral norm ------------------------------------------------------------------------------------------
def test_the_critic_of_classes_scores_by_projection() -> None:
    """Miyato & Koyama 2018, equation 3: f(x, y) = <V y, phi(x)> + psi(phi(x)), the first phi summed over positions."""
    critic = Critic((3, 32, 32), 2, classes=4).double().eval()
    nn.init.normal_(critic.project.weight)
    x, label = torch.randn(5, 3, 32, 32, dtype=F64), torch.tensor([0, 1, 2, 3, 1])
    h = x
    for conv, norm in zip(critic.convs, critic.norms, strict=True):
        h = F.leaky_relu(norm(conv(h)), 0.2)
    psi = torch.stack([critic.score(row.permute(1, 2, 0).reshape(-1)).squeeze() for row in h])
    for wrong in (label, (label + 1) % 4):
        dot = torch.stack([critic.project.weight[y] @ row.sum((1, 2)) for y, row in zip(wrong, h, strict=True)])
        torch.testing.assert_close(critic(x, wrong), psi + dot)
    assert (critic(x, label) - critic(x, (label + 1) % 4)).abs().min() > 1e-6


def test_the_class_changes_the_picture() -> None:
    G = Generator((3, 16, 16), 4, 5, classes=3).eval()
    assert abs(float(G.embed.weight.detach().std()) - 1) < 0.6  # as z
    z = torch.randn(2, 5)
    first, second = (G(z, torch.full((2,), label)) for label in (0, 1))
    assert (first - second).abs().flatten(1).amax(1).min() > 1e-6


def largest(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().flatten(1))[0])


def test_spectral_norm_brings_every_layer_to_a_largest_singular_value_of_1() -> None:
    torch.manual_seed(0)
    critic = Critic((3, 16, 16), 4, classes=6, batch_norm=False, spectral_norm=True).double()
    x, label = torch.randn(2, 3, 16, 16, dtype=F64), torch.tensor([0, 1])
    parts = {"convs.0", "convs.1", "score", "project"}
    assert {name for name, module in critic.named_modules() if hasattr(module, "parametrizations")} == parts
    for _ in range(400):
        critic(x, label)  # one power iteration each
    critic.eval()
    for name in parts:
        layer = critic.get_submodule(name)
        assert abs(largest(layer.weight) - 1) < 1e-4, name
        raw = layer.get_parameter("parametrizations.weight.original")
        torch.testing.assert_close(layer.weight, raw / largest(raw), atol=1e-4, rtol=0)


def test_spectral_norm_bounds_the_slope_of_the_critic() -> None:
    """Its layers do not stretch, a 4x4 kernel at stride 2 covers a pixel 4 times, and leaky ReLUs do not stretch."""
    torch.manual_seed(0)
    critic = Critic((3, 32, 32), 2, batch_norm=False, spectral_norm=True)
    wild = torch.nn.Module.state_dict(critic)
    for name, value in wild.items():
        if name.endswith("original"):
            value.mul_(1000)
    x = torch.randn(8, 3, 32, 32, requires_grad=True)
    for _ in range(50):
        score = critic(x)
    (slope,) = torch.autograd.grad(score.sum(), x)
    assert slope.flatten(1).norm(dim=1).max() < 2 ** len(critic.convs) * 1.05
