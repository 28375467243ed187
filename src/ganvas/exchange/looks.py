"""What the published nets look like, told by the keys of their state dicts.

A file is taken for the net whose keys it has most of, so that one key too many or too few does not hide what it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

DCGAN_G, DCGAN_D = "the netG of the DCGAN example", "the netD of the DCGAN example"
RESNET, UNET = "a ResNet generator of CycleGAN", "a U-Net generator of pix2pix"
PATCHES, PIXELS = "a PatchGAN discriminator of CycleGAN and pix2pix", "a pixel discriminator of pix2pix"
LOCAL, GLOBAL = "the local enhancer of pix2pixHD", "the global generator of pix2pixHD"
SCALES, ENCODER = "the multi-scale discriminator of pix2pixHD", "the encoder of pix2pixHD"
UNKNOWN = "a net of none of these systems"
KINDS = {"G": "a generator", "D": "a discriminator", "E": "an encoder"}

_LEAF = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_UP = r"main\.(0|3|6|9|12|15|18|21)\.weight|main\.(1|4|7|10|13|16|19)\." + _LEAF
_DOWN = r"main\.(0|2|5|8|11|14|17|20)\.weight|main\.(3|6|9|12|15|18)\." + _LEAF
_SCALES = rf"scale\d+_layer\d+\.\d+\.{_LEAF}|layer\d+\.\d+\.{_LEAF}"
_PLAIN, _BLOCK = rf"model\.\d+\.{_LEAF}", rf"conv_block\.\d+\.{_LEAF}"


@dataclass(frozen=True)
class Look:
    """One net: which part it is, a key that it must have, and all keys that it may have, as regular expressions."""

    what: str
    part: str  # G, D, E
    mark: re.Pattern[str] = field(repr=False)
    keys: re.Pattern[str] = field(repr=False)


def _look(what: str, part: str, mark: str, keys: str) -> Look:
    return Look(what, part, re.compile(mark), re.compile(keys))


LOOKS = (  # where two have as many keys of a file, the first is meant
    _look(SCALES, "D", _SCALES, _SCALES),
    _look(LOCAL, "G", r"model1_1\..*", rf"model(1_1|1_2)?\.\d+\.({_LEAF}|{_BLOCK})"),
    _look(DCGAN_G, "G", r"main\.1\..*", _UP),
    _look(DCGAN_D, "D", r"main\.[02]\..*", _DOWN),
    _look(UNET, "G", r"model\.model\.(0|1\.model)\..*", rf"model\.model\.([03]|1\.model\..*)\.{_LEAF}"),
    _look(PIXELS, "D", r"net\.0\..*", rf"net\.[0235]\.{_LEAF}"),
    _look(RESNET, "G", r"model\.10\.conv_block\..*", rf"{_PLAIN}|model\.\d\d\.{_BLOCK}"),
    _look(GLOBAL, "G", r"model\.\d+\.conv_block\..*", rf"{_PLAIN}|model\.\d+\.{_BLOCK}"),
    _look(PATCHES, "D", r"model\.0\..*", _PLAIN),
    _look(ENCODER, "E", r"model\.1\..*", _PLAIN),
)
PART_OF = {look.what: look.part for look in LOOKS}


def looks(keys: Iterable[str]) -> tuple[str, int]:
    """The net that a state dict of these keys is of, or `UNKNOWN`, and how many of the keys are such a net's."""
    keys, best = list(keys), (UNKNOWN, 0)
    for look in LOOKS:
        if any(look.mark.fullmatch(key) for key in keys):
            count = sum(look.keys.fullmatch(key) is not None for key in keys)
            if count > best[1]:
                best = look.what, count
    return best


def unprefixed(tensors: Mapping[str, T], own: Collection[str], depth: int = 3) -> dict[str, T]:
    """A state dict without what a wrapper put before its keys: ``model.`` before all of them, or the name of one net
    among several (``G.``, ``netG_A.``, ``generator.``), of which that net's keys are taken.

    own: the names that the wanted net may have. depth: how many wrappers may lie round each other. Nothing is taken off
    unless more keys are a known net's without it.
    """
    best = dict(tensors)
    counts = Counter(key.partition(".")[0] for key in tensors if "." in key) if depth else Counter[str]()
    heads = [name for name in own if name in counts] or [name for name, n in counts.items() if 2 * n >= len(tensors)]
    for head in heads:
        inner = {key[len(head) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{head}.")}
        rest = (
            {key: value for key, value in tensors.items() if not key.startswith(f"{head}.")} if head not in own else {}
        )
        if rest.keys().isdisjoint(inner):
            found = unprefixed(inner | rest, own, depth - 1)
            if looks(found)[1] > looks(best)[1]:
                best = found
    return best
