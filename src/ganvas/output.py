"""What verbs write, by the name that is asked for: an image (of several, a sheet), a GIF, arrays, or a folder of files.

All of it is there whole or not at all. A file that already exists is replaced, unless it is an image
that Ganvas did not make. A folder that already exists is never touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganvas.console import on_terminal
from ganvas.errors import UsageError
from ganvas.files import NAME_BYTES, atomic, atomic_folder, writing
from ganvas.ops.marks import IMAGE, SHEET, mark_of, save_marked
from ganvas.ops.sheet import as_image, enlarged, grid, save_image, save_pixels, to_uint8

SHEETS = (".png", ".jpg", ".jpeg", ".webp")
FILM, ARRAYS = ".gif", ".npz"
FRAME_SECONDS = 0.08
FILM_SIDE = 192  # pixels up to which the frames of a film are enlarged, by whole factors

LONGEST_BYTES = NAME_BYTES - 20  # of a name that comes from data

Kind = Literal["sheet", "film", "arrays", "folder"]
T = TypeVar("T")


def kind_of(path: Path, *, among: Sequence[Kind] = ("sheet", "arrays", "folder")) -> Kind:
    """What a path asks for: an image or sheet (.png, .jpg, .webp), a film (.gif), arrays (.npz), or a folder (no
    suffix).

    Raises UsageError for what is not ``among`` those that the verb can give, and for what is in the way.
    """
    if "\0" in str(path):
        raise UsageError(f"{str(path)!r} is no name that a file can have: choose another --out.")
    suffix = path.suffix.lower()
    kind: Kind = {**dict.fromkeys(SHEETS, "sheet"), FILM: "film", ARRAYS: "arrays"}.get(suffix, "folder")  # type: ignore[assignment]
    ways = {"sheet": "an image (.png, .jpg, .webp)", "film": "a film (.gif)", "arrays": "arrays (.npz)",
            "folder": "a folder (a name without a suffix)"}  # fmt: skip
    with saving(path):
        there, folder = path.exists(), path.is_dir()
        full = folder and any(path.iterdir())
        foreign = kind in ("sheet", "film") and path.is_file() and path.stat().st_size > 0 and not mark_of(str(path))
    if kind not in among or (kind == "folder" and suffix and not folder):
        raise UsageError(f"--out takes {', or '.join(ways[one] for one in among)}, not {path}.")
    if kind == "folder" and full:
        raise UsageError(f"{path} is a folder with something in it: choose a new one for --out.")
    if kind == "folder" and there and not folder:
        raise UsageError(f"{path} is a file: choose a new folder for --out.")
    if kind != "folder" and folder:
        raise UsageError(f"{path} is a folder: choose another name for --out.")
    if foreign:
        raise UsageError(f"{path} already exists and was not made by ganvas; choose another --out.")
    return kind


def saving(path: Path) -> AbstractContextManager[None]:
    """Puts what the system says when it refuses to write into one sentence."""
    return writing(path, "choose another --out", UsageError)


def watched(batches: Iterable[T], total: int, size: Callable[[T], int]) -> Iterator[T]:
    """The batches, with a bar on a terminal's stderr where it takes a while."""
    from tqdm import tqdm

    with tqdm(total=total, unit=" images", leave=False, delay=1, file=sys.stderr,
              disable=not on_terminal()) as bar:  # fmt: skip
        for batch in batches:
            yield batch
            bar.update(size(batch))


def save_images(
    path: Path,
    batches: Iterable[Tensor],
    total: int,
    *,
    names: Sequence[str] | None = None,
    beside: Tensor | None = None,
    columns: int | None = None,
    lone: bool = True,
    more: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Writes images, given as batches [B, C, H, W] in [-1, 1], as ``path`` asks.

    names: of the files in a folder (default: numbers), suffixes left out. beside: originals that a sheet shows to the
    left of each. lone: a single image is written as it is, at its own size, and not as a sheet; never with ``columns``.
    more: what else an ``.npz`` holds beside ``images``, uint8 [N, H, W, C]. Raises UsageError.
    """
    kind = kind_of(path)
    found = (to_uint8(batch) for batch in watched(batches, total, len))
    with saving(path):
        if kind == "folder":
            files = file_names(names) if names is not None else [f"{i:06d}.png" for i in range(total)]
            with atomic_folder(path) as part:
                for name, pixels in zip(files, (pixels for batch in found for pixels in batch), strict=True):
                    (part / name).parent.mkdir(parents=True, exist_ok=True)
                    save_marked(as_image(pixels), part / name, IMAGE)
                kind_of(path)  # nothing must have come into the way meanwhile
            return
        images = np.concatenate(list(found))
        if kind == "arrays":
            save_arrays(path, images=images, **(more or {}))
        elif lone and columns is None and len(images) == 1:
            save_pixels(images[0], path)
        elif beside is None:
            save_image(grid(images, columns), path)
        else:
            save_image(grid(to_uint8(beside), columns, beside=images), path)


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes an ``.npz``, whole or not at all. Raises UsageError where the system refuses."""
    with saving(path), atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes them for its flags


def save_film(path: Path, frames: Tensor) -> None:
    """Writes images [N, C, H, W] in [-1, 1] as an endless GIF. Raises UsageError where the system refuses."""
    pixels = enlarged(to_uint8(frames), max(1, FILM_SIDE // max(frames.shape[2:])))
    pictures = [Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame) for frame in pixels]
    with saving(path), atomic(path) as part:
        pictures[0].save(part, save_all=True, append_images=pictures[1:], duration=round(1000 * FRAME_SECONDS), loop=0,
                         comment=SHEET.encode())  # fmt: skip


def file_names(names: Sequence[str]) -> list[str]:
    """Names of pictures as names of PNGs: ``cats/a.jpg`` as ``cats/a.png``, or as ``cats/a.jpg.png`` where that is not
    the only ``cats/a``. No two are alike, also where case does not count, and none is the folder of another.

    Names come from data, and no picture may leave the folder that it is written into: of ``/a/../b.jpg`` only ``a`` and
    ``b.jpg`` count, characters that no name can have become ``_``, and what is too long is cut and told apart by a
    digest.
    """
    names = [_inside(name) for name in names]
    stems = [_without_suffix(name) for name in names]
    alike = Counter(stem.casefold() for stem in stems)
    taken = {str(folder).casefold() for name in names for folder in PurePosixPath(name).parents}
    files: list[str] = []
    for stem, name in zip(stems, names, strict=True):
        file = f"{stem if alike[stem.casefold()] == 1 else name}.png"
        while file.casefold() in taken:
            file = f"{file}.png"
        if len(os.fsencode(file.rpartition("/")[2])) > NAME_BYTES:  # by so many endings
            file = f"{stem}-{len(files)}.png"
        taken.add(file.casefold())
        files.append(file)
    return files


def _inside(name: str) -> str:
    """A name whose every part can be one of a file, below the folder that it is to lie in."""
    parts = [_short(re.sub(r"[\x00-\x1f\x7f]", "_", part)) for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "_"


def _short(part: str) -> str:
    """A part of a name, with room for endings."""
    if len(os.fsencode(part)) <= LONGEST_BYTES:
        return part
    suffix = PurePosixPath(part).suffix
    suffix = suffix if len(os.fsencode(suffix)) <= 16 else ""
    mark = f"~{hashlib.sha256(os.fsencode(part)).hexdigest()[:8]}{suffix}"
    return os.fsencode(part)[: LONGEST_BYTES - len(os.fsencode(mark))].decode(errors="ignore") + mark


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
