"""What the engine costs, and what it gains: one DCGAN step played three ways on the same nets.

    python benchmarks/engine_overhead.py [--size 32] [--width 64] [--batch 64] [--rounds 30] [--device cpu]

``lean``: the leanest loop that a person would write for the same step (same averages, norms, logs; channels-last, the
critic frozen while the generator moves, fused Adam). Goal: the engine within 3 %.
``example``: the order of PyTorch's DCGAN example (real backward, fake backward, critic steps; then the generator
through a critic whose own gradients are computed and thrown away), contiguous, per-tensor Adam, and no averages, norms
or logs. Goal: the engine at least 1.25 times as fast.

The three take turns within one process, so that a busy machine hurts them alike; the ratios are medians of paired
rounds. ``lean`` is checked to compute what the engine computes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.engine import Engine
from ganvas.game import Game, Player, Turn, frozen, minimise
from ganvas.optim import adam
from ganvas.streams import Purpose, stream

LATENT, DECAY, RATE, BETAS = 100, 0.999, 2e-4, (0.5, 0.999)


def block(conv: nn.Module, channels: int, activation: nn.Module) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(channels), activation]


class Generator(nn.Sequential):
    """Radford et al. 2016: [B, Z] -> [B, 3, S, S]."""

    def __init__(self, size: int, width: int) -> None:
        c = width * size // 8
        layers = block(nn.ConvTranspose2d(LATENT, c, 4, bias=False), c, nn.ReLU(True))
        while c > width:
            layers += block(nn.ConvTranspose2d(c, c // 2, 4, 2, 1, bias=False), c // 2, nn.ReLU(True))
            c //= 2
        super().__init__(nn.Unflatten(1, (LATENT, 1, 1)), *layers, nn.ConvTranspose2d(c, 3, 4, 2, 1), nn.Tanh())


class Critic(nn.Sequential):
    """Radford et al. 2016: [B, 3, S, S] -> [B]."""

    def __init__(self, size: int, width: int) -> None:
        c = width
        layers: list[nn.Module] = [nn.Conv2d(3, c, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        while c < width * size // 8:
            layers += block(nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False), 2 * c, nn.LeakyReLU(0.2, True))
            c *= 2
        super().__init__(*layers, nn.Conv2d(c, 1, 4), nn.Flatten(0))


class DCGAN(Game):
    """The step that is timed."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.G, self.D = Generator(size, width), Critic(size, width)
        self.generator = Player((self.G,), adam(RATE, BETAS), ema=DECAY)
        self.critic = Player((self.D,), adam(RATE, BETAS))

    def round(self, image: Tensor) -> Iterator[Turn]:
        fake = self.G(self.normal(len(image), LATENT))
        real, false = F.softplus(-self.D(image)).mean(), F.softplus(self.D(fake.detach())).mean()
        yield minimise(self.critic, real=real, fake=false)
        with frozen(self.D):
            score = self.D(fake)
        yield minimise(self.generator, fool=F.softplus(-score).mean())


Step = Callable[[Tensor], object]


def nets(arguments: argparse.Namespace) -> tuple[nn.Module, nn.Module]:
    """The same initial nets for each contender."""
    torch.manual_seed(0)
    game = DCGAN(arguments.size, arguments.width).to(arguments.device)
    return game.G, game.D


def engine(arguments: argparse.Namespace) -> tuple[Step, nn.Module]:
    torch.manual_seed(0)
    game = DCGAN(arguments.size, arguments.width).to(arguments.device)
    player = Engine(game)
    return lambda image: player.step({"image": image}), game


def lean(arguments: argparse.Namespace) -> tuple[Step, nn.Module]:
    """By hand: one function, no abstraction, everything that the engine computes."""
    G, D = (net.to(memory_format=torch.channels_last) for net in nets(arguments))
    average, _ = (net.to(memory_format=torch.channels_last) for net in nets(arguments))
    of_g, of_d = list(G.parameters()), list(D.parameters())
    opt_g = torch.optim.Adam(of_g, RATE, BETAS, fused=True)
    opt_d = torch.optim.Adam(of_d, RATE, BETAS, fused=True)
    means, buffers, twins = list(average.parameters()), list(G.buffers()), list(average.buffers())
    noise = torch.Generator(arguments.device)
    logs: dict[str, Tensor] = {}
    steps = 0

    def log(name: str, value: Tensor) -> None:
        logs[name] = logs[name] + value.detach() if name in logs else value.detach()

    def step(image: Tensor) -> None:
        nonlocal steps
        noise.manual_seed(stream(0, steps, Purpose.NOISE))
        fake = G(torch.randn(len(image), LATENT, generator=noise, device=image.device))
        real, false = F.softplus(-D(image)).mean(), F.softplus(D(fake.detach())).mean()
        (real + false).backward()
        log("real", real)
        log("fake", false)
        log("critic norm", nn.utils.get_total_norm([p.grad for p in of_d]))
        opt_d.step()
        opt_d.zero_grad()
        for p in of_d:
            p.requires_grad_(False)
        fool = F.softplus(-D(fake)).mean()
        for p in of_d:
            p.requires_grad_(True)
        fool.backward()
        log("fool", fool)
        log("generator norm", nn.utils.get_total_norm([p.grad for p in of_g]))
        opt_g.step()
        opt_g.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(means, of_g, 1 - min(DECAY, (1 + steps) / (10 + steps)))
            for theirs, ours in zip(twins, buffers, strict=True):
                theirs.copy_(ours)
        steps += 1

    return step, nn.ModuleDict({"G": G, "D": D})


def example(arguments: argparse.Namespace) -> tuple[Step, nn.Module]:
    """https://github.com/pytorch/examples/blob/main/dcgan/main.py, its order and its defaults."""
    G, D = nets(arguments)
    opt_g = torch.optim.Adam(G.parameters(), RATE, BETAS, foreach=False)
    opt_d = torch.optim.Adam(D.parameters(), RATE, BETAS, foreach=False)
    criterion = nn.BCEWithLogitsLoss()  # the example ends its critic in a sigmoid: this is the same, and stable

    def step(image: Tensor) -> None:
        D.zero_grad()
        ones, zeros = (torch.full((len(image),), value, device=image.device) for value in (1.0, 0.0))
        criterion(D(image), ones).backward()
        fake = G(torch.randn(len(image), LATENT, device=image.device))
        criterion(D(fake.detach()), zeros).backward()
        opt_d.step()
        G.zero_grad()
        criterion(D(fake), ones).backward()
        opt_g.step()

    return step, nn.ModuleDict({"G": G, "D": D})


def check(arguments: argparse.Namespace, image: Tensor) -> None:
    """That ``lean`` computes what the engine computes: the very bits on the CPU."""
    (play, game), (step, hand) = engine(arguments), lean(arguments)
    for _ in range(3):
        play(image)
        step(image)
    worst = max(
        float((p - q).detach().abs().max())
        for ours, theirs in ((game.G, hand["G"]), (game.D, hand["D"]))
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    print(f"engine and lean loop after 3 steps: weights differ by at most {worst:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"size": 32, "width": 64, "batch": 64, "rounds": 30}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    plain = torch.rand(arguments.batch, 3, arguments.size, arguments.size, device=arguments.device) * 2 - 1
    image = plain.to(memory_format=torch.channels_last)
    check(arguments, image)
    contenders = {"engine": (engine, image), "lean": (lean, image), "example": (example, plain)}
    steps = {name: (make(arguments)[0], batch) for name, (make, batch) in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.rounds + 3):
        for name in sorted(steps, key=lambda name: (list(steps).index(name) + turn) % 3):  # nobody always goes first
            step, batch = steps[name]
            start = time.perf_counter()
            step(batch)
            if arguments.device.startswith("cuda"):
                torch.cuda.synchronize()
            if turn >= 3:
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}

    def paired(name: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[name], seconds["engine"], strict=True))

    print(f"DCGAN {arguments.size}x{arguments.size}, width {arguments.width}, batch {arguments.batch}, ", end="")
    print(f"{arguments.device}, {torch.get_num_threads()} threads, medians of {arguments.rounds} interleaved rounds")
    for name, value in median.items():
        print(f"  {name:8} {value * 1e3:9.2f} ms a step")
    print(f"  engine over the lean loop:    {100 * (1 / paired('lean') - 1):+.1f} %   (goal: at most +3 %)")
    print(f"  engine against the example:   {paired('example'):.2f}x    (goal: at least 1.25x)")


if __name__ == "__main__":
    main()
