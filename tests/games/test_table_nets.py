"""The nets of the AVAE table against definitions of their own: TensorFlow's SAME written out, and counts of weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eager_table
import table_step
from ganvas.errors import UsageError
from ganvas.nets.table import Critic, Decoder, Encoder, Stack, strides


def same_by_hand(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME convolution of [C, H, W] by [O, C, k, k], from its definition, by loops."""
    _, height, width = x.shape
    out, _, k, _ = kernel.shape
    sizes = [math.ceil(side / stride) for side in (height, width)]
    totals = [max((n - 1) * stride + k - side, 0) for n, side in zip(sizes, (height, width), strict=True)]
    pads = [(total // 2, total - total // 2) for total in totals]
    padded = np.pad(x, ((0, 0), *pads))
    y = np.zeros((out, *sizes))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            window = padded[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = (kernel * window).sum((1, 2, 3))
    return y


@pytest.mark.parametrize("stride", [1, 2])
def test_the_eager_convolution_is_tensorflows_same(stride: int) -> None:
    conv = nn.Conv2d(2, 3, 5, stride, bias=False).double()
    x = torch.randn(1, 2, 8, 12, dtype=torch.float64)
    want = same_by_hand(x[0].numpy(), conv.weight.detach().numpy(), stride)
    np.testing.assert_allclose(eager_table.same(x, conv)[0].detach().numpy(), want, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_eager_transposed_convolution_is_its_adjoint(stride: int) -> None:
    conv = nn.Conv2d(2, 3, 5, stride, bias=False).double()
    transposed = nn.ConvTranspose2d(3, 2, 5, stride, padding=1 if stride == 2 else 2, bias=False).double()
    transposed.load_state_dict(conv.state_dict())
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    y = torch.randn(1, 3, 8 // stride, 8 // stride, dtype=torch.float64)
    forth = (eager_table.same(x, conv) * y).sum()
    back = (x * eager_table.same_transposed(y, transposed)).sum()
    torch.testing.assert_close(forth, back, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("side", "steps"), [(32, (2, 2, 1, 2)), (64, (2, 2, 2, 2))])
def test_turned_nets_equal_padded_ones_in_float64(side: int, steps: tuple[int, ...]) -> None:
    width, latent, shape = 3, 5, (3, side, side)
    x = torch.randn(4, 3, side, side, dtype=torch.float64)
    z = torch.randn(4, latent, dtype=torch.float64)
    ours = (
        Encoder(shape, width, latent).double(),
        Decoder(shape, width, latent).double(),
        Critic(shape, width).double(),
    )
    theirs = (
        eager_table.Encoder(3, width, latent, steps).double(),
        eager_table.Decoder(3, width, latent, steps).double(),
        eager_table.Critic(3, width, steps).double(),
    )
    for a, b in zip(ours, theirs, strict=True):
        b.load_state_dict(table_step.turned(a, width))
    torch.testing.assert_close(ours[0](x)[0], theirs[0](x), atol=1e-12, rtol=0)
    torch.testing.assert_close(ours[1](z), theirs[1](z), atol=1e-12, rtol=0)
    torch.testing.assert_close(ours[2](x), theirs[2](x), atol=1e-12, rtol=0)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("side", [32, 64])
def test_weights_are_as_many_as_the_table_says(side: int) -> None:
    shape, ch, Z = (3, side, side), 16, 100
    convs = 25 * (3 * ch + ch * 2 * ch + 2 * ch * 4 * ch + 4 * ch * 8 * ch)
    stack = convs + ch + 2 * (2 * ch + 4 * ch + 8 * ch)  # one bias; gamma and beta three times
    assert count(Stack(shape, ch)) == stack
    assert count(Encoder(shape, ch, Z)) == stack + 16 * 8 * ch * Z + Z + Z  # mu with bias, and one log sigma
    assert count(Critic(shape, ch)) == stack + 16 * 8 * ch + 1
    norms = 2 * (8 * ch + 4 * ch + 2 * ch + ch)
    assert count(Decoder(shape, ch, 2 * Z)) == 2 * Z * 16 * 8 * ch + convs + norms + 3


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 24), (3, 64, 96), (2, 128, 128)])
def test_other_sizes_come_out_as_they_went_in(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, *shape)
    mu, log_sigma = Encoder(shape, 2, 7, per_image=True)(x)
    assert mu.shape == log_sigma.shape == (2, 7)
    assert Critic(shape, 2)(x).shape == (2,)
    y = Decoder(shape, 2, 7)(mu)
    assert y.shape == x.shape
    assert y.abs().max() <= 1


sides = st.one_of(st.integers(1, 150), *(st.integers(1, 150 // step).map(step.__mul__) for step in (8, 16)))


@settings(deadline=None, max_examples=100)
@given(height=sides, width=sides)
def test_the_sentence_of_a_refusal_is_true(height: int, width: int) -> None:
    """What it promises comes out as it went in, and what it excludes is refused."""
    short, shape = min(height, width), (1, height, width)
    step = 16 if short >= 64 else 8
    if short >= 16 and height % step == 0 and width % step == 0:
        x = Decoder(shape, 1, 2)(torch.randn(2, 2))
        assert x.shape == (2, *shape)
        assert Critic(shape, 1)(x).shape == (2,)
    else:
        with pytest.raises(UsageError, match=f"Images of {width}x{height} do not fit these nets: .*multiples of 8, or"):
            strides(shape)


def test_initial_weights_are_the_tables() -> None:
    net = Encoder((3, 32, 32), 32, 100)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert abs(float(module.weight.detach().std()) - 0.02) < 0.002
        if isinstance(module, nn.BatchNorm2d):
            assert abs(float(module.weight.detach().mean()) - 1) < 0.01
            assert module.eps == 1e-3
            assert not module.bias.detach().any()
    assert not net.log_sigma.detach().any()
