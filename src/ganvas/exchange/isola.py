"""The generators and critics of pytorch-CycleGAN-and-pix2pix. Ours have their keys, so that nothing is renamed.

Whether their norms are of the batch or of each instance is in the keys: batch norm has weights and the convolutions
before it no bias, instance norm no weights and the convolutions a bias.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.exchange.layout import Findings, Layout, Size, Told, Wish, classes, grey, median, stretched
from ganvas.exchange.looks import PATCHES, PIXELS, RESNET, UNET
from ganvas.exchange.reading import Published
from ganvas.game import Game
from ganvas.games.cyclegan import CycleGAN
from ganvas.games.pix2pix import Pix2Pix
from ganvas.nets.isola import PatchCritic, ResnetGenerator, UNetGenerator
from ganvas.schema import Schema

SIDE = 256  # pixels that the authors' test script stretches pictures to
SMALL = 7  # levels of the U-Net that is for 128 pixels, as each level halves its pictures
OUTERMOST, SECOND, BELOW = "model.model", "model.model.1.model", ".3.model"  # levels of a U-Net


class Isola(Layout):
    """What CycleGAN and pix2pix have in common."""

    source = "pytorch-CycleGAN-and-pix2pix"

    def generator(self, file: Published, found: Findings) -> tuple[int, int]:
        """What a generator's shapes tell; its channels in and out."""
        if file.expect(RESNET, UNET) == RESNET:
            blocks = len(residual_blocks(file))
            found.add("net", "resnet", file)
            found.add("blocks", blocks, file)
            found.add("dropout", _seconds(file, 6) > _seconds(file, 5), file)
            width, inputs = file.shape("model.1.weight")[:2]
            outputs, last = file.shape(f"model.{17 + blocks}.weight")[:2]
            width = median(width, file.shape("model.4.weight")[1], last)
        else:
            level, downs = SECOND, 2
            while any(key.startswith(f"{level}{BELOW}.") for key in file.tensors):
                level, downs = level + BELOW, downs + 1
            found.add("net", "unet", file)
            found.add("downs", downs, file)
            width, inputs = file.shape(f"{OUTERMOST}.0.weight")[:2]
            last, outputs = file.shape(f"{OUTERMOST}.3.weight")[:2]
            width = median(width, file.shape(f"{SECOND}.1.weight")[1], last // 2)
        found.add("width", width, file)
        found.add("norm", _norm(file), file)
        return inputs, outputs

    def critic(self, file: Published, found: Findings) -> int:
        """What a critic's shapes tell; its channels in."""
        if file.look == PIXELS:
            raise file.refusal(
                "it holds a pixel discriminator, which ganvas does not have; import the other parts without it"
            )
        file.expect(PATCHES)
        layers = _layers(file)
        found.add("critic_layers", layers, file)
        width, inputs = file.shape("model.0.weight")[:2]
        if layers:
            second = file.shape("model.2.weight")
            width = median(width, second[1], second[0] // 2)
            found.add("norm", _norm(file), file)
        found.add("critic_width", width, file)
        return inputs

    def size(self, found: Findings, wish: Wish) -> Size:
        """What pictures are stretched to: as wished, else as published."""
        levels = found.get("downs", 0)
        side = 1 << levels if levels >= SMALL else SIDE
        return wish.size or (side, side)

    def probe(self, part: str, game: Game) -> Tensor:
        net = getattr(game, part)
        assert isinstance(net, ResnetGenerator | UNetGenerator | PatchCritic)
        side = 64 if isinstance(net, PatchCritic) else max(32, net.multiple)
        return torch.rand(1, next(net.parameters()).shape[1], side, side) * 2 - 1

    def flags(self, game: CycleGAN | Pix2Pix, inputs: int, outputs: int) -> str:
        """The flags that say which nets these are."""
        c = game.config
        net = game.G_A if isinstance(game, CycleGAN) else game.G
        kind = f"resnet_{c.blocks}blocks" if isinstance(net, ResnetGenerator) else f"unet_{net.multiple}"
        drops = "" if c.dropout else " --no_dropout"
        sizes = f"--ngf {c.width} --ndf {c.critic_width} --netD n_layers --n_layers_D {c.critic_layers}"
        return f"--netG {kind} --norm {c.norm}{drops} --input_nc {inputs} --output_nc {outputs} {sizes}"

    def known(self, game: CycleGAN | Pix2Pix) -> list[str]:
        """What is to be said of nets that the authors' flags do not name."""
        net, blocks = game.G_A if isinstance(game, CycleGAN) else game.G, game.config.blocks
        if isinstance(net, ResnetGenerator) and blocks not in (6, 9):
            return [f"define_G in models/networks.py knows 6 and 9 blocks: add this one with n_blocks={blocks}."]
        if isinstance(net, UNetGenerator) and net.multiple not in (128, 256):
            levels = net.multiple.bit_length() - 1
            return [
                f"define_G in models/networks.py knows 7 and 8 levels: add this one as UnetGenerator({levels}, ...)."
            ]
        return []


class ForCycleGAN(Isola):
    """G_A, G_B, D_A, D_B of CycleGAN."""

    system = "cyclegan"
    files: ClassVar[Mapping[str, str]] = {part: f"latest_net_{part}.pth" for part in ("G_A", "G_B", "D_A", "D_B")}
    makes = ("G_A", "G_B")

    def tell(self, parts: Mapping[str, Published], wish: Wish) -> Told:
        if wish.labels:
            raise UsageError("cyclegan translates pictures, not label maps: remove --labels.")
        found = Findings(self.system, wish)
        for part, file in parts.items():
            a, b = ("A", "B") if part.endswith("_A") else ("B", "A")
            if part.startswith("G"):
                inputs, outputs = self.generator(file, found)
                found.add(f"channels_of_{a}", inputs, file)
                found.add(f"channels_of_{b}", outputs, file)
            else:
                found.add(f"channels_of_{b}", self.critic(file, found), file)
        a, b = (found.get(f"channels_of_{one}", found.get(f"channels_of_{other}", 3)) for one, other in ("AB", "BA"))
        colour = grey(a, b)
        width, height = size = self.size(found, wish)
        schema = Schema({"A": (a, height, width), "B": (b, height, width)})
        leaves = found.leaves("channels_of_A", "channels_of_B") | ({} if a == b else {"identity": 0.0})
        # a size that was asked for is the window, too; without one, images of any size are translated as they are
        window = f"&crop={stretched(size)}" if wish.size else ""
        return Told(leaves, schema, f"unpaired:imported?load_size={stretched(size)}{window}{colour}")

    def usage(self, game: Game, schema: Schema) -> list[str]:
        assert isinstance(game, CycleGAN)
        a, b = schema["A"][0], schema["B"][0]
        return [
            "Both directions, the files in checkpoints/NAME/:",
            f"  python test.py --dataroot DATA --name NAME --model cycle_gan {self.flags(game, a, b)}",
            "One of them, its file there as latest_net_G.pth:",
            f"  python test.py --dataroot DATA/testA --name NAME --model test {self.flags(game, a, b)}",
            *self.known(game),
        ]


class ForPix2Pix(Isola):
    """G and D of pix2pix."""

    system, untold = "pix2pix", ("direction",)
    files: ClassVar[Mapping[str, str]] = {part: f"latest_net_{part}.pth" for part in ("G", "D")}

    def tell(self, parts: Mapping[str, Published], wish: Wish) -> Told:
        found = Findings(self.system, wish)
        if file := parts.get("G"):
            inputs, outputs = self.generator(file, found)
            found.add("channels_of_the_input", inputs, file)
            found.add("channels_of_the_output", outputs, file)
        if file := parts.get("D"):
            seen = self.critic(file, found)
            outputs = found.get("channels_of_the_output", wish.beside(seen))
            found.add("channels_of_the_output", outputs, file)
            found.add("channels_of_the_input", seen - outputs, file)
        inputs, outputs = (found.get(f"channels_of_the_{end}", 3) for end in ("input", "output"))
        width, height = size = self.size(found, wish)
        leaves = found.leaves("channels_of_the_input", "channels_of_the_output")
        if wish.labels:
            if wish.labels != inputs:
                raise UsageError(f"The net takes {inputs} channels, one for each class, not {wish.labels}: --labels.")
            schema = Schema({"labels": (height, width), "image": (outputs, height, width)}, classes(wish.labels))
            return Told(leaves, schema, f"labels:imported?load_size={stretched(size)}&classes={wish.labels}")
        colour = grey(inputs, outputs)
        a, b = (inputs, outputs) if wish.leaves.get("direction", "AtoB") == "AtoB" else (outputs, inputs)
        schema = Schema({"A": (a, height, width), "B": (b, height, width)})
        return Told(leaves, schema, f"paired:imported?load_size={stretched(size)}{colour}")

    def usage(self, game: Game, schema: Schema) -> list[str]:
        assert isinstance(game, Pix2Pix)
        inputs = next(game.G.parameters()).shape[1]
        outputs = schema["image" if game.classes else game.config.direction[-1]][0]
        flags = self.flags(game, inputs, outputs)
        batch = game.config.norm == "batch"
        note = (
            ["Without --eval each picture has its own statistics, as in ganvas; but dropout then is on."]
            if batch
            else []
        )
        onehot = [f"The input is one-hot: a label map of {game.classes} classes."] if game.classes else []
        return [
            "The files in checkpoints/NAME/:",
            f"  python test.py --dataroot DATA --name NAME --model pix2pix --direction {game.config.direction} {flags}",
            *note,
            *onehot,
            *self.known(game),
        ]


def residual_blocks(file: Published) -> set[int]:
    """The places of the residual blocks in ``model``; a single key makes none."""
    keys = (re.match(r"model\.(\d{1,4})\.conv_block\.", key) for key in file.tensors)
    counts = Counter(int(match[1]) for match in keys if match)
    return {place for place, count in counts.items() if count > 1}


def _seconds(file: Published, place: int) -> int:
    """In how many residual blocks the second convolution is at that place: at 5, or at 6 behind dropout."""
    return sum(key.endswith(f".conv_block.{place}.weight") and value.ndim == 4 for key, value in file.tensors.items())


def _layers(file: Published) -> int:
    """Layers of a patch critic between its first convolution and its last: at 2, 5, 8, ..., each norm behind."""
    places = {int(match[1]) for key in file.tensors if (match := re.match(r"model\.(\d{1,4})\.", key))}
    layers = 0
    while places & {3 * layers + 5, 3 * layers + 6}:
        layers += 1
    return layers


def _norm(file: Published) -> str:
    """The norm after the convolutions: batch norm has statistics; before instance norm all convolutions have a bias."""
    if any(key.endswith(".running_mean") for key in file.tensors):
        return "batch"
    convolutions = [key for key, value in file.tensors.items() if value.ndim == 4]
    biased = sum(key.replace("weight", "bias") in file.tensors for key in convolutions)
    if biased >= len(convolutions) - 1:  # one key may be missing
        return "instance"
    raise file.refusal(
        f"it has no norms: neither the statistics of batch norm, nor a bias in each of its {len(convolutions)} "
        f"convolutions, as with instance norm (but in {biased})"
    )
