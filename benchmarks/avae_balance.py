"""What AVAE's generator is pulled by: its critic, or the latent loss.

    python benchmarks/avae_balance.py [--width 16] [--weight 1] [--steps 100] [--data data/cifar10]

Trains the AVAE table's row "without xi, L_Z^a" on its schedule of 50,000 steps, for the first few, and prints now and
then the critic's accuracy and the terms of G since the last line, and how many times the gradient of the weighed latent
loss in G's images is as long as that of fooling the critic.
"""

from __future__ import annotations

import argparse
import dataclasses

import torch

from ganvas import games
from ganvas.data import Batches, open_data
from ganvas.engine import Engine
from ganvas.games.avae import AVAE
from ganvas.losses import latent_nll, raw

BATCH, SHOWN = 64, (25, 50, 100, 150, 200, 300, 500, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--data", default="data/cifar10")
    options = parser.parse_args()
    data = open_data(options.data)
    config, _ = games.system("avae").preset("avae-table")
    changed = {"width": options.width, "xi": False, "latent_loss": "nll", "latent_weight": options.weight}
    torch.manual_seed(0)
    game = games.system("avae").build({**dataclasses.asdict(config), **changed}, data.schema)
    assert isinstance(game, AVAE)
    engine, batches = Engine(game, total_steps=50_000), Batches(data, BATCH, seed=0)
    for step in range(1, options.steps + 1):
        engine.step(batches(step - 1))
        if step in SHOWN:
            terms = engine.tick()
            z = torch.randn(BATCH, game.latent)
            x = game.G(z).detach().requires_grad_()
            (fool,) = torch.autograd.grad(raw(game.D(x)), x)
            (latent,) = torch.autograd.grad(options.weight * latent_nll(z, *game.E(x)).mean(), x)
            print(
                f"width {options.width}, weight {options.weight:g}, step {step}: accuracy {terms['accuracy']:.3f}, "
                f"fool {terms['generator/fool']:.2f}, latent {terms['generator/latent']:.2f}, "
                f"pull {float(latent.norm() / fool.norm()):.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
