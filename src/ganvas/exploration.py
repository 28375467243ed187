"""Walks through a latent space: from code to code, and along one dimension after another."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Game
from ganvas.verbs import Decodes

STEPS, REACH = 11, 3.0  # of a traversal: columns, and standard deviations of the prior to either side

Path = Literal["slerp", "lerp"]


def between(a: Tensor, b: Tensor, frames: int, path: Path) -> Tensor:
    """Codes [frames, Z] from a to b [Z], both included: along the chord, or along the great circle.

    slerp is White 2016, 1609.04468: sin((1-t) w) / sin w a + sin(t w) / sin w b, w the angle between a and b. Codes
    that point the same or opposite ways have no great circle of their own and go along the chord.
    """
    t = torch.linspace(0, 1, frames, dtype=torch.float64)[:, None]
    a64, b64 = a.cpu().double(), b.cpu().double()  # not every device has float64
    cosine = torch.dot(a64, b64) / (a64.norm() * b64.norm()).clamp(min=1e-30)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if path == "lerp" or angle.sin() < 1e-6:
        return ((1 - t) * a64 + t * b64).to(a)
    return ((((1 - t) * angle).sin() * a64 + (t * angle).sin() * b64) / angle.sin()).to(a)


def interpolate(
    game: Game, codes: Tensor, *, frames: int = 12, path: Path = "slerp", seed: int = 0, label: int | None = None
) -> Tensor:
    """Images [stretches, frames, C, H, W] on the way through codes [stretches + 1, Z], one after the other.

    What else the game draws (AVAE's xi) is that of row 0 of ``seed`` in every frame, and so is the class by default.
    Raises UsageError for fewer than two codes or frames, for an unknown path, and for what `decode` does not take.
    """
    if not isinstance(codes, Tensor) or codes.ndim != 2 or len(codes) < 2:
        raise UsageError("interpolate: codes must be a tensor [N, Z] of two codes or more, such as game.prior(3).")
    if path not in get_args(Path):
        raise UsageError(f"interpolate: path must be one of {', '.join(get_args(Path))}, not {path!r}.")
    if not isinstance(frames, int) or frames < 2:
        raise UsageError(f"interpolate: frames must be a whole number, 2 or more, not {frames!r}.")
    ways = [between(a, b, frames, path) for a, b in pairwise(codes)]
    return torch.stack([_pictures(game, way, seed, label) for way in ways])


def traverse(
    game: Game, code: Tensor, dims: int, *, seed: int = 0, label: int | None = None
) -> tuple[Tensor, list[int]]:
    """Images [dims, 11, C, H, W] along the dimensions of a code [Z] that change the picture most, and which these are.

    A row goes from -3 to 3 (standard deviations of the prior, where there is one) through one dimension of the code;
    the others stay. A dimension's change is the mean squared difference between the pictures at its two ends. Raises
    UsageError for what is not one code, for fewer than one dimension, and for what `decode` does not take.
    """
    if not isinstance(code, Tensor) or code.ndim != 1:
        raise UsageError("traverse: code must be a tensor [Z] of one code, such as game.prior(1)[0].")
    if not isinstance(dims, int) or dims < 1:
        raise UsageError(f"traverse: dims must be a whole number, 1 or more, not {dims!r}.")
    ends = torch.stack([_set(code, dim, end) for dim in range(len(code)) for end in (-REACH, REACH)])
    pictures = _pictures(game, ends, seed, label)
    change = (pictures[1::2] - pictures[::2]).square().flatten(1).mean(1)
    chosen = change.argsort(descending=True, stable=True)[:dims].tolist()
    line = torch.linspace(-REACH, REACH, STEPS).tolist()
    rows = [_pictures(game, torch.stack([_set(code, dim, value) for value in line]), seed, label) for dim in chosen]
    return torch.stack(rows), chosen


def _set(code: Tensor, dim: int, value: float) -> Tensor:
    moved = code.clone()
    moved[dim] = value
    return moved


def _pictures(game: Game, codes: Tensor, seed: int, label: int | None) -> Tensor:
    """The picture of each code, all with the noise of row 0: one by one, since rows draw noise of their own."""
    if not isinstance(game, Decodes):
        raise UsageError(f"{game!r} cannot decode codes, which walks through them need.")
    return torch.cat([game.decode(code[None], seed=seed, label=label) for code in codes])


def film(pictures: Tensor) -> Tensor:
    """Stretches [S, F, ...] end to end and all the way back, [N, ...], for a film that is played for ever.

    Where one stretch ends the next begins, so that picture is shown once; and so are the two ends.
    """
    first, *others = pictures
    forth = torch.cat([first, *(stretch[1:] for stretch in others)])
    return torch.cat([forth, forth[1:-1].flip(0)])
