"""What the verbs of a game take: every argument is checked, by its name, where a user's call enters.

`Game` wraps the verbs of every subclass with `guarded`, so a new system needs no checks of its own. Only the outermost
call is checked; verbs that call each other, and rounds, which call none, pay nothing.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ganvas.errors import UsageError

LARGEST_SEED = 2**63 - 1  # the largest that JSON and every generator can hold
SLACK = 0.01  # by which numbers of images may leave [-1, 1], for rounding

_inside = threading.local()


def guarded(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method of a game so that its arguments are checked. Its calls raise UsageError for what it cannot take."""
    signature = inspect.signature(verb)
    checks = CHECKS | {"label": _labels if "x" in signature.parameters else _class}

    @functools.wraps(verb)
    def checked(game: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_inside, "a_verb", False) or torch.compiler.is_compiling():
            return verb(game, *args, **kwargs)
        given = signature.bind(game, *args, **kwargs).arguments
        for name, value in given.items():
            if name in checks:
                checks[name](game, f"{verb.__name__}: {name}", value)
        known = {"x", "z", "label", "labels", "image"} | _fields(game).keys()
        _check_rows(verb.__name__, {name: value for name, value in given.items() if name in checks and name in known})
        _inside.a_verb = True
        try:
            return verb(game, *args, **kwargs)
        finally:
            _inside.a_verb = False

    return checked


# ---- numbers ---------------------------------------------------------------------------------------------------------
def _whole(game: Any, what: str, value: Any, least: int, most: int = LARGEST_SEED) -> None:
    whole = hasattr(value, "__index__") and not isinstance(value, bool | Tensor)
    if not whole or not least <= int(value) <= most:
        unbounded = most == LARGEST_SEED and not (whole and int(value) > most)
        wanted = f"a whole number, {least} or more" if unbounded else f"a whole number from {least} to {most}"
        raise UsageError(f"{what} must be {wanted}, not {_shown(value)}.")


def _count(game: Any, what: str, value: Any) -> None:
    _whole(game, what, value, least=1)


def _natural(game: Any, what: str, value: Any) -> None:
    _whole(game, what, value, least=0)


def _truncation(game: Any, what: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and value > 0 and math.isfinite(value)):
        raise UsageError(f"{what} must be a positive number or None, not {_shown(value)}.")


# ---- tensors ---------------------------------------------------------------------------------------------------------
def _images(game: Any, what: str, value: Any) -> None:
    """Rows of what the game learns from: images, vectors, or label maps."""
    fields = _fields(game)
    maps = "labels" in fields or (game.schema is None and isinstance(value, Tensor) and value.dtype == torch.uint8)
    if maps and what.endswith(": x"):
        _label_maps(game, what, value)
        return
    if "vector" in fields:
        _floats(game, what, value, (fields["vector"][0],), "[N, D]")
        return
    shape: tuple[int | None, ...] = (None, None, None)
    if "image" in fields and "labels" not in fields:
        shape = fields["image"]
    _floats(game, what, value, shape, "[N, C, H, W]", unit=True)


def _label_maps(game: Any, what: str, value: Any) -> None:
    if isinstance(value, Tensor) and value.is_floating_point():
        raise UsageError(f"{what} must be uint8 label maps [N, H, W]: this run translates label maps, not images.")
    _typed(game, what, value, torch.uint8, (None, None), "uint8 label maps [N, H, W] of class ids")


def _instances(game: Any, what: str, value: Any) -> None:
    if value is not None and "instances" in _fields(game):  # else the game says itself that it knows none
        _typed(game, what, value, torch.int32, (None, None), "int32 instance maps [N, H, W], or None")


def _style(game: Any, what: str, value: Any) -> None:
    if value is not None and "labels" in _fields(game):  # else the game says itself that it knows none
        _floats(game, what, value, (None, None, None), "[N, F, H, W]")


def _codes(game: Any, what: str, value: Any) -> None:
    latent = getattr(game, "latent", None) or getattr(getattr(game, "config", None), "latent", None)
    _floats(game, what, value, (latent,), "[N, Z]")


def _class(game: Any, what: str, value: Any) -> None:
    """The class of all rows."""
    if value is None:
        return
    if not hasattr(value, "__index__") or isinstance(value, bool | Tensor):
        raise UsageError(f"{what} must be the number of a class or None, not {_shown(value)}.")
    classes = getattr(game, "classes", 0)
    if not 0 <= int(value) < classes:
        known = f"classes go from 0 to {classes - 1}" if classes else "it was trained without classes; leave label out"
        raise UsageError(f"{what}: this {type(game).__name__.lower()} has no class {int(value)}: {known}.")


def _labels(game: Any, what: str, value: Any) -> None:
    """The class of each row. (Data sets hand out their classes to games that have no use for them, too.)"""
    classes = getattr(game, "classes", 0)
    if value is None or (isinstance(value, Tensor) and not classes):
        return
    _typed(game, what, value, torch.int64, (), "int64 class numbers [N]")
    if value.numel() and not 0 <= int(value.min()) <= int(value.max()) < classes:
        raise UsageError(
            f"{what} has class numbers from {int(value.min())} to {int(value.max())}: classes go from 0 to "
            f"{classes - 1}."
        )


def _floats(
    game: Any, what: str, value: Any, shape: tuple[int | None, ...], letters: str, *, unit: bool = False
) -> None:
    """Checks floats [N, *shape] of the game's own type, finite; with ``unit`` in [-1, 1]."""
    dtype = next(game.parameters()).dtype
    size = f" of {shape[0]}x{shape[1]}x{shape[2]} (channels, height, width)" if unit and None not in shape else ""
    size = size or (f" with {shape[0]} columns" if len(shape) == 1 and shape[0] is not None else "")
    wanted = f"{_plain(dtype)} {letters}{' in [-1, 1]' if unit else ''}{size}"
    _typed(game, what, value, dtype, shape, wanted)
    if not value.numel():
        raise UsageError(f"{what} must be {wanted}, and has no rows.")
    low, high = (float(end) for end in torch.aminmax(value.detach()))  # NaN if there is any
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"{what} must be {wanted}, and has numbers that are not finite.")
    if unit and not -1 - SLACK <= low <= high <= 1 + SLACK:
        hint = "x / 127.5 - 1 brings 0..255 there" if low >= 0 and high > 2 else "x.clamp(-1, 1) cuts them off"
        raise UsageError(f"{what} must be {wanted}, and has numbers from {low:.4g} to {high:.4g}; {hint}.")


def _typed(game: Any, what: str, value: Any, dtype: torch.dtype, shape: tuple[int | None, ...], wanted: str) -> None:
    """Checks a tensor [N, *shape] (None: any size) of a type, on the game's device."""
    if not isinstance(value, Tensor):
        hint = "; torch.from_numpy(x) makes a tensor of an array" if hasattr(value, "__array__") else ""
        raise UsageError(f"{what} must be a tensor, {wanted}, not {_shown(value)}{hint}.")
    fits = value.ndim == len(shape) + 1 and all(
        want is None or want == size for want, size in zip(shape, value.shape[1:], strict=True)
    )
    if value.dtype != dtype or not fits:
        given = f"{_plain(value.dtype)} [{', '.join(map(str, value.shape))}]"
        raise UsageError(f"{what} must be {wanted}, not {given}{_shape_hint(value, shape)}.")
    if (device := next(game.parameters()).device) != value.device:
        raise UsageError(
            f"{what} is on {value.device} and the game is on {device}: move it with x.to({str(device)!r})."
        )


def _shape_hint(value: Tensor, shape: tuple[int | None, ...]) -> str:
    """What to do with a tensor of another shape, where that can be guessed."""
    if value.ndim == len(shape):
        return "; x[None] adds the dimension N"
    if len(shape) == 3 and value.ndim == 4 and value.shape[3] in (1, 3) and value.shape[1] not in (1, 3):
        return "; x.permute(0, 3, 1, 2) puts the channels first"
    return ""


def _check_rows(verb: str, given: dict[str, Any]) -> None:
    """Raises UsageError where two arguments of a verb have other numbers of rows."""
    rows = {name: len(value) for name, value in given.items() if isinstance(value, Tensor)}
    if len(set(rows.values())) > 1:
        counts = " and ".join(f"{name} has {n}" for name, n in rows.items())
        raise UsageError(f"{verb}: {counts} rows; they must have the same number.")


CHECKS: dict[str, Callable[[Any, str, Any], None]] = {
    "n": _count,
    "seed": _natural,
    "first": _natural,
    "truncation": _truncation,
    "x": _images,
    "image": _images,
    "z": _codes,
    "labels": _label_maps,
    "instances": _instances,
    "style": _style,
}


def _fields(game: Any) -> Mapping[str, tuple[int, ...]]:
    """The fields of the data that the game learns from, where that is known."""
    return game.schema.fields if game.schema is not None else {}


# ---- words -----------------------------------------------------------------------------------------------------------
def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shown(value: Any) -> str:
    """A value in a sentence: itself if it is short, else its type."""
    text = repr(value)
    if isinstance(value, Tensor) or len(text) > 40:
        return f"of type {type(value).__name__}"
    return text
