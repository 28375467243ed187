"""Label and instance maps keep their ids, whatever file holds them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from drawing import Array, encoded, noise
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganvas.data.contact import bordered
from ganvas.data.geometry import Geometry, nearest
from ganvas.data.maps import instances_of, labels_of, read_ids
from ganvas.data.pictures import Preparation, decode
from ganvas.data.source import BadPicture, Encoded
from ganvas.errors import DataError

IDS = np.array([[0, 3, 255], [7, 250, 1]])


def ids(data: bytes) -> Array:
    return read_ids(Encoded("map.png", data))[0]


def with_palette(values: Array) -> bytes:
    """Indices [H, W] of colours that have nothing to do with them."""
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(np.random.default_rng(0).permutation(256).repeat(3).astype(np.uint8).tobytes())
    assert image.mode == "P"
    return encoded(image)


def few_bits(values: Array, bits: int) -> bytes:
    """A grey PNG of so many bits a pixel, packed by hand: Pillow writes none."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape
    flat = [f"{value:0{bits}b}" for row in values for value in row]
    rows = ["".join(flat[i * width : (i + 1) * width]) for i in range(height)]
    packed = b"".join(b"\0" + int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        encoded(IDS.astype(np.uint8)),
        encoded(IDS.astype(np.uint16)),
        encoded(IDS.astype(np.int32), "TIFF"),
        encoded(IDS.astype(np.uint8), "BMP"),
        with_palette(IDS),
    ],
    ids=["8 bits", "16 bits", "32 bits", "bmp", "palette"],
)
def test_every_lossless_map_is_read_as_its_numbers(data: bytes) -> None:
    assert ids(data).tolist() == IDS.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_levels_of_few_bits_are_ids_and_not_brightness(bits: int) -> None:
    values = np.arange(12).reshape(3, 4) % 2**bits
    assert ids(few_bits(values, bits)).tolist() == values.tolist()


def test_large_instance_ids_of_sixteen_bits_survive_and_become_dense() -> None:
    values = np.array([[33001, 26001, 26002], [7, 65535, 7]], np.uint16)
    assert ids(encoded(values)).tolist() == values.tolist()
    assert instances_of(ids(encoded(values))).tolist() == [[3, 1, 2], [0, 4, 0]]


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40))
def test_dense_instances_are_the_same_partition_in_the_order_of_ids(values: list[int]) -> None:
    dense = instances_of(np.array([values])).ravel().tolist()
    assert sorted(set(dense)) == list(range(len(set(values))))
    assert all((a < b) == (x < y) for a, x in zip(values, dense, strict=True)
               for b, y in zip(values, dense, strict=True))  # fmt: skip


def test_an_upright_map_lies_on_its_photograph() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    side = noise(1, 6, 4)
    data = encoded(side, exif=exif)
    upright = np.rot90(side, -1)
    assert np.array_equal(ids(data), upright)
    assert np.array_equal(decode(Encoded("a", data), Preparation((6, 4), "none", channels=1))[0][..., 0], upright)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (encoded(noise(1)), r"in colour \(RGB\)"),
        (encoded(noise(1, 6, 5, 4)), r"in colour \(RGBA\)"),
        (encoded(noise(1, 6, 5), "JPEG"), "JPEG changes ids"),
        (encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), r"in colour \(F\)|whole number"),
        (encoded(np.array([[-1, 2]], np.int32), "TIFF"), "negative"),
        (b"GIF89a", "not a picture"),
    ],
)
def test_what_is_no_map_says_why(data: bytes, says: str) -> None:
    with pytest.raises(BadPicture, match=says):
        ids(data)


def test_ids_have_their_range() -> None:
    assert labels_of(IDS, "a.png").dtype == np.uint8
    with pytest.raises(DataError, match="has the label id 256"):
        labels_of(IDS + 1, "a.png")
    with pytest.raises(BadPicture, match="void"):
        labels_of(np.full((2, 2), 255), "a.png")
    with pytest.raises(BadPicture, match="has 65536 instances: at most 65535"):
        instances_of(np.arange(65536).reshape(256, 256))
    assert instances_of(np.arange(65535)[None]).max() == 65534


def test_a_text_chunk_is_no_matter() -> None:
    info, file = PngInfo(), io.BytesIO()
    info.add_text("Software", "anything")
    Image.fromarray(IDS.astype(np.uint8)).save(file, "PNG", pnginfo=info)
    assert ids(file.getvalue()).tolist() == IDS.tolist()


# ---- sizes -----------------------------------------------------------------------------------------------------------
@given(width=st.integers(1, 40), height=st.integers(1, 40), to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
       how=st.sampled_from(["size", "load_size", "scale_width"]))  # fmt: skip
def test_a_map_and_its_photograph_come_to_one_size_and_no_id_is_made_up(
    width: int, height: int, to: tuple[int, int], how: str
) -> None:
    values = np.arange(width * height).reshape(height, width) * 3
    prepared = Geometry(**{how: to[0] if how == "scale_width" else to}).preparation((width, height))
    resized = nearest(values, prepared)
    photo = decode(Encoded("a", encoded(noise(1, height, width, 3))), prepared)[0]
    assert resized.shape == photo.shape[:2]
    assert np.isin(resized, values).all()
    if how == "scale_width":
        assert resized.shape == (max(1, round(height * to[0] / width)), to[0])
    rows, columns = resized // 3 // width, resized // 3 % width  # where each came from
    left, top, right, bottom = prepared.window(width, height)
    for at, low, high, axis in ((rows, top, bottom, 0), (columns, left, right, 1)):
        n = resized.shape[axis]
        centres = low + (np.arange(n) + 0.5) * (high - low) / n
        offset = at - np.expand_dims(centres, 1 - axis)
        assert (offset >= -1).all()
        assert (offset <= 0).all()  # the pixel that the centre lies in


def test_an_enlarged_map_repeats_its_pixels() -> None:
    assert np.array_equal(nearest(IDS, Preparation((9, 6), "none")), IDS.repeat(3, 0).repeat(3, 1))
    assert nearest(np.arange(8)[None], Preparation((4, 1), "none")).tolist() == [[1, 3, 5, 7]]


def test_borders_are_white_where_instances_meet() -> None:
    instances = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    drawn = bordered(np.zeros((3, 3, 3), np.uint8), instances)
    assert (drawn[..., 0] == 255).tolist() == [[False, False, True], [False, False, True], [True, True, True]]
    assert bordered(drawn, None) is drawn
