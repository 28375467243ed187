"""What the pages of a Parquet file unpack to, read off their own headers.

The footer may say anything, and pyarrow makes room for what a page's header says before it unpacks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ganvas.bounds import open_regular
from ganvas.data.unpacking import most_rows
from ganvas.errors import DataError

MOST_FOOTER = 1 << 20  # bytes of a footer, besides ...
FOOTER_SHARE = 16  # ... one for so many of the file
MOST_PAGE = 1 << 26  # bytes that a page may unpack to, if it is over ...
PAGE_EXPANSION = 4  # ... so many times its packed size
HEADERS = (1 << 9, 1 << 20)  # bytes to look for the end of a page's header in, the second where the first do not do
DICTIONARY = 2  # the type of a page
DELTA_BYTE_ARRAY = 7  # the encoding in which a value may repeat all of the one before it
DEEPEST = 8  # structs within structs in a header
STRUCT, TRUE, FALSE, BYTE, DOUBLE, BINARY = 12, 1, 2, 3, 7, 8  # types of Thrift's compact protocol, ...
INTEGERS = (4, 5, 6)


@dataclass(frozen=True)
class Pages:
    """What the pages of a column of a row group come to. unpacked: bytes of all. shared: bytes of those that a single
    row may repeat whole, as a dictionary's value is."""

    unpacked: int
    shared: int


def refuse_large_footer(path: Path | str) -> None:
    """Raises DataError for a file whose footer is out of all proportion; OSError for what is no regular file."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
    if MOST_FOOTER + size // FOOTER_SHARE < length < size:
        raise DataError(
            f"{path} has a footer of {length:,} bytes, too large for its {size:,}: it is refused as a bomb."
        )


def examine(path: str, chunk: Any) -> Pages:
    """The pages of a column of a row group (pyarrow's ColumnChunkMetaData).

    Raises DataError for a page that unpacks out of all proportion, and for headers that do not read; OSError for a file
    that is gone.
    """
    first = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < first:
        first = chunk.dictionary_page_offset
    unpacked = shared = pages = 0
    with open_regular(path) as file:
        size = file.seek(0, 2)
        place, end = first, min(size, first + chunk.total_compressed_size)
        while 0 <= place < end:
            header, length = _header(file, place, path)
            packed, most, pages = _number(header, 3), _number(header, 2), pages + 1
            if packed < 0 or most < 0 or pages > most_rows(size):
                raise _damaged(path)
            if most > max(MOST_PAGE, PAGE_EXPANSION * packed):
                raise DataError(
                    f"{path} has a page of {packed:,} bytes that unpacks to {most:,}: it is refused as a bomb."
                )
            unpacked += most
            encodings = _number(header.get(5), 2), _number(header.get(8), 4)  # of a page of version 1 and of version 2
            if _number(header, 1) == DICTIONARY or DELTA_BYTE_ARRAY in encodings:
                shared = max(shared, most)
            place += length + packed
    return Pages(unpacked, shared)


def _header(file: IO[bytes], place: int, path: str) -> tuple[dict[int, Any], int]:
    """The header of the page that begins there, by the numbers of its fields, and how many bytes it has."""
    for most in HEADERS:
        file.seek(place)
        reader = _Reader(file.read(most))
        try:
            return reader.struct(DEEPEST), reader.at
        except IndexError:
            continue
        except ValueError:
            break
    raise _damaged(path)


def _number(fields: Any, number: int) -> int:
    """A whole number among fields; -1 where there is none."""
    value = fields.get(number) if isinstance(fields, dict) else None
    return value if isinstance(value, int) else -1


def _damaged(path: str) -> DataError:
    return DataError(f"{path} does not read as Parquet (a page has a damaged header): get the file again.")


class _Reader:
    """Thrift's compact protocol, as far as headers go. Raises IndexError at the end of the data, ValueError for what no
    header has."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Whole numbers and structs, by field; other values are passed over."""
        if not depth:
            raise ValueError("structs within structs")
        found: dict[int, Any] = {}
        field = 0
        while (head := self._byte()) & 0x0F:
            field = field + (head >> 4) if head >> 4 else _signed(self._varint())
            found[field] = self._value(head & 0x0F, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return _signed(self._varint())
        if kind == STRUCT:
            return self.struct(depth - 1)
        if kind in (TRUE, FALSE):
            return None
        self._pass({BYTE: 1, DOUBLE: 8}[kind] if kind in (BYTE, DOUBLE) else self._length(kind))
        return None

    def _length(self, kind: int) -> int:
        if kind != BINARY:
            raise ValueError("a field of another type than a page's header has")
        return self._varint()

    def _pass(self, n: int) -> None:
        self.at += n
        if self.at > len(self.data):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of over 64 bits")
        return value | byte << shift


def _signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)
