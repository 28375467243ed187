"""The DCGAN of pytorch/examples: ``netG`` and ``netD``, for pictures of 64x64.

Where theirs begins with a transposed convolution of a single pixel and ends with a convolution to one, ours have linear
layers, which are the same sums in another order; and theirs have no biases where ours have some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.exchange.layout import Findings, Layout, Told, Wish, grey
from ganvas.exchange.reading import Published, Tensors
from ganvas.game import Game
from ganvas.games import dcgan
from ganvas.nets.dcgan import Generator
from ganvas.schema import Schema

SIDE, KERNEL, STAGES = 64, 4, 4
G, D = "the netG of the DCGAN example", "the netD of the DCGAN example"
NORMS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Examples(Layout):
    """netG and netD of pytorch/examples."""

    system, source = "dcgan", "pytorch/examples dcgan"
    files: ClassVar[Mapping[str, str]] = {"G": "netG.pth", "D": "netD.pth"}

    def tell(self, parts: Mapping[str, Published], wish: Wish) -> Told:
        if wish.labels or wish.size not in (None, (SIDE, SIDE)):
            raise UsageError(f"The DCGAN example makes pictures of {SIDE}x{SIDE}, of no labels: leave that away.")
        found = Findings(self.system, wish)
        if file := parts.get("G"):
            file.expect(G)
            found.add("latent", file.shape("main.0.weight")[0], file)
            found.add("width", file.shape("main.9.weight")[1], file)
            found.add("channels", file.shape("main.12.weight")[1], file)
        if file := parts.get("D"):
            file.expect(D)
            found.add("width", file.shape("main.0.weight")[0], file)
            found.add("channels", file.shape("main.0.weight")[1], file)
        channels = found.get("channels", 3)
        schema = Schema({"image": (channels, SIDE, SIDE)})
        return Told(found.leaves("channels"), schema, f"images:imported?size={SIDE}{grey(channels)}")

    # Theirs by the index in ``main``: G has (convolution, norm) at 0, 3, 6, 9 and a convolution at 12; D a convolution
    # at 0, (convolution, norm) at 2, 5, 8 and a convolution at 11.
    def published(self, part: str, game: Game) -> Tensors:
        state, found = super().published(part, game), Tensors()
        if part == "G":
            dense = state["dense.weight"]  # [(y, x, channel), z]
            found["main.0.weight"] = dense.view(KERNEL, KERNEL, -1, dense.shape[1]).permute(3, 2, 0, 1)
            for i in range(STAGES):
                found |= {f"main.{3 * i + 1}.{name}": state[f"norms.{i}.{name}"] for name in NORMS}
                found[f"main.{3 * i + 3}.weight"] = state[f"convs.{i}.weight"]
            return found
        found["main.0.weight"] = state["convs.0.weight"]
        for i in range(1, STAGES):
            found[f"main.{3 * i - 1}.weight"] = state[f"convs.{i}.weight"]
            found |= {f"main.{3 * i}.{name}": state[f"norms.{i}.{name}"] for name in NORMS}
        score = state["score.weight"]  # [1, (y, x, channel)]
        found["main.11.weight"] = score.view(1, KERNEL, KERNEL, -1).permute(0, 3, 1, 2)
        return found

    def ours(self, part: str, tensors: Tensors, net: nn.Module) -> Tensors:
        found = {name: torch.zeros_like(value, device="cpu") for name, value in net.state_dict().items()}  # biases
        if part == "G":
            found["dense.weight"] = tensors["main.0.weight"].permute(2, 3, 1, 0).flatten(0, 2)
            for i in range(STAGES):
                found |= {f"norms.{i}.{name}": tensors[f"main.{3 * i + 1}.{name}"] for name in NORMS}
                found[f"convs.{i}.weight"] = tensors[f"main.{3 * i + 3}.weight"]
            return found
        found["convs.0.weight"] = tensors["main.0.weight"]
        for i in range(1, STAGES):
            found[f"convs.{i}.weight"] = tensors[f"main.{3 * i - 1}.weight"]
            found |= {f"norms.{i}.{name}": tensors[f"main.{3 * i}.{name}"] for name in NORMS}
        found["score.weight"] = tensors["main.11.weight"].permute(0, 2, 3, 1).flatten(1)
        return found

    def check(self, game: Game) -> None:
        assert isinstance(game, dcgan.DCGAN)
        assert isinstance(game.G, Generator)
        config = game.config
        if game.classes or config.spectral_norm or not config.critic_normed:
            raise UsageError("The DCGAN example has no classes, no spectral norm, and batch norm in its critic.")
        if game.G.base[:2] != (KERNEL, KERNEL) or len(game.G.convs) != STAGES:
            raise UsageError(f"The DCGAN example makes pictures of {SIDE}x{SIDE} alone.")
        biases = [
            name
            for name, value in [*game.G.named_parameters("G"), *game.D.named_parameters("D")]
            if name.endswith("bias") and ".norms." not in name and bool(value.any())
        ]
        if biases:
            raise UsageError(
                f"The DCGAN example has no bias where this run has learnt one, {', '.join(biases)}: it cannot be "
                "exported as that."
            )

    def probe(self, part: str, game: Game) -> Tensor:
        assert isinstance(game, dcgan.DCGAN)
        if part == "G":
            return torch.randn(2, game.latent)
        return torch.rand(2, game.D.get_parameter("convs.0.weight").shape[1], SIDE, SIDE) * 2 - 1

    def usage(self, game: Game, schema: Schema) -> list[str]:
        assert isinstance(game, dcgan.DCGAN)
        width = game.config.width
        return [
            "pytorch/examples, dcgan/main.py:",
            f"  python main.py --dataset folder --dataroot DATA --imageSize {SIDE} --nz {game.latent} --ngf {width} "
            f"--ndf {width} --netG netG.pth --netD netD.pth",
            f"Pictures have {schema['image'][0]} channel(s): nc in main.py. To draw samples from netG in eval mode, as "
            "ganvas does, call netG.eval() first.",
        ]
