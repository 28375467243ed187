"""Small files that unpack to a great deal, and what reading one takes.

``python hostile_files.py FOLDER NAME`` reads the file NAME that `make` has put into FOLDER, and prints the seconds that
took, by how many MiB the memory of the process grew at most, and what was read.
"""

from __future__ import annotations

import io
import resource
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

SIDE = 9999


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def deflated(parts: Iterator[bytes]) -> bytes:
    pack = zlib.compressobj(9)
    return b"".join([*(pack.compress(part) for part in parts), pack.flush()])


def png(bits: int, kind: int, *chunks: bytes, side: int = SIDE) -> bytes:
    """A black PNG of about 100 megapixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    row = bytes(1 + -(-side * channels * bits // 8))
    header = struct.pack(">IIBBBBB", side, side, bits, kind, 0, 0, 0)
    palette = [chunk(b"PLTE", bytes(range(256)) * 3)] if kind == 3 else []
    pixels = chunk(b"IDAT", deflated(row for _ in range(side)))
    parts = [chunk(b"IHDR", header), *palette, *chunks, pixels, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pillow(mode: str, form: str, **options: object) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new(mode, (SIDE, SIDE)).save(file, form, **options)
    return file.getvalue()


def npz(start: bytes, mib: int) -> bytes:
    file = io.BytesIO()
    packed = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("images.npy", "w", force_zip64=True) as out:
        out.write(start)
        for _ in range(mib):
            out.write(bytes(1 << 20))
    return file.getvalue()


def header(shape: tuple[int, ...], fortran: bool = False, descr: str = "|u1") -> bytes:
    from numpy.lib import format as npy

    file = io.BytesIO()
    npy.write_array_header_2_0(file, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return file.getvalue()


ZTXT = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20)))
ICC = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200 << 20)))
FILES: dict[str, Callable[[], bytes]] = {
    "gray.png": lambda: png(8, 0),
    "gray16.png": lambda: png(16, 0),
    "gray16-transparent.png": lambda: png(16, 0, chunk(b"tRNS", b"\0\0")),
    "bits.png": lambda: png(1, 0, chunk(b"tRNS", b"\0\0")),
    "rgb.png": lambda: png(8, 2),
    "rgb16.png": lambda: png(16, 2),
    "rgb-transparent.png": lambda: png(8, 2, chunk(b"tRNS", bytes(6))),
    "palette.png": lambda: png(8, 3, chunk(b"tRNS", bytes(200))),
    "gray-alpha.png": lambda: png(8, 4),
    "rgba.png": lambda: png(8, 6),
    "text.png": lambda: png(8, 0, *[ZTXT] * 8, side=64),
    "profile.png": lambda: png(8, 2, ICC, side=64),
    "numbers.tif": lambda: pillow("I", "TIFF", compression="tiff_adobe_deflate"),
    "floats.tif": lambda: pillow("F", "TIFF", compression="tiff_adobe_deflate"),
    "cmyk.tif": lambda: pillow("CMYK", "TIFF", compression="tiff_adobe_deflate"),
    "rgb.gif": lambda: pillow("P", "GIF"),
    "rgb.jpg": lambda: pillow("RGB", "JPEG"),
    "progressive.jpg": lambda: pillow("RGB", "JPEG", progressive=True),
    "cmyk.jpg": lambda: pillow("CMYK", "JPEG"),
    "header.npz": lambda: npz(b"\x93NUMPY\x02\x00" + (2000 << 20).to_bytes(4, "little"), 2000),
    "columns-first.npz": lambda: npz(header((40, 1024, 1024, 3), True), 120),
    "columns-first-large.npz": lambda: npz(header((1000, 1024, 1024, 3), True), 3000),
    "rows.npz": lambda: npz(header((3000, 1024, 1024, 1)), 3000),
    "floats.npz": lambda: npz(header((64, 1, 1024, 1024), False, "<f4"), 256),
    "tiny.npz": lambda: npz(header((250 << 20, 1, 1, 1)), 250),
}
AS_MAPS = ("gray.png", "gray16.png", "palette.png", "numbers.tif", "rgb.png")


def measure(spec: str) -> tuple[float, float, str]:
    """Seconds, MiB and what is said of reading a file, in this process."""
    from ganvas.data import open_data
    from ganvas.errors import GanvasError

    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        said = repr(open_data(spec))
    except GanvasError as error:
        said = str(error)
    return time.perf_counter() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, said


def make(folder: Path, name: str) -> Path:
    """A hostile file in a folder: an image or an array, or with ``map:`` before its name a label map and its image."""
    kind, _, file = name.rpartition(":")
    content = FILES[file]()
    for member in ("train_label", "train_img") if kind else ("",):
        path = folder / member / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return path


if __name__ == "__main__":
    import ganvas.data  # noqa: F401 - what the process takes before it reads

    folder, (kind, _, name) = Path(sys.argv[1]), sys.argv[2].rpartition(":")
    file = folder / name
    spec = f"labels:{folder}?size=64" if kind else f"{file}?size=64" if file.suffix != ".npz" else str(file)
    seconds, mib, said = measure(spec)
    print(f"{seconds:.1f} {mib:.0f} {said[:200]}")
