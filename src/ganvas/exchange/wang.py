"""The nets of NVIDIA's pix2pixHD. Ours have their keys; but critics of theirs without feature matching have others, and
a run whose G1 alone has learnt is given out as that: the global generator.

What a file cannot tell is what the channels of its input are: classes of a label map, one-hot; the edges of instances;
features of the encoder. A critic beside a generator tells the last (it never sees them), and the user the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganvas.errors import DataError, UsageError
from ganvas.exchange.isola import residual_blocks
from ganvas.exchange.layout import Findings, Layout, Told, Wish, classes, grey, median, stretched
from ganvas.exchange.looks import ENCODER, GLOBAL, LOCAL, RESNET, SCALES
from ganvas.exchange.reading import Published, Tensors
from ganvas.game import Game
from ganvas.games.pix2pixhd import Pix2PixHD
from ganvas.schema import Schema

STYLE = 3  # channels of the encoder's features, unless the user says otherwise
COARSE, FINE = (1024, 512), (2048, 1024)  # pixels that the global generator and the local enhancer were published for


class ForPix2PixHD(Layout):
    """G, D and E of pix2pixHD."""

    system, source = "pix2pixhd", "NVIDIA/pix2pixHD"
    files: ClassVar[Mapping[str, str]] = {part: f"latest_net_{part}.pth" for part in ("G", "D", "E")}
    untold = ("encoder", "style_channels")
    idle: ClassVar[Mapping[str, Any]] = {"perceptual": "none"}

    def prepared(self, file: Published) -> Published:
        """Critics without feature matching: the layers of a scale in one sequence, ``layer{i}.{0,2,3,5,...}``."""
        found: Tensors = {}
        for key, value in file.tensors.items():
            if match := re.fullmatch(r"layer(\d+)\.(\d+)\.(\w+)", key):
                layer, place = divmod(int(match[2]) + 1, 3) if int(match[2]) else (0, 0)
                key = f"scale{match[1]}_layer{layer}.{place}.{match[3]}"
            found[key] = value
        return replace(file, tensors=found)

    def tell(self, parts: Mapping[str, Published], wish: Wish) -> Told:
        found = Findings(self.system, wish)
        takes = self.generator(parts["G"], found) if "G" in parts else None
        if file := parts.get("E"):
            self.encoder(file, found)
        judged = self.critic(parts["D"], found) if "D" in parts else None
        outputs = found.get("channels_of_pictures", wish.beside(judged))
        seen = None if judged is None else judged - outputs
        labels, edge, style = self.channels(parts, found, wish, takes, seen)
        net = found.get("net", "global" if "G" in parts else wish.leaves.get("net", "local"))
        leaves = found.leaves("channels_of_pictures") | {"encoder": style > 0}
        leaves |= {"style_channels": style} if style else {}
        if "G" in parts:  # nothing is left to learn coarsely
            leaves |= {"coarse": 0.0} if net == "local" else {"joint": "intended"}
        width, height = wish.size or (FINE if net == "local" else COARSE)
        if wish.size is not None:
            shown = f"load_size={stretched(wish.size)}"
        else:
            shown = "" if net == "local" else f"scale_width={COARSE[0]}"
        if not labels:
            colour = grey(seen or takes or 3, outputs)
            schema = Schema({"A": (seen or takes or 3, height, width), "B": (outputs, height, width)})
            return Told(leaves, schema, _spec("paired", shown, colour.removeprefix("&")))
        fields: dict[str, tuple[int, ...]] = {"labels": (height, width), "image": (outputs, height, width)}
        fields |= {"instances": (height, width)} if edge else {}
        return Told(leaves, Schema(fields, classes(labels)), _spec("labels", shown, f"classes={labels}"))

    # ---- what shapes tell --------------------------------------------------------------------------------------------
    def generator(self, file: Published, found: Findings) -> int:
        """What G's shapes tell; its channels in. A global generator of two halvings has the keys of CycleGAN's."""
        local = file.expect(GLOBAL, LOCAL, alike=RESNET) == LOCAL
        if "model2_1.1.weight" in file.tensors:
            raise file.refusal("it has two local enhancers, and ganvas has one at most")
        blocks = residual_blocks(file)
        if not blocks:
            raise file.refusal("its global generator has no residual blocks")
        downs = (min(blocks) - 4) // 3
        found.add("net", "local" if local else "global", file)
        second = file.shape("model.4.weight")
        found.add("width", median(file.shape("model.1.weight")[0], second[1], second[0] // 2), file)
        found.add("downs", downs, file)
        found.add("blocks", len(blocks), file)
        last = f"model.{_last(downs, len(blocks))}"
        if local:
            locals_ = len(
                {match[1] for key in file.tensors if (match := re.match(r"model1_2\.(\d+)\.conv_block\.", key))}
            )
            found.add("local_blocks", locals_, file)
            last = f"model1_2.{locals_ + 4}"
        found.add("channels_of_pictures", file.shape(f"{last}.weight")[0], file)
        found.add("norm", _norm(file), file)
        return file.shape("model1_1.1.weight" if local else "model.1.weight")[1]

    def encoder(self, file: Published, found: Findings) -> None:
        """What E's shapes tell."""
        file.expect(ENCODER)
        places = [int(match[1]) for key in file.tensors if (match := re.fullmatch(r"model\.(\d{1,4})\.\w+", key))]
        weights = sum(value.ndim == 4 for value in file.tensors.values())
        stems = [key.removesuffix(".bias") for key in file.tensors if key.endswith(".bias")]
        biases = sum(f"{stem}.running_mean" not in file.tensors for stem in stems)
        downs = median(weights // 2 - 1, biases // 2 - 1, (max(places) - 5) // 6)
        width, pictures = file.shape("model.1.weight")[:2]
        found.add("encoder", True, file)
        second = file.shape("model.4.weight")
        found.add("encoder_width", median(width, second[1], second[0] // 2), file)
        found.add("encoder_downs", downs, file)
        found.add("channels_of_pictures", pictures, file)
        found.add("style_channels", file.shape(f"model.{_last(downs, 0)}.weight")[0], file)
        found.add("norm", _norm(file), file)

    def critic(self, file: Published, found: Findings) -> int:
        """What D's shapes tell; its channels in."""
        file.expect(SCALES)
        places = [match for key in file.tensors if (match := re.match(r"scale(\d{1,3})_layer(\d{1,3})\.\d+\.", key))]
        found.add("scales", 1 + max(int(match[1]) for match in places), file)
        found.add("critic_layers", max(int(match[2]) for match in places) - 1, file)
        width, inputs = file.shape("scale0_layer0.0.weight")[:2]
        second = file.shape("scale0_layer1.0.weight")
        found.add("critic_width", median(width, second[1], second[0] // 2), file)
        found.add("norm", _norm(file), file)
        return inputs

    def channels(
        self, parts: Mapping[str, Published], found: Findings, wish: Wish, takes: int | None, seen: int | None
    ) -> tuple[int, bool, int]:
        """What the input is: classes of label maps (0: a picture), whether edges beside them, and channels of style.

        takes: the channels of G's input; seen: of what D sees beside a picture. Raises DataError where they contradict
        each other, UsageError where the user must say, or says what cannot be.
        """
        given = found.get("style_channels", wish.leaves.get("style_channels", STYLE))
        encoder = found.get("encoder", wish.leaves.get("encoder"))
        if takes is not None and seen is not None:
            style = takes - seen
            if style < 0 or ("E" in parts and style != given) or (encoder is False and style):
                features = f", and E has {given} features" if "E" in parts else ""
                raise DataError(
                    f"{parts['G'].path} takes {takes} channels, and {parts['D'].path} sees {seen} beside a picture"
                    f"{features}: they are not of one model."
                )
            styles = [style]
        else:
            styles = [given] if encoder else [0] if encoder is False else [0, given]
        whole = takes if takes is not None else seen
        if whole is None:  # E alone
            if not wish.labels:
                raise UsageError("No file here tells how many classes the label maps have: say --labels N.")
            return wish.labels, True, given
        if takes is None:  # a critic sees no styles; whether G does, it cannot tell
            told = given if encoder else 0
            ways = [(whole - edge, bool(edge), told) for edge in (0, 1)]
        else:
            ways = [(takes - edge - style, bool(edge), style) for style in styles for edge in (0, 1)]
        ways = [way for way in ways if way[0] > 0]
        labels = wish.labels
        pictured = whole in (1, 3) and (takes is None or 0 in styles)
        if (labels is None and pictured) or labels == 0:
            if not pictured:
                raise UsageError(f"--labels 0: the input is no picture, for it has {whole} channels, not 1 or 3.")
            return 0, False, 0
        fits = [way for way in ways if way[0] == labels]
        if not fits:
            said = "" if labels is None else f", not --labels {labels}"
            choice = ", ".join(f"--labels {n} ({_sum(n, edge, style)})" for n, edge, style in ways)
            file, place = (parts["D"], "beside a picture") if takes is None else (parts["G"], "in")
            raise UsageError(
                f"{file.path} has {whole} channels {place}, and no file tells of what: say {choice}{said}."
            )
        return fits[0]

    # ---- out ---------------------------------------------------------------------------------------------------------
    def published(self, part: str, game: Game) -> Tensors:
        assert isinstance(game, Pix2PixHD)
        state = super().published(part, game)
        if not _coarse(game):
            return state
        if part == "G":  # G1 alone, with its last layers
            last = f"model.{_last(game.config.downs, game.config.blocks)}"
            state = {key: value for key, value in state.items() if key.startswith("model.")}
            return state | {f"{last}.{name}": game.head.get_parameter(f"1.{name}") for name in ("weight", "bias")}
        if part == "D":  # the finest has seen nothing yet
            finest = f"scale{_scales(game)}_"
            return {key: value for key, value in state.items() if not key.startswith(finest)}
        return state

    def run(self, part: str, game: Game, x: Tensor) -> Any:
        assert isinstance(game, Pix2PixHD)
        if _coarse(game) and part == "G":
            return game.alone(x)
        return game.D(x, _scales(game)) if part == "D" else getattr(game, part)(x)

    def probe(self, part: str, game: Game) -> Tensor:
        assert isinstance(game, Pix2PixHD)
        inputs = next(value for value in self.published(part, game).values() if value.ndim == 4).shape[1]
        side = max(64, game.least)
        return torch.rand(1, inputs, side, side) * 2 - 1

    def usage(self, game: Game, schema: Schema) -> list[str]:
        assert isinstance(game, Pix2PixHD)
        c, local = game.config, game.local and not _coarse(game)
        pictures = schema["image" if game.labelled else "B"][0]
        flags = [f"--netG {'local' if local else 'global'} --ngf {c.width // 2 if local else c.width}",
                 f"--n_downsample_global {c.downs} --n_blocks_global {c.blocks}",
                 f"--n_local_enhancers 1 --n_blocks_local {c.local_blocks}" if local else "",
                 f"--norm {c.norm} --ndf {c.critic_width} --n_layers_D {c.critic_layers} --num_D {_scales(game)}",
                 f"--label_nc {game.classes}" if game.labelled else f"--label_nc 0 --input_nc {schema['A'][0]}",
                 f"--output_nc {pictures}",
                 "" if game.bounded else "--no_instance",
                 f"--instance_feat --feat_num {c.style_channels} --nef {c.encoder_width} "
                 f"--n_downsample_E {c.encoder_downs}" if game.E is not None else ""]  # fmt: skip
        return [
            "The files in checkpoints/NAME/:",
            f"  python test.py --name NAME --dataroot DATA {' '.join(flag for flag in flags if flag)}",
            *(["G1 alone has learnt yet, at half size: give it pictures of half the size."] if _coarse(game) else []),
        ]


def _last(downs: int, blocks: int) -> int:
    """The index of the last convolution of a global generator, or of an encoder, which has no blocks."""
    return 4 + 3 * downs + blocks + 3 * downs + 1


def _coarse(game: Pix2PixHD) -> bool:
    """Whether G1 is all that has learnt; of a game without numbers: not."""
    return not game.coarsely.is_meta and bool(game.coarsely)


def _scales(game: Pix2PixHD) -> int:
    """The critics that have learnt: as long as G1 learns alone, all but the finest."""
    return max(1, game.config.scales - 1) if _coarse(game) else game.config.scales


def _norm(file: Published) -> str:
    return "batch" if any(key.endswith(".running_mean") for key in file.tensors) else "instance"


def _spec(kind: str, *keys: str) -> str:
    """The data spec of an imported run."""
    query = "&".join(key for key in keys if key)
    return f"{kind}:imported" + (f"?{query}" if query else "")


def _sum(labels: int, edge: bool, style: int) -> str:
    parts = [f"{labels} labels", *(["edges"] if edge else []), *([f"{style} features of E"] if style else [])]
    return " + ".join(parts)
