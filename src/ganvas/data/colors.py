"""An image of any mode as 8-bit RGB or gray: numbers scaled by a range, colors brought to sRGB, alpha over white."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.data.ranges import SIXTEEN_BITS, Beyond, Extrema, Range, to_bytes
from ganvas.data.source import BadPicture
from ganvas.errors import DataError

PACKED = {"L;2": 85, "L;4": 17}  # Pillow spreads gray levels of few bits over 0..255: what it multiplies them by
STRIP = 1 << 22  # pixels of a large image that are worked on at a time
SAME = 2  # grades by which a profile may differ from sRGB and still be taken for it
LATTICE = 17  # grades of each channel that tell it

Levels = NDArray[np.uint8]


class RangeUnknown(DataError):  # noqa: N818 - a state of the data
    """An image of numbers that no range is known for: all of the set have to be looked at, or a range be given."""


@dataclass
class Remarks:
    """What reading images met that is worth a sentence. Threads may share one."""

    converted: int = 0  # images whose color profile was converted to sRGB
    ignored: int = 0  # images whose color profile could not be used
    deep: Extrema = field(default_factory=Extrema)  # of 16-bit files that are read as 0..65535
    ranged: int = 0  # images that a range was applied to
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def profile(self, *, used: bool) -> None:
        """Counts one image with a color profile that is not sRGB."""
        with self._lock:
            self.converted += used
            self.ignored += not used

    def numbers(self, values: NDArray[Any], *, natural: bool) -> None:
        """Keeps what a strip of numbers goes up to, where the range is that of the file format."""
        with self._lock:
            self.ranged += not natural
            if natural:
                self.deep.add(values)

    def sentences(self) -> list[str]:
        """One sentence for each kind of remark."""
        said = []
        if self.converted:
            said.append(f"the color profiles of {self.converted:,} images were converted to sRGB")
        if self.ignored:
            said.append(f"the color profiles of {self.ignored:,} images cannot be used and were ignored")
        if 0 < self.deep.high < 1 << 14:
            bits = next(bits for bits in (8, 10, 12, 14) if self.deep.high < 1 << bits)
            said.append(
                f"16-bit images are read as 0 (black) to 65535 (white), but no value is over {self.deep.high:.0f}: "
                f"range=0..{(1 << bits) - 1} would make them brighter"
            )
        return said


@dataclass(frozen=True)
class Decoding:
    """How the files of a data set are read. range: which numbers are black and white, None where that was not decided
    yet. most: pixels that an image may have."""

    range: Range | None = None
    most: int = 100_000_000
    remarks: Remarks = field(default_factory=Remarks, compare=False)


@dataclass(frozen=True)
class Look:
    """How one image becomes 8-bit RGB or gray, whichever part of it: found once by `look`."""

    values: Range | None = None  # of numbers; None for 8 bits
    natural: bool = False  # whether that range is what the file format says
    colors: Profile | None = None
    key: Any = None  # the number that is transparent, of numbers
    remarks: Remarks | None = None


def look(image: Image.Image, reading: Decoding, name: str) -> Look:
    """How an image is to be read, from its header. Raises RangeUnknown, BadPicture."""
    info = image.info
    if image.mode in ("RGB", "L") and "icc_profile" not in info and reading.range is None:
        return Look()
    values, natural = None, False
    if is_deep(image):
        natural = reading.range is None
        if (values := reading.range or _natural(image)) is None:
            raise RangeUnknown(
                f"{name} holds numbers of 32 bits (mode {image.mode}), and nothing says which are black and white: "
                "say so, as in ?range=0..65535 (or unit, or signed)."
            )
    elif reading.range is not None and _sixteen_bit_color(image):
        raise BadPicture(f"has 16 bits a channel, of which 8 are read: range={reading.range} cannot be applied")
    profile = info.get("icc_profile")
    found = _profile(profile) if isinstance(profile, bytes) and image.mode != "1" else None
    if found is not None:
        used = found.fits(image.mode)
        reading.remarks.profile(used=used)
        found = found if used else None
    return Look(values, natural, found, info.get("transparency") if values else None, reading.remarks)


def is_deep(image: Image.Image) -> bool:
    """Whether an image holds gray numbers of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _natural(image: Image.Image) -> Range | None:
    """The range that a file format itself gives to its numbers."""
    whole = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    return SIXTEEN_BITS if whole else None


def undecided(image: Image.Image) -> bool:
    """Whether no range is known for an image's numbers but that of the set."""
    return is_deep(image) and _natural(image) is None


def _raw(image: Image.Image) -> str:
    """How the file holds pixels, by Pillow's name for it; empty once they are loaded."""
    tiles = getattr(image, "tile", None)
    raw = tiles[0][3] if tiles else ""
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return raw if isinstance(raw, str) else ""


def packed(image: Image.Image) -> int:
    """What Pillow multiplies the gray levels of a file by, before they are loaded."""
    return PACKED.get(_raw(image), 1)


def _sixteen_bit_color(image: Image.Image) -> bool:
    return ";16" in str(image.info.get(RAW, "")) and image.mode in ("RGB", "RGBA", "LA")


RAW = "ganvas raw mode"  # an entry of Image.info


def note_raw(image: Image.Image) -> None:
    """Puts what only a header tells into ``info``: how pixels lie in the file; and brings the color of a PNG that is
    transparent, which Pillow leaves as the file has it, to the scale of its pixels."""
    raw = _raw(image)
    if ";16" in raw:
        image.info[RAW] = raw
    key = image.info.get("transparency")
    if key is None or image.format != "PNG":
        return
    if isinstance(key, int) and raw in PACKED:
        image.info["transparency"] = min(255, key * PACKED[raw])
    elif isinstance(key, tuple) and raw.startswith("RGB;16"):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif image.mode == "1":
        image.info["transparency"] = 255 if key else 0


# ---- one image, or a strip of one ------------------------------------------------------------------------------------
def plain(image: Image.Image, seen: Look) -> Image.Image:
    """The image as 8-bit RGB or gray. Raises BadPicture for numbers that do not fit their range."""
    if image.mode in ("RGB", "L") and seen.colors is None and "transparency" not in image.info:
        return image
    if is_deep(image):
        return _eight_bits(image, seen)
    if image.has_transparency_data:
        layer = _with_alpha(image)
        if seen.colors is not None:
            layer = seen.colors.apply(layer)
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB") if seen.colors is None else seen.colors.apply(image)


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    return image if image.mode == "RGBA" else image.convert("RGBA")


def _eight_bits(image: Image.Image, seen: Look) -> Image.Image:
    """Numbers, scaled by their range."""
    numbers = np.asarray(image)
    assert seen.values is not None
    try:
        levels = to_bytes(numbers, seen.values)
    except Beyond as error:
        raise BadPicture(f"holds {error}") from None
    if seen.remarks is not None:
        seen.remarks.numbers(numbers, natural=seen.natural)
    shown = Image.fromarray(levels)
    if seen.colors is not None:
        shown = seen.colors.apply(shown)
    if isinstance(seen.key, int):  # transparent: over white
        shown = Image.fromarray(np.where(numbers == seen.key, np.uint8(255), np.asarray(shown.convert("L"))))
    return shown


def extrema(image: Image.Image) -> Extrema:
    """The lowest and highest of an image's numbers. Raises BadPicture where any of them is not finite."""
    seen = Extrema()
    for top, bottom in strips(image.size):
        numbers = np.asarray(image.crop((0, top, image.width, bottom)))
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            raise BadPicture("holds values that are not finite (NaN or infinity)")
        seen.add(numbers)
    return seen


def strips(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows of an image of that width and height, from top to bottom, to be worked on at a time."""
    width, height = size
    step = max(1, STRIP // max(1, width))
    return [(top, min(top + step, height)) for top in range(0, height, step)]


# ---- color profiles --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Profile:
    """A color profile that is not sRGB. space: RGB, GRAY, CMYK, or empty for one that cannot be used."""

    space: str
    to_srgb: Callable[[Image.Image], Image.Image] | None = None
    grays: tuple[int, ...] = ()

    def fits(self, mode: str) -> bool:
        """Whether it is one of images of that mode."""
        if self.space == "GRAY":
            return mode in ("L", "LA", "La") or mode.startswith(("I", "F"))
        if self.space == "CMYK":
            return mode == "CMYK"
        return self.space == "RGB" and mode not in ("CMYK", "LAB")

    def apply(self, image: Image.Image) -> Image.Image:
        """An 8-bit image in sRGB: RGB, RGBA (whose alpha stays), or gray of gray."""
        if self.space == "GRAY":
            return image.point(
                self.grays * (3 if image.mode == "RGBA" else 1) + tuple(range(256)) * (image.mode == "RGBA")
            )
        assert self.to_srgb is not None
        if self.space == "RGB" and image.mode not in ("RGB", "RGBA"):
            image = image.convert("RGB")
        return self.to_srgb(image)


@lru_cache(maxsize=16)
def _profile(data: bytes) -> Profile | None:
    """A color profile; None for sRGB itself."""
    try:
        from PIL import ImageCms

        profile = ImageCms.getOpenProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        srgb = ImageCms.createProfile("sRGB")
        if space == "GRAY":
            change = ImageCms.buildTransform(profile, srgb, "L", "RGB")
            ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
            grays = np.asarray(_applied(change, ramp).convert("L"))[0].astype(int)
            return None if np.abs(grays - np.arange(256)).max() <= SAME else Profile(space, grays=tuple(grays.tolist()))
        if space == "CMYK":
            change = ImageCms.buildTransform(profile, srgb, "CMYK", "RGB")
            return Profile(space, lambda image: _applied(change, image))
        if space == "RGB":
            changes = {mode: ImageCms.buildTransform(profile, srgb, mode, mode) for mode in ("RGB", "RGBA")}
            grades = np.rint(np.linspace(0, 255, LATTICE)).astype(np.uint8)
            lattice = np.stack(np.meshgrid(grades, grades, grades), -1).reshape(LATTICE, -1, 3)
            made = np.asarray(_applied(changes["RGB"], Image.fromarray(lattice)))
            if np.abs(made.astype(int) - lattice).max() <= SAME:
                return None
            return Profile(space, lambda image: _applied(changes[image.mode], image))
    except Exception:  # a damaged profile raises anything, and the pixels are sound
        pass
    return Profile("")


def _applied(change: Any, image: Image.Image) -> Image.Image:
    made = change.apply(image)
    assert isinstance(made, Image.Image)
    return made
