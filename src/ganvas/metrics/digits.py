"""A small classifier of scikit-learn's handwritten digits, whose features `fd-digits` measures in.

It is trained on first use, in seconds, always by the same protocol and from the same seed, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.console import note
from ganvas.files import atomic, cache_folder
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.figure import keep
from ganvas.nets.features import digest
from ganvas.streams import Purpose, stream

SIDE = 32  # pixels that the classifier sees
DIMS = 64
PROTOCOL: dict[str, Any] = {
    "data": "scikit-learn digits, every fifth row held out",
    "enlarged": ["nearest", "bilinear", "bicubic"],  # so that no way of enlarging 8x8 digits is foreign to it
    "epochs": 12,
    "batch": 64,
    "adam": [2e-3, 0.9, 0.999],
    "seed": 0,
}


class DigitsNet(nn.Module):
    """Three strided convolutions and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.hidden = nn.Linear(64 * 4 * 4, DIMS)
        self.logits = nn.Linear(DIMS, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 10] and the hidden layer [B, 64] of grey images [B, 1, 32, 32] in [-1, 1]."""
        hidden = F.relu(self.hidden(self.convolutions(x).flatten(1)))
        return self.logits(hidden), hidden


def digits() -> Extractor:
    """The classifier's hidden layer, 64-d, of images brought to grey and 32 x 32; trained if it is not in the cache."""
    net, accuracy = classifier()
    return Extractor(
        "digits",
        net,
        DIMS,
        _prepare,
        _hidden,
        {
            "features": f"hidden layer of a classifier of {PROTOCOL['data']}, {DIMS}-d",
            "sha256": digest(net.state_dict()),
            "accuracy": accuracy,
            "input": "8-bit levels, mean over channels",
            "resize": f"{SIDE} bilinear half-pixel antialiased",
        },
    )


def _hidden(net: nn.Module, x: Tensor) -> Tensor:
    hidden: Tensor = net(x)[1]
    return hidden


def _prepare(x: Tensor) -> Tensor:
    grey = x.mean(1, keepdim=True)
    if x.shape[2:] == (SIDE, SIDE):
        return grey
    return F.interpolate(grey, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)


def classifier() -> tuple[DigitsNet, float]:
    """The trained net, frozen, and its accuracy on the digits held out; from the cache where it is there."""
    from safetensors import SafetensorError, safe_open

    images, labels = _data()
    key = hashlib.sha256(json.dumps(PROTOCOL, sort_keys=True).encode() + images.numpy().tobytes()).hexdigest()
    path = cache_folder() / "classifiers" / f"digits-{key[:16]}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(PROTOCOL["seed"], 0, Purpose.CLASSIFIER))
        net = DigitsNet()
        try:
            with safe_open(path, framework="pt") as file:
                net.load_state_dict({name: file.get_tensor(name) for name in net.state_dict()})
                accuracy = float(file.metadata()["accuracy"])
        except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError):  # not there, or damaged
            accuracy = _train(net, images, labels)
            keep(lambda path: _save(path, net, accuracy), path)
            note(f"fd-digits: trained its classifier, test accuracy {accuracy:.1%}")
    return net.eval().requires_grad_(False), accuracy


def _data() -> tuple[Tensor, Tensor]:
    """All digits [1797, 1, 8, 8] in [-1, 1] and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.from_numpy(found.images).float()[:, None] / 8 - 1, torch.from_numpy(found.target).long()


def _train(net: DigitsNet, images: Tensor, labels: Tensor) -> float:
    """Trains ``net`` in place; returns its accuracy on what is held out."""
    held_out = torch.arange(len(images)) % 5 == 0
    shown = torch.stack([_enlarge(images, mode) for mode in PROTOCOL["enlarged"]])  # [modes, N, 1, 32, 32]
    rows = torch.arange(len(images))[~held_out]
    rate, *betas = PROTOCOL["adam"]
    optimiser = torch.optim.Adam(net.parameters(), rate, (betas[0], betas[1]))
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, PROTOCOL["epochs"])
    with _one_thread(), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        for _ in range(PROTOCOL["epochs"]):
            for chosen in torch.split(rows[torch.randperm(len(rows))], PROTOCOL["batch"]):
                x = shown[torch.randint(len(shown), (len(chosen),)), chosen]
                loss = F.cross_entropy(net(x)[0], labels[chosen])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            schedule.step()
    with torch.inference_mode():
        right = torch.stack([net(x[held_out])[0].argmax(1) == labels[held_out] for x in shown])
    return round(right.double().mean().item(), 4)


def _enlarge(images: Tensor, mode: str) -> Tensor:
    corners = None if mode == "nearest" else False
    return F.interpolate(images, (SIDE, SIDE), mode=mode, align_corners=corners).clamp(-1, 1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that one machine always trains the same classifier."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _save(path: Path, net: DigitsNet, accuracy: float) -> None:
    from safetensors.torch import save_file

    with atomic(path) as part:
        save_file(net.state_dict(), part, {"accuracy": str(accuracy), "protocol": json.dumps(PROTOCOL)})
