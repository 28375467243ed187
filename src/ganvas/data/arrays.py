"""Images in NumPy's files: ``.npz``, ``.npy`` and folders of them, streamed so that no set has to fit into memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.data.folders import is_hidden
from ganvas.data.npyfiles import StoredArray, open_arrays
from ganvas.data.pictures import MOST_PIXELS
from ganvas.data.ranges import SIGNED, TOLERANCE, Beyond, Extrema, Range, decide, sentence, to_bytes
from ganvas.data.source import (
    LAYOUT,
    SPLITS,
    Block,
    LeftOut,
    Named,
    Part,
    Pixels,
    Rows,
    Scan,
    Source,
    split_named,
    stamp,
)
from ganvas.data.spec import Spec
from ganvas.errors import DataError

WANTED = "[N, H, W, C], [N, C, H, W] or [N, H, W] of numbers, C being 1, 3 or 4"
SUFFIXES = (".npz", ".npy")
MOST_LABELS = 1 << 28  # bytes of labels, which are held in memory
MOST_CLASSES = 100_000
MOST_CHARACTERS = 1 << 20  # of all classes' names
MOST_TINY = 1 << 22  # images of less than 256 bytes in an array
NAMED = ("images", "image")  # names of an array of images, whatever others there are
IMAGES = (*NAMED, "data", "x")  # and of one beside the name of its split
LABELS = ("labels", "label", "y", "arr_1")  # and of its labels
STATISTICS = ("mu", "sigma", "mu_s", "sigma_s")  # beside the images of reference batches


# ---- which arrays are images, and of what split ----------------------------------------------------------------------
@dataclass(frozen=True)
class _Set:
    """The arrays of one split in one file."""

    images: StoredArray
    labels: StoredArray | None


def _sets(path: Path, arrays: dict[str, StoredArray]) -> dict[str | None, _Set]:
    """The images and labels in a file by their splits, None being what no name tells: ``images``, ``arr_0``, a lone
    array of images of any name, or ``x_train`` and ``test_images`` and their like. Raises DataError."""
    if not arrays:
        raise DataError(f"{path} has no array of images: it is empty.")
    by_split: dict[str | None, dict[str, StoredArray]] = {}
    for name, array in arrays.items():
        split, rest = _split_of(name)
        by_split.setdefault(split, {})[rest] = array
    found: dict[str | None, _Set] = {}
    for split in [split for split in SPLITS if split in by_split]:
        mine = by_split[split]
        images = next((mine[name] for name in IMAGES if name in mine and _layout(mine[name])), None)
        if images is not None:
            found[split] = _Set(images, next((mine[name] for name in LABELS if name in mine), None))
    names = {name.lower(): name for name in by_split.get(None, {})}
    chosen = next((arrays[names[name]] for name in NAMED if name in names), None)
    if chosen is None and found:
        return found
    if chosen is None:
        could = [array for name, array in arrays.items() if _layout(array) and name.lower() not in STATISTICS]
        if len(could) != 1:
            some = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in list(arrays.items())[:6])
            why = "several arrays that may be the images" if could else "no array of images"
            raise DataError(f"{path} has {why} ({some}): name the one to read 'images'; it is {WANTED}.")
        chosen = could[0]
    elif found and ("train" in found or not _layout(chosen)):
        raise DataError(f"{path} has both {chosen.name} and {found.popitem()[1].images.name}: name the splits of both.")
    label = next((arrays[names[name]] for name in LABELS if name in names and arrays[names[name]] is not chosen), None)
    if label is not None and label.name.lower() == "arr_1" and label.shape not in _label_shapes(chosen.shape[:1]):
        label = None  # of an unnamed array nothing says that it is labels
    return {None if not found else "train": _Set(chosen, label), **found}


def _split_of(name: str) -> tuple[str | None, str]:
    """The split that an array's name tells, as ``x_train`` and ``TestLabels`` do, and the rest of it."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]
    splits = [split for word in words if (split := split_named(word))]
    if len(splits) != 1 or len(words) == 1:
        return None, name
    return splits[0], "_".join(word for word in words if not split_named(word))


# ---- what the arrays must be -----------------------------------------------------------------------------------------
def _layout(array: StoredArray) -> str:
    """Where the channels of an array of images are: "last", "first" or "none"; empty for what is no images.

    Floats are thought of as [N, C, H, W], all others as [N, H, W, C], where a shape can be read as either.
    """
    shape, kind = array.shape, array.dtype.kind
    if kind not in "fuib":
        return ""
    if len(shape) == 4:
        fits = {"last": shape[3] in (1, 3, 4), "first": shape[1] in (1, 3, 4)}
        likeliest = ("first", "last") if kind == "f" else ("last", "first")
        return next((order for order in likeliest if fits[order]), "")
    if len(shape) == 3 and shape[2] not in (3, 4) and (kind != "f" or shape[0] not in (1, 3, 4)):
        return "none"  # the others are a single image, [H, W, C] or [C, H, W]
    return ""


def _images(array: StoredArray, most: int) -> tuple[int, int, int]:
    """The shape of one image as (H, W, C). Raises DataError for what is no array of images."""
    shape, layout = array.shape, _layout(array)
    if not layout:
        raise DataError(f"{array.where} is {array.dtype} {list(shape)}: images are {WANTED}.")
    c, h, w = {"last": (shape[-1], *shape[1:3]), "first": shape[1:], "none": (1, *shape[1:3])}[layout]
    if not h * w:
        raise DataError(f"{array.where} is {array.dtype} {list(shape)}: images are {WANTED}.")
    if h * w > most:
        raise DataError(
            f"{array.where} has images of {w}x{h}, over the {most / 1_000_000:g} megapixels that max-pixels allows."
        )
    if not shape[0]:
        raise DataError(f"{array.where} has no rows: {list(shape)}.")
    if shape[0] > max(MOST_TINY, array.bytes >> 8):
        raise DataError(f"{array.where} has {shape[0]:,} images of {w}x{h}: at most {MOST_TINY:,} so small are read.")
    return h, w, c


def to_uint8(values: NDArray[Any], where: str, chosen: Range = SIGNED) -> Pixels:
    """Numbers [N, C, H, W] as uint8 [N, H, W, C], by a range. Raises DataError for what is not finite or beyond it."""
    return _bytes(values, where, chosen).transpose(0, 2, 3, 1)


def _bytes(values: NDArray[Any], where: str, chosen: Range) -> NDArray[np.uint8]:
    try:
        return to_bytes(values, chosen)
    except Beyond as error:
        raise DataError(f"{where} holds {error}: say ?range=LOW..HIGH, the values of black and white.") from None


def _pixels(values: NDArray[Any], array: StoredArray, chosen: Range | None) -> Pixels:
    """A block of images as uint8 [N, H, W, C]."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype != np.uint8:
        assert chosen is not None
        values = _bytes(values, array.where, chosen)
    layout = _layout(array)
    return values.transpose(0, 2, 3, 1) if layout == "first" else values if layout == "last" else values[..., None]


def _is_deep(array: StoredArray) -> bool:
    """Whether its numbers need a range."""
    return array.dtype != np.uint8 and array.dtype.kind != "b"


def _decided(arrays: Sequence[StoredArray], where: str) -> tuple[Range, list[str]]:
    """The range of arrays that share one, and what there is to say of it. Raises DataError."""
    seen = Extrema()
    for array in arrays:
        for block in array.blocks():
            seen.add(block)
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                raise DataError(
                    f"{array.where} holds values that are not finite (NaN or infinity): remove those images."
                )
            if not seen.whole and -1 - TOLERANCE <= seen.low < -TOLERANCE and seen.high <= 1 + TOLERANCE:
                return SIGNED, []  # unless values beyond follow, which are refused as they are read
    chosen = decide(seen, where)
    return chosen, [] if chosen == SIGNED else [sentence(chosen, seen, "arrays")]


def _label_shapes(n: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return n, (*n, 1)


def _labels(array: StoredArray | None, n: int) -> NDArray[np.int64] | None:
    """Labels [N] as whole numbers, from whole numbers, floats that are whole, or one-hot rows [N, K]."""
    if array is None:
        return None
    wanted = f"labels are whole numbers [{n}] or one-hot rows [{n}, K]"
    one_hot = len(array.shape) == 2 and array.shape[0] == n and 1 < array.shape[1] <= MOST_CLASSES
    if array.dtype.kind not in "iufb" or not (array.shape in _label_shapes((n,)) or one_hot):
        raise DataError(f"{array.where} is {array.dtype} {list(array.shape)}: {wanted}.")
    if array.bytes > MOST_LABELS:
        raise DataError(f"{array.where} has {array.bytes >> 20} MiB, more than labels are read with: {wanted}.")
    values = array.whole()
    if one_hot:
        if not (((values == 0) | (values == 1)).all() and (np.count_nonzero(values, 1) == 1).all()):
            raise DataError(f"{array.where} is {array.dtype} {list(array.shape)}: {wanted}.")
        return values.argmax(1).astype(np.int64)
    values = values.reshape(n)
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        raise DataError(f"{array.where} is {array.dtype} {list(array.shape)} and not all whole: {wanted}.")
    if n and (values.min() < 0 or values.max() >= MOST_CLASSES):
        raise DataError(f"{array.where} goes from {values.min()} to {values.max()}: labels count from 0.")
    return values.astype(np.int64)


def _class_names(arrays: dict[str, StoredArray]) -> tuple[str, ...]:
    array = arrays.get("classes")
    if array is None:
        return ()
    if array.dtype.kind != "U" or not array.dtype.itemsize or len(array.shape) != 1:
        raise DataError(f"{array.where} is {array.dtype} {list(array.shape)}: the classes' names are strings [K].")
    if array.bytes > 4 * MOST_CHARACTERS:
        raise DataError(f"{array.where} has over {MOST_CHARACTERS:,} characters: classes have shorter names.")
    held = array.whole()
    points = held.view(np.dtype(np.uint32).newbyteorder(held.dtype.byteorder))
    if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
        raise DataError(f"{array.where} holds names that are no text: get or write the file again.")
    names = tuple(str(name) for name in held)
    if len(set(names)) < len(names):
        raise DataError(f"{array.where} has a name twice: every class needs one of its own.")
    return names


# ---- sources ---------------------------------------------------------------------------------------------------------
def _part(sets: list[_Set], chosen: Range | None, most: int) -> Part:
    """One split out of one array, or out of several of the same shape end to end."""
    images = [one.images for one in sets]
    shapes = [_images(array, most) for array in images]
    for array, shape in zip(images, shapes, strict=True):
        if shape != shapes[0]:
            raise DataError(
                f"{array.path} has images of {list(shape)} (H, W, C), but {images[0].path} of {list(shapes[0])}."
            )
    labels = [_labels(one.labels, one.images.shape[0]) for one in sets]
    starts = np.cumsum([0, *(array.shape[0] for array in images)])

    def read(rows: Rows) -> Iterator[Block]:
        for array, first, end in zip(images, starts, starts[1:], strict=False):
            if not ((rows >= first) & (rows < end)).any():
                continue
            for values in array.blocks():
                wanted = rows[(rows >= first) & (rows < first + len(values))] - first
                first += len(values)
                if len(wanted):
                    yield _pixels(values[wanted], array, chosen)

    known = [part for part in labels if part is not None]
    all_labels = np.concatenate(known) if len(known) == len(sets) else None
    return Part(Named(int(starts[-1]), lambda row: f"{row:06d}"), read, all_labels, shapes[0])


def _source(layout: str, where: Path, files: dict[str, list[Path]], spec: Spec | None) -> Source:
    """files: of each split, if their names tell any; the arrays within may tell others."""

    def scan() -> Scan:
        opened = {path: open_arrays(path) for paths in files.values() for path in paths}
        sets: dict[str, list[_Set]] = {}
        for split, paths in files.items():
            for path in paths:
                for own, one in _sets(path, opened[path]).items():
                    sets.setdefault(split if own is None else own, []).append(one)
        most = (spec.max_pixels if spec else None) or MOST_PIXELS
        for one in (one for some in sets.values() for one in some):
            _images(one.images, most)
        deep = [one.images for some in sets.values() for one in some if _is_deep(one.images)]
        chosen, notes = spec.range if spec else None, list[str]()
        if chosen is None and deep:
            chosen, notes = _decided(deep, deep[0].where if len(deep) == 1 else str(where))
        parts = {split: _part(some, chosen, most) for split, some in sets.items()}
        given = next((names for arrays in opened.values() if (names := _class_names(arrays))), ())
        parts, names, said = _classes(where, parts, given)
        found: dict[str, Any] = {"notes": notes + said} if notes + said else {}
        if deep:
            found |= {"range": str(chosen), "range_by": "spec" if spec and spec.range else "values"}
        if len(parts) > 1:
            found["arrangement"] = [f"splits {', '.join(parts)}"]
        return Scan(parts, names, found)

    identity: list[Any] = ["arrays", LAYOUT, {split: [stamp(path) for path in paths] for split, paths in files.items()}]
    with suppress(DataError):  # which `scan` raises
        if any(
            _is_deep(one.images)
            for paths in files.values()
            for path in paths
            for one in _sets(path, open_arrays(path)).values()
        ):
            identity.append("range")  # such arrays have been read by other ranges
    return Source(layout, identity, scan, where=str(where))


def _classes(
    where: Path, parts: dict[str, Part], names: tuple[str, ...]
) -> tuple[dict[str, Part], tuple[str, ...], list[str]]:
    """The parts with labels that count from 0, the classes' names, and what there is to say of them. Raises DataError.

    Without names, labels that start at 1 are moved to start at 0: no class is empty for that.
    """
    labels = [part.labels for part in parts.values() if part.labels is not None]
    if not labels:
        return parts, (), []
    if some := [split for split, part in parts.items() if part.labels is None]:
        return parts, (), [f"labels are left out: the split {some[0]} has none"]
    low, high = min(int(some.min()) for some in labels), max(int(some.max()) for some in labels)
    if names and len(names) <= high and (low < 1 or len(names) < high):
        raise DataError(f"{where} names {len(names)} classes, but its labels go up to {high}.")
    if low == 1 and (not names or len(names) == high):
        parts = {
            split: part if part.labels is None else replace(part, labels=part.labels - 1)
            for split, part in parts.items()
        }
        return (
            parts,
            names or tuple(map(str, range(1, high + 1))),
            [f"labels start at 1: the {high} classes are 1 to {high}"],
        )
    there = np.unique(np.concatenate(labels))
    gaps = high + 1 - len(there)
    said = [f"{gaps} of the {high + 1} classes have no image: the labels go up to {high}"] if gaps and not names else []
    return parts, names or tuple(map(str, range(high + 1))), said


def array_file(path: Path, spec: Spec | None = None) -> Source:
    """An ``.npz`` with images and perhaps labels and ``classes`` (names), or an ``.npy`` of images. spec: what it says
    of their values."""
    return _source(f"{path.suffix[1:].lower()} array", path, {"train": [path]}, spec)


def files_in(folder: Path) -> list[Path]:
    """The array files that lie in a folder."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not is_hidden(p.name) and p.is_file())


def array_folder(folder: Path, files: list[Path], spec: Spec | None = None) -> Source:
    """A folder of such files: ``train``, ``test``, ... are splits; others are one set, end to end in order of name."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        if split := split_named(path.stem):
            splits.setdefault(split, []).append(path)
    others = [path for path in files if split_named(path.stem) is None]
    if splits and (not others or {"train"} < set(splits)):
        in_order = {split: splits[split] for split in SPLITS if split in splits}
        left = LeftOut()
        for path in others:
            left.add("outside of the splits", path.name)
        return replace(_source("folder of arrays, a split each", folder, in_order, spec), left_out=left.entries())
    return _source("folder of arrays", folder, {"train": sorted(files)}, spec)
