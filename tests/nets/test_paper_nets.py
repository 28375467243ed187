"""The nets of VAE/GAN's and BiGAN's own papers: weights counted and passes written out from their layer tables."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.nets import donahue, larsen

FACES = (3, 64, 64)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def normed(h: Tensor) -> Tensor:
    """Batch norm by the batch at hand, as it starts: no scale, no shift."""
    over = (0, 2, 3) if h.ndim == 4 else (0,)
    return (h - h.mean(over, keepdim=True)) / (h.var(over, keepdim=True, unbiased=False) + 1e-5).sqrt()


def test_vae_gans_weights_are_those_of_table_1() -> None:
    """64x64 faces, 128 codes: convolutions 64, 128, 256 and dense 2,048; dense 8x8x256, then 256, 128, 32, 3; 32, 128,
    256, 256, dense 512, 1. A batch norm has two weights a channel."""
    encoder = 25 * (3 * 64 + 64 * 128 + 128 * 256) + 2 * (64 + 128 + 256) + 256 * 64 * 2048 + 2 * 2048
    assert count(larsen.Encoder(FACES, 64, 128)) == encoder + 2 * (2048 * 128 + 128)
    decoder = 128 * 64 * 256 + 25 * (256 * 256 + 256 * 128 + 128 * 32 + 32 * 3) + 3 + 2 * (256 + 256 + 128 + 32)
    assert count(larsen.Decoder(FACES, 64, 128)) == decoder
    critic = 25 * (3 * 32 + 32 * 128 + 128 * 256 + 256 * 256) + 32 + 2 * (128 + 256 + 256)
    assert count(larsen.FeatureCritic(FACES, 64)) == critic + 256 * 64 * 512 + 2 * 512 + 512 + 1


def test_likeness_is_measured_on_the_third_halvings_map_before_its_norm() -> None:
    torch.manual_seed(0)
    net = larsen.FeatureCritic((3, 32, 32), 4).double()
    x = torch.rand(6, 3, 32, 32, dtype=torch.float64)
    h = F.relu(F.conv2d(x, net.first.weight, net.first.bias, padding=2))
    maps = []
    for conv in net.convs:
        maps.append(F.conv2d(h, conv.weight, stride=2, padding=2))  # type: ignore[arg-type]
        h = F.relu(normed(maps[-1]))
    h = F.relu(normed(h.flatten(1) @ net.dense.weight.T))
    score, features = net(x)
    torch.testing.assert_close(score, (h @ net.score.weight.T + net.score.bias)[:, 0])
    torch.testing.assert_close(features, maps[2].flatten(1))


def test_vae_gans_decoder_doubles_three_times() -> None:
    net = larsen.Decoder((1, 16, 24), 4, 3).double()
    h = F.relu(normed((torch.ones(5, 3, dtype=torch.float64).cumsum(0) @ net.dense.weight.T).view(5, 16, 2, 3)))
    for conv in net.convs:
        h = F.relu(normed(F.conv_transpose2d(h, conv.weight, stride=2, padding=2, output_padding=1)))  # type: ignore[arg-type]
    x = torch.tanh(F.conv2d(h, net.out.weight, net.out.bias, padding=2))
    assert x.shape == (5, 1, 16, 24)
    torch.testing.assert_close(net(torch.ones(5, 3, dtype=torch.float64).cumsum(0)), x)


@pytest.mark.parametrize("side", [8, 20])
def test_sizes_that_cannot_be_halved_three_times_are_refused(side: int) -> None:
    with pytest.raises(UsageError, match="multiples of 8"):
        larsen.Encoder((3, side, side), 4, 2)


def test_bigans_digits_have_dense_nets_of_1024() -> None:
    """28x28 digits and 50 codes; the batch norms have no weights."""
    shape = (1, 28, 28)
    between = 1024 * 1024 + 1024
    assert count(donahue.Decoder(shape, 1024, 50)) == 50 * 1024 + 1024 + between + 1024 * 784 + 784
    assert count(donahue.Head(shape, 1024, 50)) == 784 * 1024 + 1024 + between + 1024 * 50 + 50
    assert count(donahue.JointCritic(shape, 1024, 50)) == (784 + 50) * 1024 + 1024 + between + 1024 + 1


def test_bigans_critic_and_decoder_written_out() -> None:
    torch.manual_seed(0)
    shape, x, z = (1, 4, 4), torch.rand(7, 1, 4, 4).double(), torch.randn(7, 3).double()
    critic, decoder = donahue.JointCritic(shape, 6, 3).double(), donahue.Decoder(shape, 6, 3).double()
    a, b, c = critic.dense.layers
    h = F.leaky_relu(a(torch.cat([x.flatten(1), z], 1)), 0.2)
    torch.testing.assert_close(critic(x, z), c(F.leaky_relu(normed(b(h)), 0.2))[:, 0])
    a, b, c = decoder.dense.layers
    h = F.relu(normed(b(F.relu(normed(a(z))))))
    torch.testing.assert_close(decoder(z), torch.tanh(c(h)).view(7, 1, 4, 4))
