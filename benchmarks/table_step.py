"""How much faster the AVAE table's steps are than the eager ones of `eager_table.py`, proved equal in float64 first.

    python benchmarks/table_step.py [--rows vaegan bigan ...] [--widths 16 32] [--rounds 12]

Both play the same steps in turn, so that a machine that drifts drifts for both; the ratio is the median over pairs.
Expected: 1.3 at width 16 for vaegan, bigan and avae, and 1.2 at width 32 for avae (32x32, batch 64, latent 100, two
cores). Beside each rate stands that of the authors' compiled TensorFlow step, measured by us on another day.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import eager_table
from ganvas import games
from ganvas.benchmark.table import ROWS
from ganvas.engine import Engine
from ganvas.game import Game
from ganvas.memory import hold_memory
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream

BATCH, LATENT, SIDE = 64, 100, 32
AUTHORS = {  # steps/s by width: TensorFlow 2.15, compiled, 2 cores with AVX-512
    16: {"vae": 24.4, "gan": 20.0, "vaegan": 9.4, "bigan": 14.6, "avae-xi-precision": 8.9},
    32: {"vae": 8.1, "gan": 5.8, "vaegan": 2.5, "bigan": 3.9, "avae-xi-precision": 2.5},
}
MAPPED = ("mu", "dense", "x.dense")  # dense layers that read or write a map


def turned(net: nn.Module, width: int, base: tuple[int, int] = (4, 4)) -> dict[str, Tensor]:
    """Our weights as the eager nets take them: kernels flipped, dense positions (h, w, c) turned by 180 degrees.

    width: channels of the first convolution. base: height and width of the map that a dense layer reads or writes.
    """
    out = {}
    for name, value in net.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if "convs" in name and kind == "weight":
            value = value.flip(2, 3)
        elif layer in MAPPED and kind == "weight":
            reads = net.get_submodule(layer).in_features == base[0] * base[1] * 8 * width
            rows = value if reads else value.T
            value = rows.unflatten(1, (*base, 8 * width)).flip(1, 2).flatten(1)
            value = value if reads else value.T
        out[name] = value.contiguous().clone()
    return out


def hand_over(game: Game, eager: eager_table.Eager, width: int) -> None:
    """Puts our game's weights into the eager nets."""
    for name, net in eager.nets.items():
        net.load_state_dict(turned(getattr(game, name), width))


def noise_of(engine: Engine, n: int, latent: int, draws: int, dtype: torch.dtype) -> list[Tensor]:
    """The noise that the engine's next round will draw."""
    generator = torch.Generator().manual_seed(stream(engine.seed, engine.clock.step, Purpose.NOISE))
    return [torch.randn(n, latent, generator=generator, dtype=dtype) for _ in range(draws)]


def differ(row: str, game: Game, eager: eager_table.Eager, width: int) -> float:
    """The largest difference between our weights and the eager ones."""
    other = eager_table.row(row, width=width, latent=eager.latent)
    for net in other.nets.values():
        net.to(torch.float64)
    hand_over(game, other, width)
    return max(
        (a - b).abs().max().item()
        for name in eager.nets
        for a, b in zip(other.nets[name].parameters(), eager.nets[name].parameters(), strict=True)
    )


def build(
    row: str, width: int, dtype: torch.dtype, latent: int = LATENT, side: int = SIDE
) -> tuple[Engine, Game, eager_table.Eager]:
    """Both with the same weights: the ``avae-table`` preset, and its row by hand."""
    torch.manual_seed(0)
    system, leaves = ROWS[row]
    config, _ = games.system(system).preset("avae-table")
    own = {leaf: getattr(config, leaf) for leaf in config.__dataclass_fields__}
    schema = Schema({"image": (3, side, side)})
    game = games.system(system).build({**own, **leaves, "width": width, "latent": latent}, schema).to(dtype)
    eager = eager_table.row(row, width=width, latent=latent, strides=(2, 2, 1 if side == 32 else 2, 2))
    for net in eager.nets.values():
        net.to(dtype)
    hand_over(game, eager, width)
    eager.start()
    return Engine(game, total_steps=50_000), game, eager


def prove(row: str, steps: int = 1) -> float:
    """The largest difference in any weight after ``steps`` of both in float64."""
    engine, game, eager = build(row, 4, torch.float64, latent=8)
    for i in range(steps):
        x = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(i), dtype=torch.float64) * 2 - 1
        eager.step(x, *noise_of(engine, BATCH, 8, eager.draws, torch.float64))
        engine.step({"image": x})
    return differ(row, game, eager, 4)


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(AUTHORS[16]))
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    hold_memory()
    x = torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1
    fast_x = x.to(memory_format=torch.channels_last)
    for row in options.rows:
        print(f"{row}: after one step in float64 the weights differ by at most {prove(row):.1e}")
        for width in options.widths:
            engine, _, eager = build(row, width, torch.float32)
            ratios, ours = [], []
            for i in range(options.rounds + 2):
                draws = [torch.randn(BATCH, LATENT) for _ in range(eager.draws)]
                plain = timed(lambda: eager.step(x, *draws))  # noqa: B023
                fast = timed(lambda: engine.step({"image": fast_x}))  # noqa: B023
                if i >= 2:
                    ratios.append(plain / fast)
                    ours.append(fast)
            rate, ratio = 1 / statistics.median(ours), statistics.median(ratios)
            authors = AUTHORS.get(width, {}).get(row)
            print(
                f"  width {width}: {rate:.2f} steps/s, {ratio:.2f}x the eager loop ({min(ratios):.2f} to "
                f"{max(ratios):.2f})" + (f"; the authors' step {authors}" if authors else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
