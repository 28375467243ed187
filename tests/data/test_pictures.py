from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import skimage.data
import torch
from drawing import Array, encoded, noise, read, read_or_reason
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from torch.nn import functional

from ganvas.data.pictures import MOST_PIXELS, Preparation, decode, upright_size
from ganvas.data.source import BadPicture, Encoded

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
        (tiff([0, 100, 255], "<i4"), [0, 100, 255], "I"),  # bytes in a wide file
        (tiff([0, 25700, 65535], "<i4"), [0, 100, 255], "I"),
        (tiff([0, 0.2, 1], "<f4"), [0, 51, 255], "F"),
        (tiff([0, 51.2, 255], "<f4"), [0, 51, 255], "F"),
        (tiff([0, 257, 65535], "<f4"), [0, 1, 255], "F"),
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


@pytest.mark.parametrize("values", [[0, np.nan], [0, np.inf], [-1, 0], [0, 70000]])
def test_numbers_that_are_no_greys_are_refused(values: list[float]) -> None:
    with pytest.raises(BadPicture, match="not finite, negative or over 65535"):
        read(tiff(values, "<f4"))


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

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


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
