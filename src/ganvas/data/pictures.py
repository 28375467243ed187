"""One picture, from any file that Pillow reads to the uint8 pixels that a system is trained on."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ganvas.bounds import open_regular
from ganvas.data.source import BadPicture, Encoded, Pixels
from ganvas.data.spec import Size

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".jp2", ".gif", ".bmp", ".tif", ".tiff"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm"),
)
MOST_PIXELS = 100_000_000  # more is taken for a decompression bomb
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
def opened(picture: Encoded) -> Iterator[Image.Image]:
    """The picture's header, read. Raises BadPicture for whatever goes wrong inside, since decoders raise anything."""
    if isinstance(picture.data, BadPicture):
        raise picture.data
    try:
        data = picture.data
        with io.BytesIO(data) if isinstance(data, bytes) else open_regular(data) as file, _bounded(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadPicture(f"{image.width}x{image.height} pixels: over {MOST_PIXELS // 1_000_000} megapixels")
            yield image
    except (BadPicture, SizesDiffer):
        raise
    except Image.DecompressionBombError:
        raise BadPicture(f"over {MOST_PIXELS // 1_000_000} megapixels") from None
    except UnidentifiedImageError:
        raise BadPicture("not a picture that can be read") from None
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadPicture(reason or str(error).strip() or type(error).__name__) from error


def _bounded(file: IO[bytes]) -> Image.Image:
    """What Pillow opens. Raises BadPicture for a large WebP first: Pillow makes room for all of it before it tells its
    size."""
    width, height = _size_of_webp(file.read(30))
    file.seek(0)
    if width * height > MOST_WEBP:
        raise BadPicture(f"{width}x{height} pixels: over {MOST_WEBP // 1_000_000} megapixels, the most of a WebP")
    return Image.open(file)


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


def decode(picture: Encoded, preparation: Preparation | Callable[[Size], Preparation]) -> tuple[Pixels, Size, str]:
    """The prepared pixels [H, W, C], and what the file held: upright width and height, and Pillow's mode.

    preparation: or what tells it by the picture's upright width and height.

    Raises BadPicture, and SizesDiffer where ``preparation.keep`` is broken.
    """
    with opened(picture) as image:
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
        return prepare(image, preparation, orientation, size, scale), size, mode


def read_halves(
    picture: Encoded, preparation: Callable[[Size], Preparation]
) -> tuple[tuple[Pixels, Pixels], Size, str]:
    """The prepared left and right halves of a picture, the width and height of one, and Pillow's mode.

    Raises BadPicture, also where the width is odd.
    """
    with opened(picture) as image:
        orientation, mode = orientation_of(image), image.mode
        upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
        width, height = upright.width // 2, upright.height
        if upright.width % 2:
            raise BadPicture(f"is {upright.width} pixels wide: an odd number has no two halves")
        made = preparation((width, height))
        left, right = (upright.crop((x, 0, x + width, height)) for x in (0, width))
        return (prepare(left, made), prepare(right, made)), (width, height), mode


def prepare(
    image: Image.Image, preparation: Preparation, orientation: int = 1, size: Size | None = None, scale: float = 1
) -> Pixels:
    """The prepared pixels [H, W, C] of a picture that lies as its EXIF orientation says, or of one of that (upright)
    size that was drawn at a scale."""
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    image = _plain(image)
    if preparation.channels == 1 and image.mode != "L":
        image = image.convert("L")
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
    if preparation.channels == 3 and image.mode == "L":
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def bilinear(pixels: Pixels, size: Size) -> Pixels:
    """Pixels [H, W, ...] resized to that width and height: bilinear between the centres of the nearest pixels, without
    antialiasing, rounded half to even.

    torch.nn.functional.interpolate (antialias=False, align_corners=False) and tf.image.resize, then rounded: the same
    bytes where the sides are powers of two up to 128, since float32 is exact there, and the nearer ones elsewhere. In
    float64, and so the same on every machine.
    """
    values: NDArray[Any] = pixels
    for axis, n in enumerate(reversed(size)):
        last = values.shape[axis] - 1
        at = ((np.arange(n) + 0.5) * ((last + 1) / n) - 0.5).clip(0, last)
        low = at.astype(np.intp)
        share = (at - low).reshape(-1, *[1] * (values.ndim - axis - 1))
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, last), axis) * share
    return np.rint(values).astype(np.uint8)


def _plain(image: Image.Image) -> Image.Image:
    """The picture as 8-bit RGB or grey, whatever its mode; what is transparent lies over white."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit, 32-bit or floating-point grey picture: scaled by the range that its values are in."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise BadPicture("values that are not finite, negative or over 65535")
    if image.mode == "F":
        top = 1.0 if values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
    else:  # 16-bit PNGs are mode I in older Pillows; a 32-bit TIFF may well hold bytes
        top = 255.0 if image.mode == "I" and image.format != "PNG" and values.max() <= 255 else 65535.0
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8))


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
