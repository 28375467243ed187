"""The steps of the AVAE table as a good user would write them from its protocol: the yardstick of `table_step.py`, and
the tests'.

Contiguous fp32; TensorFlow's asymmetric SAME by ``F.pad`` and by cropping; one shared forward; one backward a player
over its own weights; a plain Adam tensor by tensor with Keras's epsilon; nothing read back. Imports nothing of ganvas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


class Head(nn.Module):
    def __init__(self, channels: int, width: int, outputs: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.stack = Stack(channels, width, strides)
        self.dense = nn.Linear(4 * 4 * 8 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.stack(x))


class Critic(Head):
    def __init__(self, channels: int, width: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, width, 1, strides)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


class FeatureCritic(Critic):
    """With the map that likeness is measured on: the last at 32x32, at 64x64 the third over the root of 2."""

    def __init__(self, channels: int, width: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, width, strides)
        self.large = strides[2] == 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.leaky_relu(same(x, self.stack.convs[0]), 0.2)
        for conv, norm in zip(self.stack.convs[1:], self.stack.norms, strict=True):
            before, h = h, F.leaky_relu(norm(same(h, conv)), 0.2)
        features = before / 2**0.5 if self.large else h
        return self.dense(h.permute(0, 2, 3, 1).reshape(len(x), -1))[:, 0], features


class JointCritic(nn.Module):
    def __init__(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        n = 8 * width
        self.x = Head(channels, width, n, strides)
        self.z = nn.ModuleList([nn.Linear(latent, n), nn.Linear(n, n), nn.Linear(n, n)])
        self.both = nn.ModuleList([nn.Linear(2 * n, 2 * n), nn.Linear(2 * n, 2 * n), nn.Linear(2 * n, 1)])

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        hz = F.leaky_relu(self.z[1](F.leaky_relu(self.z[0](z), 0.2)), 0.2)
        h = F.leaky_relu(self.both[0](torch.cat([self.x(x), self.z[2](hz)], 1)), 0.2)
        return self.both[2](F.leaky_relu(self.both[1](h), 0.2))[:, 0]


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


class Eager:
    """Nets by name, in players who share a backward, and the step. Strides: (2, 2, 1, 2) for 32x32 images, else
    (2, 2, 2, 2). ``draws``: how many blocks of noise [B, Z] a step takes."""

    draws = 1

    def __init__(
        self, channels: int = 3, width: int = 16, latent: int = 100, strides: tuple[int, ...] = (2, 2, 1, 2),
        total_steps: int = 50_000,
    ) -> None:  # fmt: skip
        self.latent, self.total_steps = latent, total_steps
        self.nets = self.build(channels, width, latent, strides)
        for net in self.nets.values():
            for module in net.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    nn.init.normal_(module.weight, 0, 0.02)
        self.start()

    def build(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> dict[str, nn.Module]:
        raise NotImplementedError

    def players(self) -> list[list[str]]:
        """Names of the nets of each player."""
        return [[name] for name in self.nets]

    def losses(self, x: Tensor, *noise: Tensor) -> Sequence[Tensor]:
        """The players' losses from one forward."""
        raise NotImplementedError

    def start(self) -> None:
        """Fresh optimisers."""
        weights = [[p for name in names for p in self.nets[name].parameters()] for names in self.players()]
        self.optimisers = [KerasAdam(own, 2e-4, self.total_steps) for own in weights]

    def step(self, x: Tensor, *noise: Tensor) -> list[Tensor]:
        losses = self.losses(x, *noise)
        for i, (loss, optimiser) in enumerate(zip(losses, self.optimisers, strict=True)):
            for p in optimiser.weights:
                p.grad = None
            loss.backward(inputs=optimiser.weights, retain_graph=i + 1 < len(losses))
        for optimiser in self.optimisers:
            optimiser.step()
        return [loss.detach() for loss in losses]


def kl_of(mu: Tensor, log_sigma: Tensor) -> Tensor:
    return (mu**2 / 2 + torch.exp(2 * log_sigma) / 2 - 0.5 - log_sigma).sum(1).mean()


def error(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).flatten(1).sum(1).mean() / 2


class EagerVAE(Eager):
    def build(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> dict[str, nn.Module]:
        return {"E": Encoder(channels, width, latent, strides), "D": Decoder(channels, width, latent, strides)}

    def players(self) -> list[list[str]]:
        return [["E", "D"]]  # whose losses differ by the KL, which reaches E alone

    def losses(self, x: Tensor, *noise: Tensor) -> Sequence[Tensor]:
        E, D = self.nets["E"], self.nets["D"]
        mu = E(x)
        return [error(x, D(mu + torch.exp(E.log_sigma) * noise[0])) + kl_of(mu, E.log_sigma)]


class EagerGAN(Eager):
    def build(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> dict[str, nn.Module]:
        return {"G": Decoder(channels, width, latent, strides), "D": Critic(channels, width, strides)}

    def losses(self, x: Tensor, *noise: Tensor) -> Sequence[Tensor]:
        G, D = self.nets["G"], self.nets["D"]
        real, made = D(x), D(G(noise[0]))
        return [-made.mean(), F.softplus(-real).mean() + F.softplus(made).mean()]


class EagerVAEGAN(Eager):
    draws = 2
    beta = 10.0

    def build(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> dict[str, nn.Module]:
        return {
            "E": Encoder(channels, width, latent, strides),
            "G": Decoder(channels, width, latent, strides),
            "D": FeatureCritic(channels, width, strides),
        }

    def losses(self, x: Tensor, *noise: Tensor) -> Sequence[Tensor]:
        E, G, D = self.nets["E"], self.nets["G"], self.nets["D"]
        mu = E(x)
        rebuilt, made = G(mu + torch.exp(E.log_sigma) * noise[0]), G(noise[1])
        (d_x, f_x), (d_r, f_r), (d_p, _) = D(x), D(rebuilt), D(made)
        nll = error(f_x, f_r)
        return [
            self.beta * kl_of(mu, E.log_sigma) + nll,
            0.01 * nll - d_r.mean() - d_p.mean(),
            F.softplus(-d_x).mean() + F.softplus(d_r).mean() + F.softplus(d_p).mean(),
        ]


class EagerBiGAN(Eager):
    def build(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> dict[str, nn.Module]:
        return {
            "E": Head(channels, width, latent, strides),
            "G": Decoder(channels, width, latent, strides),
            "D": JointCritic(channels, width, latent, strides),
        }

    def losses(self, x: Tensor, *noise: Tensor) -> Sequence[Tensor]:
        E, G, D = self.nets["E"], self.nets["G"], self.nets["D"]
        d_e, d_g = D(x, E(x)), D(G(noise[0]), noise[0])
        fool = F.softplus(-d_e).mean() + F.softplus(d_g).mean()
        return [10 * fool, fool, F.softplus(-d_g).mean() + F.softplus(d_e).mean()]


class EagerAVAE(Eager):
    """latent_loss: ``precision`` is the released sum over the batch; ``nll`` a mean of -ln q(z | G(z, xi))."""

    def __init__(self, *, xi: bool = True, latent_loss: str = "precision", **sizes: int) -> None:
        self.xi, self.latent_loss, self.draws = xi, latent_loss, 3 if xi else 2
        super().__init__(**sizes)

    def build(self, channels: int, width: int, latent: int, strides: tuple[int, ...]) -> dict[str, nn.Module]:
        return {
            "E": Encoder(channels, width, latent, strides),
            "decoder": Decoder(channels, width, latent, strides),
            "G": Decoder(channels, width, 2 * latent if self.xi else latent, strides),
            "D": Critic(channels, width, strides),
        }

    def players(self) -> list[list[str]]:
        return [["E", "decoder"], ["G"], ["D"]]

    def losses(self, x: Tensor, *noise: Tensor) -> Sequence[Tensor]:
        E, decoder, G, D = self.nets.values()
        mu, log_sigma, z = E(x), E.log_sigma, noise[1]
        nll = error(x, decoder(mu + torch.exp(log_sigma) * noise[0]))
        fake = G(torch.cat([z, noise[2]], 1) if self.xi else z)
        apart, constant = (z - E(fake)) ** 2, log_sigma.detach()
        if self.latent_loss == "precision":
            latent = (torch.softmax(-2 * constant, 0) * apart / 2).sum()
        else:
            latent = (apart / (2 * torch.exp(constant) ** 2) + constant).sum(1).mean()
        real, made = D(x), D(fake)
        return [
            nll + kl_of(mu, log_sigma),
            -made.mean() + latent,
            F.softplus(-real).mean() + F.softplus(made).mean(),
        ]


def row(name: str, **sizes: int) -> Eager:
    """A row of the table: vae, gan, vaegan, bigan, or avae[-xi]-nll, avae[-xi]-precision."""
    plain = {"vae": EagerVAE, "gan": EagerGAN, "vaegan": EagerVAEGAN, "bigan": EagerBiGAN}
    if name in plain:
        return plain[name](**sizes)
    return EagerAVAE(xi="-xi-" in name, latent_loss=name.rpartition("-")[2], **sizes)
