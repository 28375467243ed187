"""The AVAE step as a good user would write it from the paper's tables: the yardstick of `avae_step.py`, and the tests'.

Contiguous fp32; TensorFlow's asymmetric SAME by ``F.pad`` and by cropping; one shared forward; one backward a player
over its own weights; a plain Adam tensor by tensor with Keras's epsilon; nothing read back. Imports nothing of ganvas.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 5x5 convolution with SAME padding: 1 before and 2 after at stride 2."""
    if conv.stride[0] == 2:
        return conv(F.pad(x, (1, 2, 1, 2)))
    return conv(F.pad(x, (2, 2, 2, 2)))


def same_transposed(x: Tensor, conv: nn.ConvTranspose2d) -> Tensor:
    """Its transpose: at stride 2 ``padding=1`` gives one row and column too many at the end."""
    y = conv(x)
    return y[:, :, :-1, :-1] if conv.stride[0] == 2 else y


class Stack(nn.Module):
    def __init__(self, channels: int, width: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        ins, outs = [channels, width, 2 * width, 4 * width], [width, 2 * width, 4 * width, 8 * width]
        self.convs = nn.ModuleList(nn.Conv2d(ins[i], outs[i], 5, strides[i], bias=i == 0) for i in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=1e-3) for o in outs[1:])

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(same(x, self.convs[0]), 0.2)
        for conv, norm in zip(self.convs[1:], self.norms, strict=True):
            h = F.leaky_relu(norm(same(h, conv)), 0.2)
        return h.permute(0, 2, 3, 1).reshape(len(x), -1)  # h, w, c


class Encoder(nn.Module):
    def __init__(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.stack = Stack(channels, width, strides)
        self.mu = nn.Linear(4 * 4 * 8 * width, latent)
        self.log_sigma = nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor) -> Tensor:
        return self.mu(self.stack(x))


class Critic(nn.Module):
    def __init__(self, channels: int, width: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.stack = Stack(channels, width, strides)
        self.dense = nn.Linear(4 * 4 * 8 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.stack(x))[:, 0]


class Decoder(nn.Module):
    def __init__(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        widths = [8 * width, 4 * width, 2 * width, width, channels]
        self.dense = nn.Linear(latent, 4 * 4 * 8 * width, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w, eps=1e-3) for w in widths[:-1])
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(widths[i], widths[i + 1], 5, s, padding=1 if s == 2 else 2, bias=i == 3)
            for i, s in enumerate(reversed(strides))
        )

    def forward(self, z: Tensor) -> Tensor:
        h = self.dense(z).reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = same_transposed(F.relu(norm(h)), conv)
        return torch.tanh(h)


class KerasAdam:
    """Adam (0.5, 0.999) with 1e-7 outside the bias correction, and a rate that decays to 2 % over the run."""

    def __init__(self, weights: list[nn.Parameter], lr: float, total_steps: int) -> None:
        self.adam = torch.optim.Adam(weights, lr, betas=(0.5, 0.999), foreach=False, fused=False)
        self.weights, self.lr, self.total, self.t = weights, lr, total_steps, 0

    def step(self) -> None:
        group = self.adam.param_groups[0]
        group["lr"] = self.lr * 0.02 ** (self.t / self.total)
        self.t += 1
        group["eps"] = 1e-7 / math.sqrt(1 - 0.999**self.t)
        self.adam.step()


class EagerAVAE:
    """Four nets and the step; strides (2, 2, 1, 2) for 32x32 images, (2, 2, 2, 2) for 64x64."""

    def __init__(
        self, channels: int = 3, width: int = 16, latent: int = 100, strides: tuple[int, ...] = (2, 2, 1, 2),
        total_steps: int = 50_000,
    ) -> None:  # fmt: skip
        self.latent = latent
        self.E = Encoder(channels, width, latent, strides)
        self.decoder = Decoder(channels, width, latent, strides)
        self.G = Decoder(channels, width, 2 * latent, strides)
        self.D = Critic(channels, width, strides)
        for net in (self.E, self.decoder, self.G, self.D):
            for module in net.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    nn.init.normal_(module.weight, 0, 0.02)
        self.total_steps = total_steps
        self.start()

    def start(self) -> None:
        """Fresh optimisers: one for encoder and decoder, who share a backward, one for G, one for D."""
        players = [[*self.E.parameters(), *self.decoder.parameters()], [*self.G.parameters()], [*self.D.parameters()]]
        self.optimisers = [KerasAdam(weights, 2e-4, self.total_steps) for weights in players]

    def losses(self, x: Tensor, eps: Tensor, z: Tensor, xi: Tensor) -> list[Tensor]:
        """The three players' losses from one forward; the precision loss is the released sum over the batch."""
        mu, log_sigma = self.E(x), self.E.log_sigma
        kl = (mu**2 / 2 + torch.exp(2 * log_sigma) / 2 - 0.5 - log_sigma).sum(1).mean()
        nll = ((x - self.decoder(mu + torch.exp(log_sigma) * eps)) ** 2).sum((1, 2, 3)).mean() / 2
        fake = self.G(torch.cat([z, xi], 1))
        weight = torch.softmax(-2 * log_sigma, 0).detach()
        latent = (weight * (z - self.E(fake)) ** 2 / 2).sum()
        real, made = self.D(x), self.D(fake)
        return [nll + kl, -made.mean() + latent, F.softplus(-real).mean() + F.softplus(made).mean()]

    def step(self, x: Tensor, eps: Tensor, z: Tensor, xi: Tensor) -> list[Tensor]:
        losses = self.losses(x, eps, z, xi)
        for i, (loss, optimiser) in enumerate(zip(losses, self.optimisers, strict=True)):
            for p in optimiser.weights:
                p.grad = None
            loss.backward(inputs=optimiser.weights, retain_graph=i < 2)
        for optimiser in self.optimisers:
            optimiser.step()
        return [loss.detach() for loss in losses]
