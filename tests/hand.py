"""GANs by hand, in plain PyTorch and float64: nets for 16x16 pictures written out, maps flattened channels first, Adam
by its formula. Nothing of ours is called; `plain` puts our weights into these nets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

F64 = torch.float64


class Adam:
    """m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, and a step of lr_t m / (sqrt(v) + eps_t), in which
    lr_t = lr sqrt(1 - b2^t) / (1 - b1^t). PyTorch: eps_t = eps sqrt(1 - b2^t), eps 1e-8. Keras: eps_t = eps, 1e-7."""

    def __init__(self, net: nn.Module, rate: float, betas: tuple[float, float], *, keras: bool = False) -> None:
        self.weights, self.rate, self.betas, self.keras = list(net.parameters()), rate, betas, keras
        self.t = [0 for _ in self.weights]
        self.m = [torch.zeros_like(weight) for weight in self.weights]
        self.v = [torch.zeros_like(weight) for weight in self.weights]

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """Of ``loss`` in these weights alone; None where it does not depend on one, which then rests."""
        return torch.autograd.grad(loss, self.weights, allow_unused=True)

    @torch.no_grad()
    def descend(self, gradients: tuple[Tensor | None, ...], factor: float = 1.0) -> None:
        """A step at ``factor`` times the learning rate."""
        b1, b2 = self.betas
        for i, (weight, g) in enumerate(zip(self.weights, gradients, strict=True)):
            if g is None:
                continue
            self.t[i] += 1
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g * g
            seen = 1 - b2 ** self.t[i]
            rate = held(held(self.rate) * factor) * math.sqrt(seen) / (1 - b1 ** self.t[i])
            weight.sub_(rate * self.m[i] / (self.v[i].sqrt() + (1e-7 if self.keras else 1e-8 * math.sqrt(seen))))


def held(rate: float) -> float:
    """A learning rate as a float32 scalar holds it."""
    return float(torch.tensor(rate, dtype=torch.float32))


class Generator(nn.Module):
    def __init__(self, channels: int, width: int, latent: int, classes: int = 0) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, latent) if classes else None
        self.dense = nn.Linear(latent * (2 if classes else 1), 2 * width * 4 * 4, bias=False)
        self.body = nn.Sequential(
            nn.Unflatten(1, (2 * width, 4, 4)),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.body(self.dense(z if self.embed is None else torch.cat([z, self.embed(label)], 1)))


class Critic(nn.Module):
    def __init__(self, channels: int, width: int, *, norm: bool = True, classes: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1, bias=not norm),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=not norm),
            nn.BatchNorm2d(2 * width) if norm else nn.Identity(),
            nn.LeakyReLU(0.2),
        )
        self.score = nn.Linear(2 * width * 4 * 4, 1, bias=not norm)
        self.project = nn.Embedding(classes, 2 * width) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.body(x)
        score = self.score(h.flatten(1)).squeeze(1)
        if self.project is not None:
            score = score + torch.einsum("bc,bchw->b", self.project(label), h)
        return score


def mlp(sizes: list[int], slope: float, last: nn.Module) -> nn.Sequential:
    """Dense layers with leaky ReLUs between them, and ``last`` at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1], last).double()


def plain(net: nn.Module) -> list[Tensor]:
    """The weights of one of our small nets, in the order and the layout of those above."""
    found = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    order = [name for name in found if not name.startswith(("convs", "norms"))]
    if "convs.0.weight" in found:
        up = "dense.weight" in found
        steps = ("norms.0", "convs.0", "norms.1", "convs.1") if up else ("convs.0", "convs.1", "norms.1")
        body = [f"{step}.{kind}" for step in steps for kind in ("weight", "bias") if f"{step}.{kind}" in found]
        order = (
            [*(name for name in order if name != "project.weight"), *body]
            if up
            else [*body, *(name for name in ("score.weight", "score.bias", "project.weight") if name in order)]
        )
        side = "dense.weight" if up else "score.weight"
        rows = found[side] if up else found[side].T  # counted h, w, c; wanted c, h, w
        rows = rows.unflatten(0, (4, 4, -1)).permute(2, 0, 1, 3).flatten(0, 2)
        found[side] = rows if up else rows.T
    return [found[name] for name in order]


def put(weights: Iterable[Tensor], net: nn.Module) -> nn.Module:
    """``net`` in float64 with these weights."""
    net = net.double()
    with torch.no_grad():
        for own, weight in zip(net.parameters(), weights, strict=True):
            own.copy_(weight)
    return net


def furthest(net: nn.Module, weights: Iterable[Tensor]) -> float:
    """The largest difference between a net's weights and others."""
    return max(
        float((own.detach() - weight).abs().max()) for own, weight in zip(net.parameters(), weights, strict=True)
    )
