"""Tiny games that between them use every rule, and what the tests do with games.

``meet`` says why the rows of a batch meet in a game (so that shares and ranks do not equal the whole), or is empty.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ganvas.engine import Engine
from ganvas.game import Clock, Game, Player, Turn, exactly, frozen, minimise, wide
from ganvas.optim import adam, exponential_decay, keras_adam

Z, W, SIDE = 4, 4, 8  # latent, width, pixels


# ---- losses and nets -------------------------------------------------------------------------------------------------
def bce(score: Tensor, real: int) -> Tensor:
    return F.softplus(-score if real else score).mean()


def kl_normal(mu: Tensor, log_sigma: Tensor) -> Tensor:
    return (mu.square() / 2 + (2 * log_sigma).exp() / 2 - 0.5 - log_sigma).sum(1).mean()


def half_squares(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).sum(1).mean() / 2


def slope(critic: nn.Module, x: Tensor, centre: float) -> Tensor:
    """Mean square of (|gradient of the critic at x| - centre)."""
    with exactly(x.device.type):
        x = wide(x.detach()).requires_grad_()
        (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return ((g.flatten(1).square().sum(1) + 1e-12).sqrt() - centre).square().mean()


class Critic(nn.Module):
    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, W, 4, 2, 1)
        self.norm = nn.BatchNorm2d(W) if norm else nn.Identity()
        self.out = nn.Linear(W * (SIDE // 2) ** 2, 1)

    def features(self, x: Tensor) -> Tensor:  # [B, 3, S, S] -> [B, W * S/2 * S/2]
        return F.silu(self.norm(self.conv(x))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))[:, 0]


class Generator(nn.Module):
    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.dense = nn.Linear(Z, W * (SIDE // 2) ** 2)
        self.norm = nn.BatchNorm2d(W) if norm else nn.Identity()
        self.conv = nn.ConvTranspose2d(W, 3, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:  # [B, Z] -> [B, 3, S, S]
        return torch.tanh(self.conv(F.silu(self.norm(self.dense(z).view(-1, W, SIDE // 2, SIDE // 2)))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.mu = Critic(), nn.Linear(W * (SIDE // 2) ** 2, Z)
        self.log_sigma = nn.Parameter(torch.zeros(Z))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu = self.mu(self.trunk.features(x))
        return mu, self.log_sigma.expand_as(mu)


class Pool(nn.Module):
    """The images of the last round, of which a critic sees something again: memory, hence a non-persistent buffer."""

    images: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(rows, 3, SIDE, SIDE), persistent=False)

    def forward(self, x: Tensor, coin: Tensor) -> Tensor:  # coin [B] in [0, 1): drawn by the game
        if not self.training:
            return x
        x, part = x.detach(), coin.view(-1, 1, 1, 1)
        shown = part * self.images[: len(x)] + (1 - part) * x
        self.images[: len(x)] = x
        return shown


# ---- games -----------------------------------------------------------------------------------------------------------
class Toy(Game):
    """A game that says where rows meet and what a row is."""

    meet = ""

    @staticmethod
    def row() -> dict[str, tuple[int, ...]]:
        return {"image": (3, SIDE, SIDE)}


class Alternate(Toy):
    """Critic, lazy R1, generator: sequential moves, clip, average, notes, a frozen critic."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.G, self.D = Generator(norm), Critic(norm)
        self.generator = Player((self.G,), adam(2e-3, (0.5, 0.999)), ema=0.9)
        self.critic = Player((self.D,), adam(4e-3, (0.5, 0.999)), clip=0.3)

    def round(self, image: Tensor) -> Iterator[Turn]:
        fake = self.G(self.normal(len(image), Z))
        d_x, d_g = self.D(image), self.D(fake.detach())
        self.note(accuracy=(d_x > d_g).double().mean())
        yield minimise(self.critic, real=bce(d_x, 1), fake=bce(d_g, 0))
        if self.every(4):
            yield minimise(self.critic, r1=(2.0, slope(self.D, image, 0.0)))
        with frozen(self.D):
            d_g = self.D(fake)
        yield minimise(self.generator, fool=bce(d_g, 1))


class Normed(Alternate):
    """The same with batch norm in both nets."""

    meet = "batch norm: its statistics are of a share"

    def __init__(self) -> None:
        super().__init__(norm=True)


class Penalised(Toy):
    """WGAN-GP: a penalty that is a term, uniform noise, the generator on every third batch."""

    def __init__(self) -> None:
        super().__init__()
        self.G, self.D = Generator(), Critic()
        self.generator = Player((self.G,), adam(1e-3, (0.0, 0.9)), exponential_decay(0.1, 0.25))
        self.critic = Player((self.D,), adam(1e-3, (0.0, 0.9)))

    def round(self, image: Tensor) -> Iterator[Turn]:
        fake = self.G(self.normal(len(image), Z))
        part = self.uniform(len(image), 1, 1, 1)
        between = part * image + (1 - part) * fake.detach()
        yield minimise(
            self.critic,
            real=-self.D(image).mean(),
            fake=self.D(fake.detach()).mean(),
            penalty=(10.0, slope(self.D, between, 1.0)),
        )
        if self.every(3):
            yield minimise(self.generator, fool=-self.D(fake).mean())


class Simultaneous(Toy):
    """A VAE/GAN: three players move at once on the graphs of one forward pass; one weight grows with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.E, self.G, self.D = Encoder(), Generator(), Critic()
        self.encoder, self.decoder, self.critic = (
            Player((net,), adam(1e-3, (0.5, 0.999))) for net in (self.E, self.G, self.D)
        )

    def losses(self, image: Tensor, eps: Tensor, z_p: Tensor, rows: int) -> tuple[dict[str, Any], ...]:
        """The terms of encoder, decoder and critic, by the book."""
        mu, log_sigma = self.E(image)
        x_hat, x_p = self.G(mu + log_sigma.exp() * eps), self.G(z_p)
        likeness = half_squares(self.D.features(x_hat), self.D.features(image))
        d_x, d_r, d_p = self.D(image), self.D(x_hat), self.D(x_p)
        return (
            {"likeness": likeness, "kl": (2.0, kl_normal(mu, log_sigma))},
            {"likeness": (0.01, likeness), "fool": -d_r.mean() - d_p.mean(), "near": (rows, x_p.square().mean())},
            {"real": bce(d_x, 1), "fake": bce(d_r, 0) + bce(d_p, 0)},
        )

    def round(self, image: Tensor) -> Iterator[Turn]:
        eps, z_p = self.normal(len(image), Z), self.normal(len(image), Z)
        terms = self.losses(image, eps, z_p, self.seat.total)
        players = (self.encoder, self.decoder, self.critic)
        yield tuple(minimise(player, **losses) for player, losses in zip(players, terms, strict=True))


class Sharing(Toy):
    """Two players hold one net and move at once: each must move by its own gradient alone."""

    def __init__(self) -> None:
        super().__init__()
        self.T, self.H = nn.Linear(3, 3), nn.Linear(3, 1)
        self.trunk = Player((self.T,), adam(1e-3), ema=0.5)
        self.whole = Player((self.T, self.H), adam(3e-3), exponential_decay(0.02))

    @staticmethod
    def row() -> dict[str, tuple[int, ...]]:
        return {"vector": (3,)}

    def round(self, vector: Tensor) -> Iterator[Turn]:
        h = torch.tanh(self.T(vector))
        yield minimise(self.trunk, size=h.square().mean()), minimise(self.whole, head=-5 * self.H(h).mean())


class Stages(Toy):
    """Two players hold the generator in turn, so that its second stage starts with a fresh Adam; the average follows
    both."""

    def __init__(self) -> None:
        super().__init__()
        self.G, self.D = Generator(), Critic()
        self.first = Player((self.G,), adam(1e-3), ema=0.9)
        self.second = Player((self.G,), adam(1e-3), ema=0.9)
        self.critic = Player((self.D,), adam(1e-3))

    def round(self, image: Tensor) -> Iterator[Turn]:
        fake = self.G(self.normal(len(image), Z))
        pixel = half_squares(fake, image)
        if self.when(lambda clock: clock.step < 5):
            yield minimise(self.first, pixel=pixel)
        else:
            yield minimise(self.critic, real=bce(self.D(image), 1), fake=bce(self.D(fake.detach()), 0))
            yield minimise(self.second, pixel=pixel, fool=(0.1, bce(self.D(fake), 1)))


class Remembering(Toy):
    """The critic sees fakes of the round before: memory that a checkpoint must hold, though the weights do not."""

    meet = "a pool: it remembers the rows of a share"

    def __init__(self) -> None:
        super().__init__()
        self.G, self.D, self.pool = Generator(), Critic(), Pool(8)
        self.generator, self.critic = Player((self.G,), adam(2e-3)), Player((self.D,), adam(2e-3))

    def round(self, image: Tensor) -> Iterator[Turn]:
        fake = self.G(self.normal(len(image), Z))
        yield minimise(self.generator, fool=bce(self.D(fake), 1))
        shown = self.pool(fake, self.uniform(len(image)))
        yield minimise(self.critic, real=bce(self.D(image), 1), fake=bce(self.D(shown), 0))


class Dials(Toy):
    """Vectors, Keras's Adam, dropout, and weights of terms that vary in time; two dials, asked for in two turns."""

    meet = "dropout: its stream is a rank's own"

    def __init__(self) -> None:
        super().__init__()
        self.N = nn.Sequential(nn.Linear(3, W), nn.SiLU(), nn.Dropout(0.2), nn.Linear(W, 3))
        self.model = Player((self.N,), keras_adam(1e-3, (0.5, 0.999)), ema=0.99)

    @staticmethod
    def row() -> dict[str, tuple[int, ...]]:
        return {"vector": (3,)}

    @staticmethod
    def rising(clock: Clock) -> float:
        return clock.step / clock.total_steps

    @staticmethod
    def falling(clock: Clock) -> float:
        return 100.0 - clock.step

    def round(self, vector: Tensor, **others: Tensor) -> Iterator[Turn]:
        rising = self.now(self.rising)
        self.note(rising=rising)
        yield minimise(self.model, fit=half_squares(self.N(vector), vector), size=(rising, self.N(vector).abs().mean()))
        falling = self.now(self.falling)
        self.note(falling=falling)
        yield minimise(self.model, fit=(falling * 0.01, half_squares(self.N(vector), vector)))


TOYS: tuple[type[Toy], ...] = (
    Alternate,
    Normed,
    Penalised,
    Simultaneous,
    Sharing,
    Stages,
    Remembering,
    Dials,
)
ROWS = 8


# ---- what tests do with them -----------------------------------------------------------------------------------------
def build(make: Callable[[], Game], dtype: torch.dtype = torch.float32, *, weights: int = 0, **settings: Any) -> Engine:
    """An engine over a new game; ``weights`` seeds its initial weights."""
    torch.manual_seed(weights)
    return Engine(make().to(dtype=dtype), **{"steps_per_epoch": 3, "total_steps": 20, "seed": 5} | settings)


def batch(
    toy: type[Toy], step: int, dtype: torch.dtype = torch.float32, rows: int = ROWS, rank: int = 0, world: int = 1
) -> dict[str, Tensor]:
    """A rank's rows of the batch of a step: numbers in [-1, 1]."""
    generator = torch.Generator().manual_seed(1000 + step)
    whole = {
        name: torch.rand(rows, *shape, generator=generator, dtype=torch.float64).to(dtype) * 2 - 1
        for name, shape in toy.row().items()
    }
    return {name: values.chunk(world)[rank] for name, values in whole.items()}


def play(engine: Engine, toy: type[Toy], first: int, last: int, dtype: torch.dtype = torch.float32) -> list[Any]:
    """Plays the rounds ``first .. last - 1``; the turns of each."""
    return [engine.step(batch(toy, step, dtype)) for step in range(first, last)]


def everything(engine: Engine) -> dict[str, Tensor]:
    """A copy of every tensor that a run carries on: weights, buffers, memory, averages, optimisers, sums of logs."""
    state = engine.state_dict()
    found = {
        f"{part}/{name}": value for part in ("weights", "average", "memory") for name, value in state[part].items()
    }
    for player, optimiser in state["state"]["optimisers"].items():
        for index, moments in optimiser["state"].items():
            found |= {f"{player}/{index}/{name}": value for name, value in moments.items()}
    found |= {f"log/{name}": value for name, value in state["state"]["sums"].items()}
    return {name: value.detach().clone() for name, value in found.items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 0.0) -> list[str]:
    """The names of what is not in both, or differs by more than ``tolerance``."""
    apart = sorted(a.keys() ^ b.keys())
    for name in a.keys() & b.keys():
        x, y = a[name].double(), b[name].double()
        if x.shape != y.shape or not bool(((x - y).abs() <= tolerance).all()):
            apart.append(name)
    return apart


def no_yield_inside_with(function: Callable[..., Any]) -> bool:
    """Whether a round, read off its source, keeps the rule: what a ``with`` sets must not outlive a stretch."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    inside = (inner for node in ast.walk(tree) if isinstance(node, ast.With) for inner in ast.walk(node))
    return not any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in inside)


def _fake_copy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """A deep copy that has no values to copy (PyTorch's own would read those of a fake tensor)."""
    if id(tensor) not in memo:
        empty = torch.empty_like(tensor)
        memo[id(tensor)] = nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
    found: Tensor = memo[id(tensor)]
    return found


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors without values inside: whatever waits for a value raises. Nets stay in the layout and dtype that they are
    made in, for fake weights cannot be swapped."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(nn.Module, "to", lambda net, **_: net))
        stack.enter_context(mock.patch.object(nn.Parameter, "__deepcopy__", _fake_copy))
        stack.enter_context(mock.patch.object(Tensor, "__deepcopy__", _fake_copy))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield
