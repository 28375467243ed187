"""What games that translate have in common: which generator they have, and what its verb refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.game import Game
from ganvas.nets.isola import Norm, ResnetGenerator, UNetGenerator
from ganvas.ops.maps import VOID
from ganvas.streams import Purpose, stream

SHALLOWEST, DEEPEST = 2, 8  # levels of a U-Net that is as deep as its pictures allow
LEAST = 3  # pixels a side that a critic's patches need before its last two convolutions


class Leaves(Protocol):
    """The settings that say what a generator is."""

    @property
    def net(self) -> Literal["resnet", "unet"]: ...
    @property
    def width(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def downs(self) -> int | None: ...
    @property
    def norm(self) -> Norm: ...
    @property
    def dropout(self) -> bool: ...


def generator(leaves: Leaves, inputs: int, outputs: int, sides: tuple[int, int]) -> ResnetGenerator | UNetGenerator:
    """The generator of those settings for pictures of these sides. Raises UsageError for sides that it cannot take."""
    net: ResnetGenerator | UNetGenerator
    if leaves.net == "resnet":
        net = ResnetGenerator(inputs, outputs, leaves.width, leaves.blocks, leaves.norm, leaves.dropout)
    else:
        evens = min((side & -side).bit_length() - 1 for side in sides)
        downs = max(SHALLOWEST, min(evens, DEEPEST)) if leaves.downs is None else leaves.downs
        if downs < SHALLOWEST:
            raise UsageError(f"A U-Net has {SHALLOWEST} levels or more, not {downs}: --downs.")
        net = UNetGenerator(inputs, outputs, leaves.width, downs, leaves.norm, leaves.dropout)
    check_sides(sides, net.multiple)
    return net


def check_sides(sides: tuple[int, ...], multiple: int) -> None:
    """Raises UsageError for a height and width that a net of this multiple cannot take."""
    if any(side % multiple for side in sides):
        raise UsageError(
            f"Pictures of {sides[1]}x{sides[0]} do not fit this net: both sides must be multiples of {multiple}; "
            "ask for another ?size=, ?load_size= or ?crop=."
        )


def check_patches(sides: tuple[int, int], layers: int) -> None:
    """Raises UsageError for pictures too small for a critic of so many layers."""
    least = LEAST << layers
    if min(sides) < least:
        raise UsageError(
            f"Pictures of {sides[1]}x{sides[0]} are too small for a critic of {layers} layers, which needs {least} "
            "pixels a side: ask for another ?size=, or fewer critic_layers."
        )


class Translating(Game):
    """A game whose verb is `translate`."""

    multiple: int
    """What the sides of a picture must be multiples of."""
    least: int
    """Pixels that they must have."""
    directions: tuple[str, ...] = ("AtoB",)
    """Those that it was trained for."""

    def check(self, x: Tensor, direction: str | None, *, channels: int, classes: int = 0) -> None:
        """Raises UsageError for an unknown direction, and for what is no label map of so many classes or, where they
        are 0, no picture of so many channels; and for sides that do not fit."""
        if direction is not None and direction not in self.directions:
            raise UsageError(f"There is no direction {direction!r} here: {' or '.join(self.directions)}.")
        if bool(classes) != (x.ndim == 3 and not x.is_floating_point()):
            wanted, given = ("label maps", "pictures") if classes else ("pictures", "label maps")
            raise UsageError(f"This run translates {wanted}, not {given}.")
        if not classes and x.shape[1] != channels:
            raise UsageError(f"This run translates pictures of {channels} channels, not of {x.shape[1]}.")
        if classes and (beyond := x[(x >= classes) & (x != VOID)]).numel():
            raise UsageError(f"There is no class {int(beyond.max())}: classes go from 0 to {classes - 1}.")
        check_sides(tuple(x.shape[-2:]), self.multiple)
        self.check_size(x.shape[-2], x.shape[-1])

    def check_size(self, height: int, width: int) -> None:
        """Raises UsageError for pictures that are too small."""
        if min(height, width) < self.least:
            raise UsageError(
                f"Pictures of {width}x{height} are too small for these nets: both sides need {self.least} pixels, or "
                "fewer downs."
            )


def plain(instances: Tensor | None, style: Tensor | None) -> None:
    """Raises UsageError for what a system does not know that has only pictures or maps."""
    if instances is not None or style is not None:
        raise UsageError("This system knows neither instances nor styles.")


def through(net: nn.Module, x: Tensor, *, as_published: bool, seed: int, first: int) -> Tensor:
    """net(x), with the dropout of training where that is asked for: of row i by (seed, first + i), drawn on the CPU."""
    if not as_published:
        return net(x)
    rows = []
    for i in range(len(x)):
        with dropping(net, stream(seed, first + i, Purpose.SAMPLE)):
            rows.append(net(x[i : i + 1]))
    return torch.cat(rows)


@contextmanager
def dropping(net: nn.Module, seed: int) -> Iterator[None]:
    """Within it dropout drops as in training, in eval mode too."""
    coins = torch.Generator().manual_seed(seed)

    def drop(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, nn.Dropout)
        kept = torch.rand(output.shape, generator=coins) >= module.p
        return output * kept.to(output) / (1 - module.p)

    hooks = [module.register_forward_hook(drop) for module in net.modules() if isinstance(module, nn.Dropout)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
