from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from drawing import Array, all_names, encoded, everything, noise, read, read_or_reason, sentence, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from torch.nn import functional

from ganvas.data import colors, limits, open_data, pictures
from ganvas.data.colors import Decoding, look
from ganvas.data.pictures import MOST_PIXELS, Preparation, decode, prepare, upright_size
from ganvas.data.source import BadPicture, Encoded
from ganvas.errors import DataError

ORIENTATION = 0x0112


# ---- modes -----------------------------------------------------------------------------------------------------------
def palette(*, transparent: int | None = None) -> bytes:
    """Four pixels: red, green, blue, white by palette."""
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    image.putdata([0, 1, 2, 3])
    return encoded(image, "PNG", **({} if transparent is None else {"transparency": transparent}))


def tiff(values: list[float], kind: str) -> bytes:
    return encoded(np.array([values], kind), "TIFF")


def cmyk(*colours: tuple[int, int, int, int]) -> bytes:
    image = Image.new("CMYK", (len(colours), 1))
    image.putdata(colours)
    return encoded(image, "TIFF")


GREYS = np.array([[0, 100, 255]], np.uint8)
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize(
    ("data", "expected", "mode"),
    [
        (encoded(Image.fromarray(GREYS).convert("1", dither=Image.Dither.NONE)), [0, 0, 255], "1"),
        (encoded(GREYS), [0, 100, 255], "L"),
        (encoded(GREYS, "PNG", transparency=100), [0, 255, 255], "L"),
        (encoded(np.array([[RED, GREEN]], np.uint8)), [RED, GREEN], "RGB"),
        (encoded(np.array([[RED, GREEN]], np.uint8), "PNG", transparency=RED), [WHITE, GREEN], "RGB"),
        (palette(), [RED, GREEN, BLUE, WHITE], "P"),
        (palette(transparent=1), [RED, WHITE, BLUE, WHITE], "P"),
        (encoded(np.array([[[0, 255], [0, 0], [200, 51]]], np.uint8)), [0, 255, 244], "LA"),
        (encoded(np.array([[[*BLUE, 0], [*BLUE, 255], [0, 0, 0, 51]]], np.uint8)), [WHITE, BLUE, 204], "RGBA"),
        (cmyk((0, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255), (0, 0, 0, 155)), [WHITE, RED, BLACK, 100], "CMYK"),
        (tiff([0, 257, 65535], ">u2"), [0, 1, 255], "I;16B"),
        (tiff([0, 257, 65535], "<u2"), [0, 1, 255], "I;16"),
        (encoded(np.array([[0, 25700, 65535]], np.uint16)), [0, 100, 255], "I;16"),
    ],
)
def test_every_mode_becomes_the_colours_it_stands_for(
    data: bytes, expected: list[int | tuple[int, int, int]], mode: str
) -> None:
    colours = [(colour,) * 3 if isinstance(colour, int) else colour for colour in expected]
    pixels, size, found = decode(Encoded("x", data), Preparation((len(colours), 1)))
    assert pixels[0].tolist() == [list(colour) for colour in colours]
    assert (size, found) == ((len(colours), 1), mode)
    if all(isinstance(colour, int) for colour in expected):
        assert read(data, channels=1)[0, :, 0].tolist() == expected


def test_sixteen_bits_round_to_the_nearest_of_eight() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = (values.astype(np.int64) * 255 + 32767) // 65535
    assert np.array_equal(read(encoded(values), channels=1)[..., 0], expected)


def test_what_is_transparent_lies_over_white() -> None:
    grey, alpha = np.meshgrid(np.arange(256), np.arange(256))
    expected = (grey * alpha + 255 * (255 - alpha)) / 255
    for image in (np.stack([grey, alpha], -1), np.stack([grey, grey, grey, alpha], -1)):
        pixels = read(encoded(image.astype(np.uint8)), channels=1)[..., 0]
        assert np.abs(pixels - expected).max() <= 1


# ---- numbers of more than 8 bits -------------------------------------------------------------------------------------
def folder(root: Path, **rows: tuple[list[float], str]) -> dict[str, list[int]]:
    """What the pictures of a folder read as, by name: each one row of numbers of a type."""
    write(root, {f"{name}.tif": tiff(values, kind) for name, (values, kind) in rows.items()})
    data = open_data(str(root))
    return {name[:-4]: pixels[0, :, 0].tolist() for name, pixels in zip(all_names(data), everything(data), strict=True)}


@pytest.mark.parametrize(
    ("far", "near", "expected", "decided"),
    [
        (([0, 100, 255], "<i4"), ([0, 10, 50], "<i4"), ([0, 100, 255], [0, 10, 50]), "0..255"),  # bytes in a wide file
        (([0, 25700, 65535], "<i4"), ([0, 257, 514], "<i4"), ([0, 100, 255], [0, 1, 2]), "0..65535"),
        (([2000, 2100, 4095], "<i4"), ([0, 1, 200], "<i4"), ([125, 131, 255], [0, 0, 12]), "0..4095"),
        (([0, 0.2, 1], "<f4"), ([0, 0.1, 0.2], "<f4"), ([0, 51, 255], [0, 26, 51]), "unit"),
        (([0, 0.2, 1], "<f4"), ([-1, 0, 0.2], "<f4"), ([128, 153, 255], [0, 128, 153]), "signed"),
        (([0, 51.2, 255], "<f4"), ([0, 0.5, 1], "<f4"), ([0, 51, 255], [0, 0, 1]), "0..255"),
        (([0, 257, 65535], "<f4"), ([0, 0.5, 1], "<f4"), ([0, 1, 255], [0, 0, 0]), "0..65535"),
        (([0, 100, 255], "<i4"), ([0, 50, 100], "<u2"), ([0, 100, 255], [0, 50, 100]), "0..255"),  # 16 bits among them
    ],
)
def test_all_pictures_of_a_set_are_read_by_one_range(
    far: Any, near: Any, expected: tuple[list[int], list[int]], decided: str, tmp_path: Path
) -> None:
    write(tmp_path, {"plain.png": np.full((1, 3), 7, np.uint8)})
    assert folder(tmp_path, far=far, near=near) == {"far": expected[0], "near": expected[1], "plain": [7] * 3}
    data = open_data(str(tmp_path))
    assert (data.found["range"], data.found["range_by"]) == (decided, "values")
    assert f"range={decided}" in data.found["notes"][0]
    assert data.spec == f"{tmp_path}?range={decided}"
    assert open_data(data.spec).fingerprint == data.fingerprint
    again = open_data(f"{tmp_path / 'near.tif'}?range={decided}")  # an input, later
    assert everything(again)[0, 0, :, 0].tolist() == expected[1]


def test_sixteen_bits_have_a_range_of_their_own_unless_another_is_said(tmp_path: Path) -> None:
    dark = np.array([[0, 1000, 4095]], np.uint16)
    write(tmp_path, {"a.png": encoded(dark), "b.png": encoded(dark // 2)})
    data = open_data(str(tmp_path))
    assert everything(data)[0, 0, :, 0].tolist() == [0, 4, 16]
    assert (data.found["range"], data.found["range_by"], data.spec) == ("0..65535", "format", str(tmp_path))
    assert "no value is over 4095: range=0..4095 would make them brighter" in data.found["notes"][0]
    said = open_data(f"{tmp_path}?range=0..4095")
    assert everything(said)[:, 0, :, 0].tolist() == [[0, 62, 255], [0, 31, 127]]
    assert said.found["notes"] == []
    with pytest.raises(DataError, match=r"values from 0 to 4095, beyond range=unit"):
        open_data(f"{tmp_path}?range=unit")


def test_a_range_that_changes_nothing_is_said(tmp_path: Path) -> None:
    data = open_data(f"{write(tmp_path, {'a.png': noise(1)})}?range=0..9")
    assert np.array_equal(everything(data)[0], noise(1))
    assert data.found["notes"] == ["range=0..9 changes nothing: all images have 8 bits a channel"]


@pytest.mark.parametrize(("low", "high"), [(0, 20), (-5, 300), (0, 70000)])
def test_where_numbers_do_not_tell_their_range_it_is_asked_for(low: float, high: float, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing says which of them are black and white: say so, as in \?range=") as e:
        folder(tmp_path, a=([low, 0, high], "<f4"))
    sentence(e.value)
    assert everything(open_data(f"{tmp_path}?range={low}..{high}"))[0, 0, (0, 2), 0].tolist() == [0, 255]


def test_a_streamed_set_needs_its_range_said(tmp_path: Path) -> None:
    write(tmp_path, {"a.tif": tiff([0, 100, 255], "<i4")})
    with pytest.raises(DataError, match=r"a.tif holds numbers of 32 bits .mode I., .* as in \?range=0..65535"):
        everything(open_data(f"{tmp_path}?stream=true"))
    assert everything(open_data(f"{tmp_path}?stream=true&range=0..255"))[0, 0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("values", [[0, np.nan], [0, np.inf]])
def test_numbers_that_are_not_finite_are_no_picture(values: list[float], tmp_path: Path) -> None:
    write(tmp_path, {"a.tif": tiff([0, 1], "<f4"), "b.tif": tiff(values, "<f4")})
    data = open_data(f"{tmp_path}?max-bad=50%")
    assert data.found["bad"]["files"] == {"b.tif": "holds values that are not finite (NaN or infinity)"}
    assert data.found["range"] == "unit"


def test_sixteen_bits_a_channel_have_no_range(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": deep_color(np.array([[[1000, 2000, 65535]]]))})
    assert everything(open_data(str(tmp_path))).tolist() == [[[[3, 7, 255]]]]
    with pytest.raises(DataError, match=r"has 16 bits a channel, of which 8 are read: range=0..4095 cannot be applied"):
        open_data(f"{tmp_path}?range=0..4095")


# ---- transparency ----------------------------------------------------------------------------------------------------
def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, kind: int, rows: bytes, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def deep_color(values: Array, *chunks: bytes) -> bytes:
    """An RGB PNG of 16 bits a channel, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, 2, rows, *chunks)


def few_bits(bits: int, clear: int) -> bytes:
    """A gray PNG of 0, 1, ... in so few bits, of which one is transparent."""
    n = 8 // bits
    row = sum((i % 2**bits) << (bits * (n - 1 - i)) for i in range(n))
    return png(n, 1, bits, 0, bytes([0, row]), chunk(b"tRNS", struct.pack(">H", clear)))


def layered(mode: str, form: str = "PNG", **options: Any) -> bytes:
    """Two pixels, the first of which is black and transparent, and the second black and not."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    return encoded(image.convert(mode), form, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(np.array([[False, True]]), transparency=0), [255, 255]),
        (encoded(np.array([[False, True]]), transparency=1), [0, 255]),
        (few_bits(1, 0), [255, 255] * 4),
        (few_bits(2, 1), [0, 255, 170, 255]),
        (few_bits(4, 0), [255, 17]),
        (encoded(np.array([[0, 117]], np.uint8), transparency=117), [0, 255]),
        (encoded(np.array([[0, 30000]], np.uint16), transparency=0), [255, 117]),
        (encoded(np.array([[0, 30000]], np.uint16), transparency=30000), [0, 255]),
        (
            deep_color(np.array([[[1000] * 3, [30000] * 3]]), chunk(b"tRNS", struct.pack(">HHH", *[1000] * 3))),
            [255, 117],
        ),
        (layered("LA"), [255, 0]),
        (layered("RGBA"), [255, 0]),
        (layered("RGBA", "TIFF"), [255, 0]),
        (layered("RGBA", "GIF"), [255, 0]),
        *([(layered("RGBA", "WEBP", lossless=True, exact=True), [255, 0])] if features.check("webp") else []),
        (encoded(Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P"), transparency=b"\0\xff"), [255, 1]),
        (encoded(Image.fromarray(np.array([[0, 100]], np.uint8)).convert("P"), transparency=100), [0, 255]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white_in_every_mode(data: bytes, expected: list[int], channels: int) -> None:
    assert read(data, channels=channels)[0].tolist() == [[value] * channels for value in expected]


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_modes_that_no_file_here_has_lie_over_white_as_well(mode: str) -> None:
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    image = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    assert prepare(image, Preparation((1, 1))).tolist() == [[[255] * 3]]


# ---- color profiles --------------------------------------------------------------------------------------------------
def matrix_profile(*, primaries: tuple[tuple[float, float, float], ...] | None, gamma: float) -> bytes:
    """A small ICC profile: of a display with those primaries in XYZ (of D50), or of gray."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for letter, xyz in zip((b"r", b"g", b"b"), primaries, strict=True):
            tags |= {letter + b"XYZ": b"XYZ " + bytes(4) + fixed(*xyz), letter + b"TRC": curve}
    place = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", place + len(body), len(data))
        body += data
    space = b"GRAY" if primaries is None else b"RGB "
    head = bytearray(128)
    head[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"mntr" + space + b"XYZ ", b"acsp"
    head[68:80] = fixed(0.9642, 1, 0.8249)
    return bytes(head) + table + body


SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))  # in XYZ of D50
SWAPPED = matrix_profile(primaries=SRGB[::-1], gamma=2.2)  # red is blue
LINEAR = matrix_profile(primaries=None, gamma=1)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_colors_are_brought_to_srgb(form: str, tmp_path: Path) -> None:
    if form == "WEBP" and not features.check("webp"):
        pytest.skip("no WebP")
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    image = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    data = encoded(image, form, icc_profile=SWAPPED, **options)
    assert np.abs(read(data)[0, 0].astype(int) - (0, 0, 255)).max() <= 3
    found = open_data(str(write(tmp_path, {"a.png": data, "b.png": encoded(image)}))).found
    assert found["notes"] == ["the color profiles of 1 images were converted to sRGB"]


def test_alpha_and_palettes_keep_their_profile() -> None:
    red = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    red.putpixel((1, 0), (255, 0, 0, 0))
    assert np.abs(read(encoded(red, icc_profile=SWAPPED)).astype(int)[0] - [BLUE, WHITE]).max() <= 2
    indexed = Image.new("P", (1, 1))
    indexed.putpalette([255, 0, 0])
    assert np.abs(read(encoded(indexed, icc_profile=SWAPPED)).astype(int)[0] - [BLUE]).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_gray_profile_brightens_gray(mode: str) -> None:
    gray = np.array([[0, 55, 255]], np.uint8)
    image = Image.fromarray(gray.astype(np.uint16) * 257 if mode == "I;16" else gray)
    data = encoded(image if mode == "I;16" else image.convert(mode), icc_profile=LINEAR)
    for channels in (1, 3):
        assert np.abs(read(data, channels=channels)[0, :, 0].astype(int) - [0, 128, 255]).max() <= 2


@pytest.mark.parametrize("profile", [b"no profile", SWAPPED[:200], SWAPPED[:-9], LINEAR])
def test_a_profile_that_cannot_be_used_is_ignored_and_counted(profile: bytes, tmp_path: Path) -> None:
    image = noise(1)
    data = open_data(str(write(tmp_path, {"a.png": encoded(image, icc_profile=profile)})))
    if profile != SWAPPED[:-9]:  # of which the last curve is missing
        assert np.array_equal(everything(data)[0], image)
        assert data.found["notes"] == ["the color profiles of 1 images cannot be used and were ignored"]


def test_srgb_itself_changes_nothing() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for image in (noise(1), noise(2, 6, 5)):
        assert np.array_equal(read(encoded(image, icc_profile=profile), channels=3), read(encoded(image), channels=3))


# ---- large images ----------------------------------------------------------------------------------------------------
RESIZE = Image.Image.resize


def by_rows(image: Image.Image, size: tuple[int, int], how: Any, box: tuple[float, float, float, float]) -> Image.Image:
    """Pillow's resize, first along rows and then along columns: some versions do it the other way round at times."""
    left, upper, right, lower = box
    narrow = RESIZE(image, (size[0], image.height), how, (left, 0, right, image.height))
    return RESIZE(narrow, size, how, (0, upper, size[0], lower))


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("how", [{}, {"crop": "none"}, {"crop": (20, 17)}, {"resize": "bilinear"}, {"channels": 1}])
@pytest.mark.parametrize("to", [(9, 14), (61, 43), (43, 61), (70, 50)])
def test_a_large_image_is_the_same_in_strips(
    mode: str, orientation: int, how: dict[str, Any], to: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.fromarray(noise(3, 43, 61, 4))
    image = Image.fromarray(noise(4, 43, 61).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    image.info["transparency"] = {"L": 7, "P": 3, "I;16": 7 * 257}.get(mode)
    if image.info["transparency"] is None:
        del image.info["transparency"]
    seen = look(image, Decoding(), "x")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "resize", by_rows)
        expected = prepare(image, Preparation(to, **how), orientation, seen=seen)
    monkeypatch.setattr(pictures, "LARGE", 0)
    monkeypatch.setattr(colors, "STRIP", 61 * 5)
    assert np.array_equal(prepare(image, Preparation(to, **how), orientation, seen=seen), expected)


def test_more_pixels_are_read_where_that_is_said(tmp_path: Path) -> None:
    wide = png(200_000, 1000, 1, 0, (bytes(25_001)) * 1000)
    root = write(tmp_path, {"a.png": wide})
    with pytest.raises(DataError, match=r"a.png: over 100 megapixels, the limit that max-pixels sets"):
        open_data(f"{root}?size=8")
    limit = Image.MAX_IMAGE_PIXELS
    assert not everything(open_data(f"{root}?size=8&crop=none&max-pixels=200M")).any()
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match=r"over 2e-05 megapixels"):
        open_data(f"{write(tmp_path / 'b', {'b.png': noise(1)})}?size=8&max-pixels=20")


def test_large_images_wait_for_each_other() -> None:
    import threading

    room, seen, most = limits._Room(limits.LARGE * 3), [0], [0]
    lock = threading.Lock()

    def decode_one() -> None:
        with room.taken(limits.LARGE * 2):
            with lock:
                seen[0] += 1
                most[0] = max(most[0], seen[0])
            with lock:
                seen[0] -= 1

    threads = [threading.Thread(target=decode_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    with room.taken(5), room.taken(limits.LARGE):  # small ones need none
        pass
    for thread in threads:
        thread.join(20)
    assert most == [1]
    with room.taken(limits.LARGE * 9):  # more than there is: alone
        pass


def test_a_jpeg_that_is_refined_without_end_is_refused() -> None:
    data = encoded(noise(1, 32, 32, 3), "JPEG", progressive=True)
    assert read(data).shape == (32, 32, 3)
    first, rest = data.split(b"\xff\xda", 1)
    with pytest.raises(BadPicture, match="a progressive JPEG of over 100 scans"):
        read(first + (b"\xff\xda" + rest[:20]) * 200 + b"\xff\xd9")


def test_no_file_runs_a_program() -> None:
    with pytest.raises(BadPicture, match="not a picture that can be read"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", 4, 4)


# ---- turned as EXIF says ---------------------------------------------------------------------------------------------
def stored(upright: Array, orientation: int) -> Array:
    """The rows of a file that says of itself where its row 0 and column 0 are to be seen (EXIF 2.3, tag 274)."""
    sides = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
    sides |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}
    row, column = sides[orientation].split()
    if row in ("left", "right"):
        upright = upright.swapaxes(0, 1)  # rows of the file are columns of the picture
    if row in ("bottom", "right"):
        upright = upright[::-1]
    if column in ("bottom", "right"):
        upright = upright[:, ::-1]
    return upright


FORMATS = [("PNG", {}), ("TIFF", {}), ("JPEG", {"quality": 100, "subsampling": 0})]
if features.check("webp"):
    FORMATS.append(("WEBP", {"lossless": True}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "options"), FORMATS, ids=[form for form, _ in FORMATS])
def test_is_upright_whatever_the_camera_was(form: str, options: dict[str, object], orientation: int) -> None:
    upright = np.kron(noise(1, 3, 2, 3), np.ones((8, 8, 1), np.uint8))  # 16 wide, 24 high
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(np.ascontiguousarray(stored(upright, orientation)), form, exif=exif, **options)
    pixels, size, _ = decode(Encoded("x", data), Preparation((16, 24), keep=True))
    assert size == (16, 24)
    assert np.abs(pixels.astype(int) - upright).max() <= (8 if form == "JPEG" else 0)
    with Image.open(io.BytesIO(data)) as image:
        assert upright_size(image) == (16, 24)


@pytest.mark.parametrize("form", [form for form, _ in FORMATS if form != "TIFF"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x05\0\0\0abcd\0\0\0\0",  # an orientation that is a string
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",  # an orientation of 99
    ],
)
def test_damaged_exif_spoils_no_picture(form: str, exif: bytes) -> None:
    upright = np.full((4, 6, 3), 77, np.uint8)
    assert np.abs(read(encoded(upright, form, exif=exif)).astype(int) - upright).max() <= 1


# ---- files that are no pictures --------------------------------------------------------------------------------------
SOUND = {
    form: encoded(noise(2, 24, 20, 3), form, **options)
    for form, options in (*FORMATS, ("BMP", {}), ("PPM", {}), ("TGA", {}))
}


@given(form=st.sampled_from(sorted(SOUND)), part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_a_truncated_picture_is_never_taken_for_a_whole_one(form: str, part: float) -> None:
    whole = SOUND[form]
    found = read_or_reason(whole[: int(len(whole) * part)], 20, 24)
    if isinstance(found, str):
        assert found
    else:  # nothing was cut but what follows the pixels
        assert np.array_equal(found, read(whole))


@given(
    form=st.sampled_from(sorted(SOUND)),
    place=st.floats(0, 1, exclude_max=True),
    insert=st.binary(min_size=1, max_size=8),
    nothing_else=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_bytes_are_there_is_a_picture_or_a_reason(
    form: str, place: float, insert: bytes, nothing_else: bool
) -> None:
    start = int(len(SOUND[form]) * place)
    data = insert if nothing_else else SOUND[form][:start] + insert + SOUND[form][start + len(insert) :]
    found = read_or_reason(data, 20, 24)
    assert found if isinstance(found, str) else found.shape == (24, 20, 3)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that says it is so large."""
    return png(width, height, 8, 2, b"")


@pytest.mark.parametrize("side", [10_001, 50_000, 1 << 31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    assert side * side > MOST_PIXELS
    with pytest.raises(BadPicture, match="megapixels"):
        read(bomb(side, side), 64, 64)


def test_a_webp_that_says_it_is_very_large_is_not_decoded() -> None:
    data = bytearray(encoded(noise(1, 4, 4, 3), "WEBP", lossless=True))
    assert data[12:16] == b"VP8L"
    data[21:25] = (8999 | 8999 << 14).to_bytes(4, "little")  # width and height, less one
    lossy = bytearray(encoded(noise(1, 4, 4, 3), "WEBP"))
    assert lossy[12:16] == b"VP8 "
    lossy[26:30] = (9000).to_bytes(2, "little") * 2
    canvas = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + (8999).to_bytes(3, "little") * 2 + bytes(8)
    for large in (bytes(data), bytes(lossy), canvas):
        with pytest.raises(BadPicture, match="9000x9000 pixels: over 50 megapixels"):
            read(large, 4, 4)


def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(BadPicture, match=r"^No such file or directory$"):
        decode(Encoded("x.png", "/nowhere/x.png"), Preparation((4, 4)))


# ---- size and crop ---------------------------------------------------------------------------------------------------
SIDES = st.integers(1, 3000)


@given(SIDES, SIDES, SIDES, SIDES)
@settings(deadline=None)
def test_the_centred_window_is_the_largest_of_its_shape(w: int, h: int, to_w: int, to_h: int) -> None:
    left, top, right, bottom = Preparation((to_w, to_h)).window(w, h)
    assert 0 <= left < right <= w
    assert 0 <= top < bottom <= h
    assert abs((w - right) - left) <= 1
    assert abs((h - bottom) - top) <= 1
    wide, high = right - left, bottom - top
    assert wide == w or high == h
    assert min(abs(wide - high * to_w / to_h), abs(high - wide * to_h / to_w)) <= max(0.5, to_w / to_h, to_h / to_w)


@given(SIDES, SIDES, SIDES, SIDES)
@settings(deadline=None)
def test_a_window_in_pixels_has_so_many_where_the_picture_has(w: int, h: int, crop_w: int, crop_h: int) -> None:
    left, top, right, bottom = Preparation((8, 8), (crop_w, crop_h)).window(w, h)
    assert 0 <= left < right <= w
    assert 0 <= top < bottom <= h
    if crop_w <= w and crop_h <= h:
        assert (right - left, bottom - top) == (crop_w, crop_h)
    assert Preparation((8, 8), "none").window(w, h) == (0, 0, w, h)


def test_a_window_of_the_size_asked_for_is_cut_to_the_pixel() -> None:
    pixels = noise(3, 11, 17, 3)
    assert np.array_equal(read(encoded(pixels), 7, 5, crop=(7, 5)), pixels[3:8, 5:12])
    assert np.array_equal(read(encoded(pixels), 17, 11), pixels)


def test_centre_cuts_and_none_stretches() -> None:
    bands = np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), 60, 0).repeat(60, 1)  # 180 wide, 60 high
    assert (read(encoded(bands), 20, 20)[:, 3:-3] == GREEN).all()
    stretched = read(encoded(bands), 30, 30, crop="none")
    assert [stretched[15, x].tolist() for x in (3, 15, 26)] == [list(RED), list(GREEN), list(BLUE)]


def test_shrinks_without_aliasing() -> None:
    stripes = np.tile(np.array([[0, 255]], np.uint8), (64, 32))
    assert np.abs(read(encoded(stripes), 8, 8, channels=1)[:, 1:-1].astype(int) - 127.5).max() < 1


# ---- bilinear without antialiasing -----------------------------------------------------------------------------------
def interpolated(pixels: Array, width: int, height: int, dtype: torch.dtype) -> Array:
    """What torch makes of pixels [H, W, C] at that size, not rounded."""
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(dtype)
    resized = functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False, antialias=False)
    return resized[0].permute(1, 2, 0).numpy()


@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 7), st.integers(0, 7), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_bilinear_gives_the_bytes_of_torch_where_float32_is_exact(w: int, h: int, i: int, j: int, seed: int) -> None:
    pixels, to = noise(seed, h, w, 3), (2**i, 2**j)
    expected = interpolated(pixels, *to, torch.float32).round()
    assert np.array_equal(read(encoded(pixels), *to, crop="none", resize="bilinear"), expected)


@given(*[st.integers(1, 90)] * 4, st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_bilinear_gives_the_nearest_byte_everywhere(w: int, h: int, to_w: int, to_h: int, seed: int) -> None:
    pixels = noise(seed, h, w, 1)
    exact = interpolated(pixels, to_w, to_h, torch.float64)
    got = read(encoded(pixels[..., 0]), to_w, to_h, crop="none", resize="bilinear", channels=1)
    assert np.abs(got - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("crop", ["centre", "none", (108, 132)])
def test_bilinear_takes_a_jpeg_at_its_own_scale_and_its_window_to_the_pixel(crop: str | tuple[int, int]) -> None:
    data = encoded(skimage.data.coffee(), "JPEG", quality=95)  # 600 x 400
    whole = read(data)
    window = {"centre": whole[:, 100:500], "none": whole, (108, 132): whole[134:266, 246:354]}[crop]
    expected = interpolated(window, 64, 64, torch.float32).round()
    assert np.array_equal(read(data, 64, 64, crop=crop, resize="bilinear"), expected)
    assert not np.array_equal(read(data, 64, 64, crop=crop), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 1)])
@pytest.mark.parametrize("crop", ["centre", "none", (5, 3)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_picture_of_one_pixel_is_one_colour(size: tuple[int, int], crop: str, mode: str) -> None:
    data = encoded(Image.new("RGB", size, "white").convert(mode))
    for to in ((1, 1), (4, 6)):
        assert read(data, *to, crop=crop).tolist() == np.full((to[1], to[0], 3), 255).tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_decoded_small_to_the_same_picture(orientation: int) -> None:
    photograph = skimage.data.coffee()[:-1, :-1]  # 599 x 399: no size that halves
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(np.ascontiguousarray(stored(photograph, orientation)), "JPEG", quality=95, exif=exif)
    plain = Image.fromarray(read(encoded(photograph, "JPEG", quality=95), 599, 399))
    for side in (8, 16, 40, 70):
        box = Preparation((side, side)).window(*plain.size)
        expected = np.asarray(plain.resize((side, side), Image.Resampling.BICUBIC, box))
        pixels, size, _ = decode(Encoded("x", data), Preparation((side, side)))
        assert size == (599, 399)
        difference = np.abs(pixels.astype(int) - expected)
        assert difference.mean() < 0.5
        assert difference.max() < 8
        if orientation == 1:
            assert difference.any() == (side < 50)  # at 70 too few pixels could be saved
