"""One picture, from any file that Pillow reads to the uint8 pixels that a system is trained on."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ganvas.bounds import open_at_once
from ganvas.data.colors import Decoding, Look, RangeUnknown, look, note_raw, plain, strips
from ganvas.data.limits import LARGE, room, unbounded
from ganvas.data.source import BadPicture, Encoded, Pixels
from ganvas.data.spec import Size

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".jp2", ".gif", ".bmp", ".tif", ".tiff"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm"),
)
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "DIB", "TIFF", "TGA", "PPM", "ICO")  # none of which
# runs a program or reads another file, as Pillow does for some
MOST_PIXELS = Decoding.most  # more is taken for a decompression bomb
MOST_SCANS = 100  # of a progressive JPEG: each is a pass over the whole image
MOST_WEBP = 50_000_000  # likewise: to decode a WebP takes eight bytes a pixel besides those that it becomes
MOST_BYTES = 1 << 28  # of one encoded picture
TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where Pillow looks for an orientation
DRAFT = 4  # a JPEG is decoded at a half, quarter or eighth if that leaves at least so many times the size asked for


class SizesDiffer(Exception):  # noqa: N818 - not an error: the pictures are prepared otherwise
    """A picture is not of the size that all of them were thought to have."""


@dataclass(frozen=True)
class Preparation:
    """What is done to each picture.

    size: width and height of the result. crop: "centre" cuts the largest centred window of the shape of ``size``,
    "none" stretches the whole picture, (width, height) cuts a centred window of so many pixels (as large a one of that
    shape as there is, where the picture is smaller). resize: "bicubic" (antialiased) or "bilinear" (not). channels: 3
    (RGB) or 1 (grey). keep: ``size`` is every picture's own; another raises `SizesDiffer`.
    """

    size: Size
    crop: str | Size = "centre"
    resize: str = "bicubic"
    channels: int = 3
    keep: bool = False

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that is kept: left, top, right, bottom."""
        if self.crop == "none":
            return 0, 0, width, height
        w, h = self.size if isinstance(self.crop, str) else self.crop
        scale = min(width / w, height / h)
        if not isinstance(self.crop, str):
            scale = min(scale, 1)
        w, h = round(w * scale) or 1, round(h * scale) or 1
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


def upright_size(image: Image.Image) -> Size:
    """Width and height once the picture is turned as its EXIF orientation says."""
    return _turned(image, orientation_of(image))


def _turned(image: Image.Image, orientation: int) -> Size:
    return (image.height, image.width) if orientation >= 5 else image.size


def orientation_of(image: Image.Image) -> int:
    """1 (upright) to 8, as EXIF says; what it cannot say is upright."""
    if image.format != "JPEG":  # Pillow turns a TIFF itself when it is loaded; a PNG may have EXIF after its pixels
        image.load()
        if image.format == "PNG" and image.info.keys().isdisjoint(
            EXIF_KEYS
        ):  # most have none: half of what is not pixels
            return 1
    try:
        return orientation if 1 <= (orientation := int(image.getexif().get(0x0112, 1))) <= 8 else 1
    except Exception:  # damaged EXIF raises anything, and the pixels are sound
        return 1


@contextmanager
def opened(picture: Encoded, most: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """The picture's header, read. most: pixels that it may have. Raises BadPicture for whatever goes wrong inside,
    since decoders raise anything."""
    if isinstance(picture.data, BadPicture):
        raise picture.data
    try:
        data = picture.data
        with (
            unbounded(most),
            io.BytesIO(data) if isinstance(data, bytes) else open_at_once(data) as file,
            _bounded(file, most) as image,
        ):
            if (pixels := image.width * image.height) > most:
                raise BadPicture(_too_large(f"{image.width}x{image.height} pixels: over", most))
            if _scans(image, picture.data) > MOST_SCANS:
                raise BadPicture(f"a progressive JPEG of over {MOST_SCANS} scans")
            note_raw(image)
            with room.taken(0 if _drafts(image) else pixels):
                yield image
    except (BadPicture, SizesDiffer, RangeUnknown):
        raise
    except Image.DecompressionBombError:
        raise BadPicture(_too_large("over", most)) from None
    except UnidentifiedImageError:
        raise BadPicture("not a picture that can be read") from None
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadPicture(reason or str(error).strip() or type(error).__name__) from error


def _too_large(what: str, most: int) -> str:
    return f"{what} {most / 1_000_000:g} megapixels, the limit that max-pixels sets"


def _drafts(image: Image.Image) -> bool:
    """Whether a file need not be decoded to all of its pixels. (A progressive JPEG is held whole as coefficients.)"""
    return image.format == "JPEG" and not image.info.get("progressive")


def _scans(image: Image.Image, data: str | bytes) -> int:
    """How often the pixels of a progressive JPEG are refined; 0 for other files."""
    if image.format != "JPEG" or _drafts(image):
        return 0
    return (data if isinstance(data, bytes) else Path(data).read_bytes()).count(b"\xff\xda")


def _bounded(file: IO[bytes], most: int) -> Image.Image:
    """What Pillow opens. Raises BadPicture for a large WebP first: Pillow makes room for all of it before it tells its
    size."""
    width, height = _size_of_webp(file.read(30))
    file.seek(0)
    allowed = MOST_WEBP if most == MOST_PIXELS else most
    if width * height > allowed:
        raise BadPicture(_too_large(f"{width}x{height} pixels: over", allowed))
    return Image.open(file, formats=FORMATS)


def _size_of_webp(head: bytes) -> Size:
    """Width and height as the first bytes of a WebP tell; 0, 0 for another file."""
    kind = head[12:16] if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0


def decode(
    picture: Encoded, preparation: Preparation | Callable[[Size], Preparation], reading: Decoding | None = None
) -> tuple[Pixels, Size, str]:
    """The prepared pixels [H, W, C], and what the file held: upright width and height, and Pillow's mode.

    preparation: or what tells it by the picture's upright width and height.

    Raises BadPicture, SizesDiffer where ``preparation.keep`` is broken, and RangeUnknown.
    """
    reading = reading or Decoding()
    with opened(picture, reading.most) as image:
        seen = look(image, reading, picture.name)
        orientation, mode = orientation_of(image), image.mode
        size = _turned(image, orientation)
        if not isinstance(preparation, Preparation):
            preparation = preparation(size)
        if preparation.keep and size != preparation.size:
            raise SizesDiffer(picture.name)
        scale = 1.0
        if image.format == "JPEG" and preparation.crop in ("centre", "none") and preparation.resize == "bicubic":
            shrink = DRAFT * max(preparation.size[0] / size[0], preparation.size[1] / size[1])
            wide = image.width
            if shrink <= 0.5 and (draft := image.draft(None, (int(wide * shrink) + 1, int(image.height * shrink) + 1))):
                scale = draft[1][2] / wide
        with room.taken(image.width * image.height if _drafts(image) else 0):
            return prepare(image, preparation, orientation, size, scale, seen), size, mode


def read_halves(
    picture: Encoded, preparation: Callable[[Size], Preparation], reading: Decoding | None = None
) -> tuple[tuple[Pixels, Pixels], Size, str]:
    """The prepared left and right halves of a picture, the width and height of one, and Pillow's mode.

    Raises BadPicture, also where the width is odd, and RangeUnknown.
    """
    reading = reading or Decoding()
    with opened(picture, reading.most) as image:
        seen = look(image, reading, picture.name)
        orientation, mode = orientation_of(image), image.mode
        upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
        width, height = upright.width // 2, upright.height
        if upright.width % 2:
            raise BadPicture(f"is {upright.width} pixels wide: an odd number has no two halves")
        made = preparation((width, height))
        left, right = (prepare(upright.crop((x, 0, x + width, height)), made, seen=seen) for x in (0, width))
        return (left, right), (width, height), mode


def prepare(
    image: Image.Image,
    preparation: Preparation,
    orientation: int = 1,
    size: Size | None = None,
    scale: float = 1,
    seen: Look | None = None,
) -> Pixels:
    """The prepared pixels [H, W, C] of a picture that lies as its EXIF orientation says, or of one of that (upright)
    size that was drawn at a scale. seen: how its mode becomes colors (default: of 8 bits, without a profile)."""
    seen = seen or Look()
    if image.width * image.height > LARGE and scale == 1:
        return _in_strips(image, preparation, orientation, seen)
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    image = _toned(plain(image, seen), preparation)
    if image.size != preparation.size or not isinstance(preparation.crop, str):
        width, height = size or image.size
        left, top, right, bottom = preparation.window(width, height)
        if preparation.resize == "bilinear":  # drawn at its own scale: a smaller drawing would be antialiased
            pixels = np.asarray(image.crop((round(left), round(top), round(right), round(bottom))))
            image = Image.fromarray(bilinear(pixels, preparation.size))
        else:
            # What a smaller drawing has over, rounded up, lay to the right and below before it was turned.
            x = image.width - width * scale if orientation in (2, 3, 6, 7) else 0
            y = image.height - height * scale if orientation in (3, 4, 7, 8) else 0
            right, bottom = min(x + right * scale, image.width), min(y + bottom * scale, image.height)
            box = (x + left * scale, y + top * scale, right, bottom)
            image = image.resize(preparation.size, Image.Resampling.BICUBIC, box)
    return _pixels(image, preparation)


def _toned(image: Image.Image, preparation: Preparation) -> Image.Image:
    """Gray where gray is asked for. (Gray becomes RGB only when it is small.)"""
    return image.convert("L") if preparation.channels == 1 and image.mode != "L" else image


def _pixels(image: Image.Image, preparation: Preparation) -> Pixels:
    if preparation.channels == 3 and image.mode == "L":
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _in_strips(image: Image.Image, preparation: Preparation, orientation: int, seen: Look) -> Pixels:
    """`prepare`, of a large image: the same pixels but for rounding, and hardly more memory than the decoder takes."""
    size = _turned(image, orientation)

    def strip(top: int, bottom: int) -> Image.Image:
        """Rows of the upright image."""
        part = image.crop(_where(top, bottom, image.size, orientation))
        if orientation in TURNS:
            part = part.transpose(TURNS[orientation])
        return _toned(plain(part, seen), preparation)

    width, height = preparation.size
    if size == preparation.size and isinstance(preparation.crop, str):
        whole = np.empty((height, width, preparation.channels), np.uint8)
        for top, bottom in strips(size):
            whole[top:bottom] = _pixels(strip(top, bottom), preparation)
        return whole
    left, upper, right, lower = preparation.window(*size)
    if preparation.resize == "bilinear":
        first, last = round(left), round(right)
        rows = _between(round(lower) - round(upper), height)
        wanted = np.unique(np.concatenate(rows[:2])) + round(upper)
        picked: list[Pixels] = []
        for top, bottom in strips(size):
            mine = wanted[(wanted >= top) & (wanted < bottom)] - top
            if len(mine):
                picked.append(_pixels(strip(top, bottom), preparation)[mine, first:last])
        low, high = (wanted.searchsorted(at + round(upper)) for at in rows[:2])
        values = _lerped(_lerped(np.concatenate(picked), 0, low, high, rows[2]), 1, *_between(last - first, width))
        return np.rint(values).astype(np.uint8)
    # As Pillow does it, mostly: first every row by itself, then every column of those.
    narrow: Image.Image | None = None
    for top, bottom in strips(size):
        part = strip(top, bottom)
        part = part.resize((width, part.height), Image.Resampling.BICUBIC, (left, 0, right, part.height))
        narrow = narrow or Image.new(part.mode, (width, size[1]))
        narrow.paste(part.convert(narrow.mode), (0, top))
    assert narrow is not None
    return _pixels(narrow.resize(preparation.size, Image.Resampling.BICUBIC, (0, upper, width, lower)), preparation)


def _where(top: int, bottom: int, size: Size, orientation: int) -> tuple[int, int, int, int]:
    """The box that rows of the upright image are, as the file of that width and height has them."""
    width, height = size
    if orientation >= 5:  # they are columns
        return (top, 0, bottom, height) if orientation in (5, 6) else (width - bottom, 0, width - top, height)
    return (0, height - bottom, width, height - top) if orientation in (3, 4) else (0, top, width, bottom)


def bilinear(pixels: Pixels, size: Size) -> Pixels:
    """Pixels [H, W, ...] resized to that width and height: bilinear between the centres of the nearest pixels, without
    antialiasing, rounded half to even.

    torch.nn.functional.interpolate (antialias=False, align_corners=False) and tf.image.resize, then rounded: the same
    bytes where the sides are powers of two up to 128, since float32 is exact there, and the nearer ones elsewhere. In
    float64, and so the same on every machine.
    """
    values: NDArray[Any] = pixels
    for axis, n in enumerate(reversed(size)):
        values = _lerped(values, axis, *_between(values.shape[axis], n))
    return np.rint(values).astype(np.uint8)


def _between(length: int, n: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Of n places along a side: the pixels before and after each, and how far it lies towards the second."""
    last = length - 1
    at = ((np.arange(n) + 0.5) * (length / n) - 0.5).clip(0, last)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, last), at - low


def _lerped(
    values: NDArray[Any], axis: int, low: NDArray[np.intp], high: NDArray[np.intp], share: NDArray[np.float64]
) -> NDArray[Any]:
    share = share.reshape(-1, *[1] * (values.ndim - axis - 1))
    return np.asarray(values.take(low, axis) * (1 - share) + values.take(high, axis) * share)


class _Hush:
    """Silences what Pillow warns of while any thread is within, each of which may enter."""

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._filter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            if self._filter not in warnings.filters:  # the first within, or somebody else has put it away
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filter = warnings.filters[0]

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                with suppress(ValueError):
                    cast(list[Any], warnings.filters).remove(self._filter)


hushed = _Hush()


@contextmanager
def quietly() -> Iterator[None]:
    """Silences what Pillow warns of on the way (odd EXIF, large pictures): unreadable ones are counted and named.

    Not to be entered in a thread: warning filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
