"""How much faster the AVAE step is than the eager one of `eager_avae.py`, proved equal in float64 first.

    python benchmarks/avae_step.py [--rounds 12]

Both play the same steps in turn, so that a machine that drifts drifts for both; the ratio is the median over pairs.
Expected: 1.3 at width 16 and 1.2 at width 32 (32x32, batch 64, latent 100, xi, precision loss, two cores).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from eager_avae import EagerAVAE
from ganvas.engine import Engine
from ganvas.games.avae import AVAE, Config
from ganvas.memory import hold_memory
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream

BATCH, LATENT, SIDE = 64, 100, 32


def turned(net: nn.Module, base: tuple[int, int], widths: dict[str, int]) -> dict[str, Tensor]:
    """Our weights as the eager nets take them: kernels flipped, dense positions (h, w, c) turned by 180 degrees.

    widths: the channels of the map that a dense layer reads or writes, by the layer's name.
    """
    out = {}
    for name, value in net.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if "convs" in name and kind == "weight":
            value = value.flip(2, 3)
        elif layer in widths and kind == "weight":
            reads = net.get_submodule(layer).in_features == base[0] * base[1] * widths[layer]
            rows = value if reads else value.T
            value = rows.unflatten(1, (*base, widths[layer])).flip(1, 2).flatten(1)
            value = value if reads else value.T
        out[name] = value.contiguous().clone()
    return out


def hand_over(game: AVAE, eager: EagerAVAE, width: int) -> None:
    """Puts our game's weights into the eager nets."""
    base = (4, 4)
    eager.E.load_state_dict(turned(game.E, base, {"mu": 8 * width}))
    eager.decoder.load_state_dict(turned(game.decoder, base, {"dense": 8 * width}))
    eager.G.load_state_dict(turned(game.G, base, {"dense": 8 * width}))
    eager.D.load_state_dict(turned(game.D, base, {"dense": 8 * width}))


def noise_of(engine: Engine, n: int, latent: int, dtype: torch.dtype) -> list[Tensor]:
    """The noise that the engine's next round will draw: eps, z, xi."""
    generator = torch.Generator().manual_seed(stream(engine.seed, engine.clock.step, Purpose.NOISE))
    return [torch.randn(n, latent, generator=generator, dtype=dtype) for _ in range(3)]


def differ(game: AVAE, eager: EagerAVAE, width: int) -> float:
    """The largest difference between our weights and the eager ones."""
    other = EagerAVAE(width=width, latent=game.config.latent)
    for net in (other.E, other.decoder, other.G, other.D):
        net.to(torch.float64)
    hand_over(game, other, width)
    pairs = zip((other.E, other.decoder, other.G, other.D), (eager.E, eager.decoder, eager.G, eager.D), strict=True)
    return max(
        (a - b).abs().max().item() for x, y in pairs for a, b in zip(x.parameters(), y.parameters(), strict=True)
    )


def build(width: int, dtype: torch.dtype, latent: int = LATENT) -> tuple[Engine, AVAE, EagerAVAE]:
    """Both with the same weights."""
    torch.manual_seed(0)
    game = AVAE(Config(width=width, latent=latent, latent_loss="precision"), Schema({"image": (3, SIDE, SIDE)})).to(
        dtype
    )
    eager = EagerAVAE(width=width, latent=latent)
    for net in (eager.E, eager.decoder, eager.G, eager.D):
        net.to(dtype)
    hand_over(game, eager, width)
    eager.start()
    return Engine(game, total_steps=50_000), game, eager


def prove(steps: int = 1) -> float:
    """The largest difference in any weight after ``steps`` of both in float64."""
    engine, game, eager = build(4, torch.float64, latent=8)
    for i in range(steps):
        x = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(i), dtype=torch.float64) * 2 - 1
        eager.step(x, *noise_of(engine, BATCH, 8, torch.float64))
        engine.step({"image": x})
    return differ(game, eager, 4)


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    hold_memory()
    print(f"after one step in float64 the weights differ by at most {prove():.1e}")
    x = torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1
    fast_x = x.to(memory_format=torch.channels_last)
    for width in (16, 32):
        engine, _, eager = build(width, torch.float32)
        ratios, ours = [], []
        for i in range(options.rounds + 2):
            draws = [torch.randn(BATCH, LATENT) for _ in range(3)]
            plain = timed(lambda: eager.step(x, *draws))  # noqa: B023
            fast = timed(lambda: engine.step({"image": fast_x}))  # noqa: B023
            if i >= 2:
                ratios.append(plain / fast)
                ours.append(fast)
        rate, ratio = 1 / statistics.median(ours), statistics.median(ratios)
        print(
            f"width {width}: {rate:.2f} steps/s, {ratio:.2f}x the eager loop ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
