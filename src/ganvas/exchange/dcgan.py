"""The DCGAN of pytorch/examples: ``netG`` and ``netD``, for images of 64x64.

Files of its usual variants are read and written, too: one stage more for each doubling of the side (128x128), one less
for each halving (32x32). Where theirs begins with a transposed convolution of a single pixel and ends with a
convolution to one, ours have linear layers, which are the same sums in another order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.exchange.layout import Findings, Layout, Told, Wish, grey, median
from ganvas.exchange.looks import DCGAN_D, DCGAN_G
from ganvas.exchange.reading import Published, Tensors
from ganvas.game import Game
from ganvas.games import dcgan
from ganvas.nets.dcgan import WIDEST, Critic, Generator
from ganvas.schema import Schema

KERNEL, USUAL, FEWEST, MOST = 4, 4, 2, 7  # the first map's side; stages: of 64x64, at least, at most
NORMS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Examples(Layout):
    """netG and netD of pytorch/examples."""

    system, source = "dcgan", "pytorch/examples dcgan"
    files: ClassVar[Mapping[str, str]] = {"G": "netG.pth", "D": "netD.pth"}

    def tell(self, parts: Mapping[str, Published], wish: Wish) -> Told:
        found = Findings(self.system, wish)
        if wish.labels:
            raise UsageError("dcgan has no label maps: remove --labels.")
        if file := parts.get("G"):
            file.expect(DCGAN_G)
            found.add("stages", stages := _stages(file, norms=0), file)
            found.add("latent", file.shape("main.0.weight")[0], file)
            last = 3 * stages
            ends = file.shape(f"main.{last - 3}.weight")[1], file.shape(f"main.{last}.weight")[0]
            found.add("width", width := median(*ends, file.length(f"main.{last - 2}.bias")), file)
            _widen(found, file, stages, file.shape("main.0.weight")[1], width)
            found.add("channels", _colors(file, file.shape(f"main.{last}.weight")[1]), file)
        if file := parts.get("D"):
            file.expect(DCGAN_D)
            found.add("stages", stages := _stages(file, norms=1), file)
            second = file.shape("main.2.weight")
            found.add("width", width := median(file.shape("main.0.weight")[0], second[1], second[0] // 2), file)
            _widen(found, file, stages, file.shape(f"main.{3 * stages - 1}.weight")[1], width)
            found.add("channels", _colors(file, file.shape("main.0.weight")[1]), file)
        side, channels = KERNEL << found.get("stages", USUAL), found.get("channels", 3)
        if wish.size not in (None, (side, side)):
            raise UsageError(f"These files make images of {side}x{side}: remove --size.")
        schema = Schema({"image": (channels, side, side)})
        return Told(found.leaves("stages", "channels"), schema, f"images:imported?size={side}{grey(channels)}")

    # Theirs by the index in ``main``, of n stages: G has (convolution, norm) at 0, 3, 6, ... and a convolution at 3 n;
    # D a convolution at 0, (convolution, norm) at 2, 5, 8, ... and a convolution at 3 n - 1.
    def published(self, part: str, game: Game) -> Tensors:
        state, found = super().published(part, game), Tensors()
        stages = len(getattr(game, part).convs)
        if part == "G":
            dense = state["dense.weight"]  # [(y, x, channel), z]
            found["main.0.weight"] = dense.view(KERNEL, KERNEL, -1, dense.shape[1]).permute(3, 2, 0, 1)
            for i in range(stages):
                found |= {f"main.{3 * i + 1}.{name}": state[f"norms.{i}.{name}"] for name in NORMS}
                found[f"main.{3 * i + 3}.weight"] = state[f"convs.{i}.weight"]
            return found
        found["main.0.weight"] = state["convs.0.weight"]
        for i in range(1, stages):
            found[f"main.{3 * i - 1}.weight"] = state[f"convs.{i}.weight"]
            found |= {f"main.{3 * i}.{name}": state[f"norms.{i}.{name}"] for name in NORMS}
        score = state["score.weight"]  # [1, (y, x, channel)]
        found[f"main.{3 * stages - 1}.weight"] = score.view(1, KERNEL, KERNEL, -1).permute(0, 3, 1, 2)
        return found

    def ours(self, part: str, tensors: Tensors, net: nn.Module) -> Tensors:
        assert isinstance(net, Generator | Critic)
        found, stages = Tensors(), len(net.convs)
        if part == "G":
            found["dense.weight"] = tensors["main.0.weight"].permute(2, 3, 1, 0).flatten(0, 2)
            for i in range(stages):
                found |= {f"norms.{i}.{name}": tensors[f"main.{3 * i + 1}.{name}"] for name in NORMS}
                found[f"convs.{i}.weight"] = tensors[f"main.{3 * i + 3}.weight"]
            return found
        found["convs.0.weight"] = tensors["main.0.weight"]
        for i in range(1, stages):
            found[f"convs.{i}.weight"] = tensors[f"main.{3 * i - 1}.weight"]
            found |= {f"norms.{i}.{name}": tensors[f"main.{3 * i}.{name}"] for name in NORMS}
        found["score.weight"] = tensors[f"main.{3 * stages - 1}.weight"].permute(0, 2, 3, 1).flatten(1)
        return found

    def check(self, game: Game) -> None:
        assert isinstance(game, dcgan.DCGAN)
        assert isinstance(game.G, Generator)
        config = game.config
        lacks = [
            *(["classes"] if game.classes else []),
            *(["spectral norm"] if config.spectral_norm else []),
            *(["a discriminator without batch norm"] if not config.critic_normed else []),
        ]
        if lacks:
            raise UsageError(f"The DCGAN example of pytorch/examples has no place for {' or '.join(lacks)}.")
        height, width = (side << len(game.G.convs) for side in game.G.base[:2])
        if game.G.base[:2] != (KERNEL, KERNEL):
            raise UsageError(
                "The DCGAN example of pytorch/examples makes square images of 64x64, or of another power of two, not "
                f"of {width}x{height}."
            )

    def probe(self, part: str, game: Game) -> Tensor:
        assert isinstance(game, dcgan.DCGAN)
        if part == "G":
            return torch.randn(2, game.latent)
        side = KERNEL << len(game.D.convs)
        return torch.rand(2, game.D.get_parameter("convs.0.weight").shape[1], side, side) * 2 - 1

    def usage(self, game: Game, schema: Schema) -> list[str]:
        assert isinstance(game, dcgan.DCGAN)
        config, (channels, side, _) = game.config, schema["image"]
        stages = (side // KERNEL).bit_length() - 1
        factors = "-".join(str(min(2**i, config.widest)) for i in range(stages))
        usual = stages == USUAL and config.widest >= WIDEST
        return [
            "pytorch/examples, dcgan/main.py:",
            f"  python main.py --dataset folder --dataroot DATA --imageSize {side} --nz {game.latent} "
            f"--ngf {config.width} --ndf {config.width} --netG netG.pth --netD netD.pth",
            f"Images have {channels} channel(s): nc in main.py. To draw samples from netG in eval mode, as ganvas "
            "does, call netG.eval() first.",
            *(
                []
                if usual
                else [
                    f"main.py has nets for 64x64 with channels of 1-2-4-8 times ndf. Change them to {stages} stages, "
                    f"with {factors} times ndf in netD, and the same in reverse in netG."
                ]
            ),
        ]


def _stages(file: Published, norms: int) -> int:
    """How many stages a net of pytorch/examples has, of which ``norms`` have no batch norm. Raises DataError where that
    is no net that we have.

    Three signs tell, and the one in the middle is believed: one key too many or too few changes one of them alone.
    """
    places = [int(match[1]) for key in file.tensors if (match := re.fullmatch(r"main\.(\d{1,3})\.\w+", key))]
    signs = (
        sum(value.ndim == 4 for value in file.tensors.values()) - 1,
        sum(key.endswith(".running_mean") for key in file.tensors) + norms,
        (max(places) + 2 + norms) // 3,
    )
    count = median(*signs)
    if not FEWEST <= count <= MOST:
        side, least, most = (KERNEL << max(0, n) for n in (count, FEWEST, MOST))
        raise file.refusal(
            f"it has {count} stages, for images of {side}x{side}, and nets of {FEWEST} stages ({least}x{least}) to "
            f"{MOST} ({most}x{most}) can be imported"
        )
    return count


def _widen(found: Findings, file: Published, stages: int, top: int, width: int) -> None:
    """How many times ``width`` the widest stage has: said where the default would not give it."""
    if top != width * min(2 ** (stages - 1), WIDEST):
        found.add("widest", max(1, top // max(1, width)), file)


def _colors(file: Published, channels: int) -> int:
    """Channels of images. Raises DataError for what no image has."""
    if channels not in (1, 3):
        raise file.refusal(f"its images have {channels} channels, and ganvas has images of 1 or 3")
    return channels
