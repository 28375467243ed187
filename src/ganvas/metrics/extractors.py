"""From images to feature vectors: the first rung of every distance between sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas import weights
from ganvas.metrics import images
from ganvas.nets import inception as graph
from ganvas.nets.features import KINDS, FeatureStack, digest, published
from ganvas.nets.inception import Inception


@dataclass(frozen=True)
class Extractor:
    """A frozen net that turns images into vectors, and everything a recipe says about it.

    A new feature space for `fd-*`, or a new distance over an old one, is an Extractor and no other change.
    """

    name: str
    net: nn.Module
    dims: int
    prepare: Callable[[Tensor], Tensor]
    """[B, C, H, W] at 8-bit levels in [-1, 1] -> what the net takes."""
    read: Callable[[nn.Module, Tensor], Tensor]
    """(net, prepared) -> [B, dims]."""
    recipe: Mapping[str, Any]
    most: int = 1 << 30
    """Images that go through the net at once: a large net's maps of more would fill the memory."""

    def __call__(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """Features [B, dims], float32 on the images' device, of images [B, 1 or 3, H, W] in [-1, 1].

        x: or several such batches, of images of several sizes: each is prepared from its own size.
        """
        batches = [x] if isinstance(x, Tensor) else x
        for batch in batches:
            images.check(batch, f"The extractor {self.name!r}")
        device = batches[0].device
        with images.measuring(device):
            net = self.net.to(device)
            return torch.cat(
                [self.read(net, part.contiguous(memory_format=torch.channels_last)) for part in self._parts(batches)]
            )

    def _parts(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images, prepared, as many at a time as go through the net at once."""
        waiting: list[Tensor] = []
        for part in (part for batch in batches for part in torch.split(batch, self.most)):
            if waiting and sum(map(len, waiting)) + len(part) > self.most:
                yield torch.cat(waiting)
                waiting = []
            waiting.append(self.prepare(images.levels(part)))
        yield waiting[0] if len(waiting) == 1 else torch.cat(waiting)

    def describe(self, x: Tensor) -> dict[str, Any]:
        """The recipe of features of images like ``x``: sums of features may meet where this is the same."""
        prepared = self.prepare(x[:1])
        return {"extractor": self.name, **self.recipe, "size": list(prepared.shape[2:])}


_made: WeakValueDictionary[tuple[str, tuple[Path, int, int]], Extractor] = WeakValueDictionary()
_nets: WeakValueDictionary[tuple[Path, int, int], Inception] = WeakValueDictionary()


def _file(name: str) -> tuple[Path, int, int]:
    """The file of published weights as it is now. Raises MissingWeights, Damaged."""
    path = weights.find(name)
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


# ---- AlexNet, SqueezeNet ---------------------------------------------------------------------------------------------
def _last_map(net: nn.Module, x: Tensor) -> Tensor:
    """The spatial mean of the last map. [B, D]"""
    last: Tensor = net(x)[-1]
    return last.mean((2, 3))


def stack(kind: str, of: str) -> Extractor:
    """Features of a published net: its last map, averaged over space; one for all metrics that hold it. Raises
    MissingWeights, Damaged."""
    key = kind, _file(KINDS[kind].weights)
    if (made := _made.get(key)) is None:
        _made[key] = made = from_stack(published(kind), of)
    return made


def from_stack(net: FeatureStack, of: str) -> Extractor:
    """The last map of any feature stack, averaged over space. of: its name in words, for the recipe."""
    return Extractor(
        net.kind,
        net,
        net.channels[-1],
        images.resized,
        _last_map,
        {
            "features": f"{of}, spatial mean, {net.channels[-1]}-d",
            "sha256": digest(net.state_dict()),
            "input": "8-bit levels, LPIPS normalisation",
            "resize": f"{images.SMALLEST} bilinear half-pixel where the shorter side is under {images.SMALLEST}",
        },
    )


def alex() -> Extractor:
    """ReLU of AlexNet's last convolution, spatial mean, 256-d."""
    return stack("alex", "ReLU of AlexNet's last convolution")


def squeeze() -> Extractor:
    """SqueezeNet 1.1's last fire module, spatial mean, 512-d."""
    return stack("squeeze", "last fire module of SqueezeNet 1.1")


# ---- Inception -------------------------------------------------------------------------------------------------------
def _centred(counts: Tensor) -> Tensor:
    return (counts - 128) / 128


def _tensorflow(x: Tensor) -> Tensor:
    return _centred(images.as_tensorflow(images.counts(x), graph.SIDE))


def _torch(x: Tensor) -> Tensor:
    return F.interpolate(x, (graph.SIDE, graph.SIDE), mode="bilinear", align_corners=False, antialias=False)


def _clean(x: Tensor) -> Tensor:
    return _centred(images.as_pillow(images.counts(x), graph.SIDE).clamp(0, 255))


# by the recipe's name: how images are prepared, and how that is said
_PREPARATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "inception": (_tensorflow, "bilinear as in TensorFlow 1, no half pixel, no antialias", "(x - 128) / 128"),
    "inception-torch": (_torch, "bilinear as in torch, half pixel, no antialias", "x / 127.5 - 1"),
    "inception-clean": (_clean, "bicubic as in Pillow on float channels, antialiased, clipped", "(x - 128) / 128"),
}


def inception(name: str = "inception") -> Extractor:
    """The average pool of the Inception net of FID, 2048-d; one for all metrics that hold it.

    name: ``inception`` (the original FID, torch-fidelity, StyleGAN), ``inception-torch`` (pytorch-fid) or
    ``inception-clean`` (clean-fid), which prepare images differently. Raises MissingWeights, Damaged.
    """
    file = _file("inception")
    if (made := _made.get((name, file))) is None:
        if (net := _nets.get(file)) is None:
            _nets[file] = net = graph.published()
        _made[name, file] = made = from_inception(net, name)
    return made


def from_inception(net: Inception, name: str = "inception") -> Extractor:
    """`inception` over a net that is given."""
    prepare, resize, levels = _PREPARATIONS[name]
    return Extractor(
        name,
        net,
        graph.DIMS,
        lambda x: prepare(x).expand(-1, 3, -1, -1),
        _call,
        {
            "features": f"average pool of the Inception net of 2015-12-05, {graph.DIMS}-d",
            "sha256": digest(net.state_dict()),
            "input": f"8-bit levels x, {levels}",
            "resize": f"{graph.SIDE} {resize}",
        },
        most=16,
    )


def _call(net: nn.Module, x: Tensor) -> Tensor:
    features: Tensor = net(x)
    return features
