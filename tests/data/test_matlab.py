from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from drawing import sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from ganvas.data.matlab import Variable, variables
from ganvas.errors import DataError

DTYPES = ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8")
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=2, max_side=5)))


def whole(variable: Variable, most: int = 7) -> NDArray[Any]:
    blocks = list(variable.blocks(most))
    assert all(len(block) == most for block in blocks[:-1])
    return np.concatenate(blocks).reshape(variable.shape, order="F")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matlab") / "x.mat"


@given(st.dictionaries(st.from_regex("[a-zA-Z][a-zA-Z0-9_]{0,30}", fullmatch=True), ARRAYS, max_size=3), st.booleans())
@settings(max_examples=60)
def test_reads_the_arrays_that_scipy_writes(place: Path, arrays: dict[str, NDArray[Any]], compressed: bool) -> None:
    scipy.io.savemat(place, arrays, do_compression=compressed)
    found = variables(place)
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(whole(found[name]), values)


def test_passes_over_what_is_no_array_of_real_numbers(place: Path) -> None:
    others = {"text": "abc", "cell": np.array([1, "a"], object), "struct": {"a": 1}, "complex": np.ones((2, 2)) * 1j}
    scipy.io.savemat(place, {**others, "X": np.arange(6).reshape(2, 3)}, do_compression=True)
    assert list(variables(place)) == ["X"]


def test_numbers_that_are_stored_in_fewer_bytes_than_they_are_of_are_read(place: Path) -> None:
    """MATLAB stores a double that is a small whole number as a byte: here by hand, in a tag of its own."""
    flags, shape = struct.pack("<IIII", 6, 8, 6, 0), struct.pack("<IIii", 5, 8, 3, 1)
    name, values = struct.pack("<HH4s", 1, 1, b"y"), struct.pack("<HH4s", 2, 3, bytes([10, 1, 2]))
    body = flags + shape + name + values
    place.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 14, len(body)) + body)
    assert scipy.io.loadmat(place)["y"].tolist() == [[10], [1], [2]]
    assert whole(variables(place)["y"]).tolist() == [[10], [1], [2]]


def read_or_refusal(path: Path) -> dict[str, NDArray[Any]] | str:
    try:
        return {name: whole(variable) for name, variable in variables(path).items()}
    except DataError as error:
        return sentence(error)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_is_cut_anywhere_is_refused_or_ends_between_two_arrays(place: Path, compressed: bool) -> None:
    arrays = {"X": np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8), "y": np.arange(9.0).reshape(9, 1)}
    scipy.io.savemat(place, arrays, do_compression=compressed)
    data, ends = place.read_bytes(), 0
    for n in range(len(data)):
        place.write_bytes(data[:n])
        found = read_or_refusal(place)
        if not isinstance(found, str):
            assert all(np.array_equal(values, arrays[name]) for name, values in found.items())
            ends += 1
        elif n >= 128:
            assert "(it ends early)" in found
    assert ends == 2  # before X, and after it


@given(st.data(), st.booleans())
@settings(max_examples=150)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(place: Path, data: st.DataObject, compressed: bool) -> None:
    scipy.io.savemat(
        place, {"X": np.arange(60, dtype=np.uint8).reshape(5, 12), "y": np.eye(2)}, do_compression=compressed
    )
    content = bytearray(place.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(120, len(content) - 1))] = data.draw(st.integers(0, 255))
    place.write_bytes(content)
    read_or_refusal(place)


def test_a_changed_value_is_found_by_the_checksum(place: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)  # noise: stored by zlib as it is
    scipy.io.savemat(place, {"X": values}, do_compression=True)
    content = bytearray(place.read_bytes())
    assert bytes(values.T[20]) in content
    content[content.index(bytes(values.T[20]))] ^= 1
    place.write_bytes(content)
    assert "incorrect data check" in read_or_refusal(place)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin like one"),
        (b"no matrices", "does not begin like one"),
        (b"MATLAB 5.0".ljust(124) + b"\x01\x00MI", "does not begin like one"),  # big-endian
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "it is of version 7.3"),
    ],
)
def test_another_file_is_refused(place: Path, content: bytes, says: str) -> None:
    place.write_bytes(content)
    assert says in read_or_refusal(place)


def test_memory_does_not_grow_with_the_file(place: Path) -> None:
    scipy.io.savemat(place, {"X": np.zeros((1 << 20, 40), np.uint8)}, do_compression=True)  # 40 MiB
    tracemalloc.start()
    total = sum(block.size for block in variables(place)["X"].blocks(1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 40 << 20
    assert peak < 8 << 20
