"""Files that somebody else may have written, read within bounds.

What is no regular file is never read: to open a pipe waits for ever, and a device never ends. A file is refused before
it is read if it is larger than its reader has use for. JSON that is nested too deep is a `ValueError`, like any other
JSON that does not read.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO, Any

import msgspec

MOST_JSON = 16 << 20  # bytes of a JSON file that is read whole: settings, manifests, results
MOST_LINE = 1 << 20  # bytes of a line of a file of rows
AT_ONCE = 1 << 16  # bytes of a file up to which all of it is read as it is opened
MOST_TEXT = 1 << 16  # bytes of a small text file: a digest, a list of names

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class TooLarge(OSError):  # noqa: N818 - a state of the file
    """A file that has more bytes than its reader takes."""


def unlike_file(status: os.stat_result) -> str | None:
    """What it is that is neither a file nor a folder ("a pipe", "a socket", "a device"); None for a file or folder."""
    return KINDS.get(stat.S_IFMT(status.st_mode))


def open_regular(path: str | Path) -> BufferedReader:
    """Opens a regular file, or what a link leads to. Raises OSError, never waiting, for anything else."""
    handle, _ = _open_regular(path)
    return os.fdopen(handle, "rb")


def open_at_once(path: str | Path) -> IO[bytes]:
    """As `open_regular`, but a file of at most `AT_ONCE` bytes is read here: where there are many, that is faster."""
    handle, size = _open_regular(path)
    if size > AT_ONCE:
        return os.fdopen(handle, "rb")
    try:
        data = os.read(handle, size)
    finally:
        os.close(handle)
    return BytesIO(data) if len(data) == size else open_regular(path)  # some file systems give less at a time


def _open_regular(path: str | Path) -> tuple[int, int]:
    """The handle of a regular file, and its size."""
    refuse_unless_regular(os.stat(path), path)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)  # it may have been replaced meanwhile
        refuse_unless_regular(status, path)
        return handle, status.st_size
    except BaseException:
        os.close(handle)
        raise


def refuse_unless_regular(status: os.stat_result, path: str | Path) -> None:
    """Raises OSError, whose ``strerror`` says what it is, for what is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {unlike_file(status) or 'something else'}, not a file", str(path))


def read_regular(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes. Raises OSError: `TooLarge` for a larger one."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TooLarge(errno.EFBIG, f"it has over {most:,} bytes", str(path))
    return data


def read_json(path: str | Path, type: Any = Any, *, most: int = MOST_JSON) -> Any:
    """The value that a JSON file of at most ``most`` bytes holds, converted to ``type``. Raises OSError for a file that
    cannot be read, ValueError for what is not JSON of that type."""
    return decode_json(read_regular(path, most), type)


def decode_json(data: bytes, type: Any = Any) -> Any:
    """The value of some JSON, converted to ``type``. Raises ValueError, also for JSON that is nested too deep."""
    try:
        return msgspec.json.decode(data, type=type)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    except OverflowError as error:
        raise ValueError(f"JSON has a number that is too large ({error})") from None


def decode_python_json(data: bytes | str) -> Any:
    """The value of what Python's json wrote, which may hold NaN and names that are no text. Raises ValueError, also for
    what is nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None


def read_lines(path: str | Path, most: int = MOST_LINE) -> Iterator[bytes]:
    """The lines of a regular file, one at a time, without their ends; a line of over ``most`` bytes comes as nothing.

    Raises OSError, when the first is asked for, for what is no regular file.
    """
    with open_regular(path) as file:
        while line := file.readline(most + 1):
            if len(line) <= most or line.endswith(b"\n"):
                yield line.rstrip(b"\n")
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(most)
            yield b""
