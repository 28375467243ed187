"""Whole pictures and maps of any size, from whatever a data spec names: what a system translates."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganvas.data.building import choose, decoding_of, tolerate
from ganvas.data.folders import is_picture, listing
from ganvas.data.gathering import Gathered, fill, pick, take
from ganvas.data.geometry import Geometry, nearest
from ganvas.data.groups import Group, Row, bare_stem, group
from ganvas.data.maps import labels_of
from ganvas.data.members import Members
from ganvas.data.opening import find
from ganvas.data.passing import passing
from ganvas.data.pictures import prepare, read_halves
from ganvas.data.reading import scaling
from ganvas.data.source import BadPicture, Encoded, Part, Pixels, Rows, Source, find_split, stamp
from ganvas.data.spec import Spec, parse
from ganvas.data.store import Building, obtain
from ganvas.errors import DataError, UsageError
from ganvas.errors import nearest as closest

ARRAY_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of rows of arrays, by their channels

INSTANCES = ("_instanceIds", "_inst")  # endings of names that tell an instance map

Picture = Encoded | tuple[str, Pixels]  # a picture in a file, or the name and the pixels [H, W, C] of one in an array


def open_input(
    spec: str,
    *,
    field: str,
    like: str,
    classes: int | None = None,
    instances: str | None = None,
    member: str = "A",
    own: Callable[[Spec], bool] = lambda asked: False,
) -> Members:
    """What a file, a folder or any data spec holds, as rows of a field ``image``, or ``labels`` (and ``instances``),
    each whole and of its own size (`Members.whole`).

    field: "image" or "labels". like: the data spec of the run that is to take them: they are prepared as it says (the
    whole picture stretched to the size of its windows, as the published tests do it, scaled to its width, or resized to
    its size; else as they are), unless ``spec`` says how; ``crop=none`` without a size keeps each at its own, and so do
    ``size=none`` and the like. classes: how many there are. instances: a file or folder of instance maps, matched by
    name. member: whose pictures to take where the data has A and B. own: whether a spec names the run's own data, which
    is then read as it was (halves of double images are halves), and stays in the store; all else is gone with the rows.
    Raises UsageError for a spec that makes no sense, DataError for data that cannot be used.
    """
    plain, keeps_size = _without_none(spec)
    asked, run = parse(plain), parse(like)
    same = own(asked)
    if same:
        asked = replace(asked, kind=run.kind, side_by_side=asked.side_by_side or run.side_by_side)
    if asked.stream:
        raise UsageError(f"stream=true makes no sense of {spec!r}: what is translated is read into the store.")
    asked = replace(asked, channels=asked.channels or run.channels, range=asked.range or run.range)
    asked = replace(asked, max_pixels=asked.max_pixels or run.max_pixels)
    if field == "labels":
        asked = replace(asked, void=asked.void or run.void)
    prefer = ("labels",) if field == "labels" else ("unpaired", "paired", "labels")
    try:
        found = group(asked, prefer)
        maps = None if instances is None else _by_stem(Path(instances))
        told = keeps_size or any((asked.size, asked.load_size, asked.scale_width, found is None and asked.crop))
        geometry = _whole(asked, single=found is None) if told else _whole(run, single=False)
        if found is None:
            given, read = _of_source(find(asked), asked, field, geometry, maps)
        else:
            given, read = _of_group(found, asked, field, geometry, maps, member)
        asked = replace(asked, classes=classes if field == "labels" else None)
        rows = _stored(given, asked, field, geometry, maps, read, kept=same)
    except OSError as error:
        raise DataError(f"{error.filename or asked.source} cannot be read: {error.strerror or error}.") from error
    done = scaling(geometry)
    if not told and geometry != Geometry():
        done += ", as this run was trained; ?crop=none keeps each image's size"
    double = field == "image" and found is None and run.side_by_side and _double(rows.found["sizes"])
    notes = [f"this run was trained on the halves of double images; {DOUBLE}"] if double else []
    rows.said = {"spec": spec, "prepared": done, "notes": [*rows.found.get("notes", []), *notes]}
    return rows


DOUBLE = "add ?side-by-side=AB (or BA) if these are double images, too: they are translated whole"


def _double(sizes: Mapping[str, int]) -> bool:
    """Whether images look like two beside each other: about twice as wide as high."""
    widths = [tuple(map(int, size.split("x"))) for size in sizes]
    return bool(widths) and all(width >= 1.8 * height for width, height in widths)


def _without_none(spec: str) -> tuple[str, bool]:
    """The spec without keys that say ``none``, and whether they ask for each image at its own size."""
    source, _, query = spec.partition("?")
    pairs = query.split("&") if query else []
    none = [pair for pair in pairs if re.fullmatch(r"(size|load[_-]size|scale[_-]width|crop)=none", pair)]
    sized = any(re.match(r"(size|load[_-]size|scale[_-]width)=", pair) for pair in pairs if pair not in none)
    if not none or sized:  # crop=none of a size that is asked for: stretched
        return spec, False
    left = "&".join(pair for pair in pairs if pair not in none)
    return source + (f"?{left}" if left else ""), True


def _whole(spec: Spec, *, single: bool) -> Geometry:
    """How a spec prepares whole pictures; of data of single pictures, whose ``crop`` is no window of training."""
    window = spec.crop if isinstance(spec.crop, tuple) else None
    if spec.load_size is not None:
        return Geometry(load_size=window or spec.load_size)
    if spec.scale_width is not None or not single:
        return Geometry(spec.size, scale_width=spec.scale_width)
    return Geometry(spec.size or window, crop=spec.crop or "centre", resize=spec.resize or "bicubic")


# ---- where rows come from --------------------------------------------------------------------------------------------
def _of_group(
    found: Group, spec: Spec, field: str, geometry: Geometry, maps: Mapping[str, Encoded] | None, member: str
) -> tuple[Given, Callable[[Any], Gathered]]:
    """One member of rows of several pictures; the others need not be there."""
    wanted = field if field == "labels" else "image" if found.kind == "labels" else member
    fields = [wanted]
    if wanted == "labels" and maps is None and all("instances" in members for members in found.splits.values()):
        fields.append("instances")
    rows = {split: {"": found.rows(split, fields)} for split, members in found.splits.items() if wanted in members}
    if not rows:
        raise DataError(f"{found.where} has no {wanted} to translate: it is {found.kind} data.")
    chosen = {split: sides[""] for split, sides in pick(rows, spec).items()}
    split = split_of(spec, chosen)

    def read(row: Row) -> Gathered:
        encoded = [Encoded(path, f"{found.root}{path}") for path in row.files.values()]
        done = Gathered(row.name, encoded[0].name, bad=row.lack)
        if row.lack:
            return done
        if found.halves:
            return _half(done, encoded[0], found.halves[wanted], geometry, spec)
        inside = {"instances": encoded[1]} if len(encoded) > 1 else {}
        return _read(done, {field: encoded[0], **inside}, geometry, spec, maps)

    told = {"left_out": list(found.left_out), "notes": list(found.notes)}
    given = Given(found.where, [found.identity, wanted], split, chosen[split], len(chosen[split]), told)
    return given, read


def _of_source(
    source: Source, spec: Spec, field: str, geometry: Geometry, maps: Mapping[str, Encoded] | None
) -> tuple[Given, Callable[[Any], Gathered]]:
    """Single pictures, from whatever holds them."""
    if source.mixture is not None:
        raise UsageError(f"{spec.source!r} has no pictures to translate.")
    scan = source.scan()
    chosen = choose(scan, spec)
    split = split_of(spec, chosen)
    name, rows = chosen[split]
    part = scan.parts[name]

    def read(one: Picture) -> Gathered:
        return read_single(one, field, geometry, spec, maps)

    told = {**scan.found, "left_out": [*source.left_out, *scan.found.get("left_out", [])]}
    given = Given(source.where or spec.source, [source.identity], split, flat(part, rows), len(rows), told)
    return given, read


def read_single(
    one: Picture, field: str, geometry: Geometry, spec: Spec, maps: Mapping[str, Encoded] | None
) -> Gathered:
    """One picture or label map, from a file or an array."""
    if isinstance(one, Encoded):
        return _read(Gathered(one.name, one.name), {field: one}, geometry, spec, maps)
    return _drawn(*one, field, geometry, spec, maps)


def flat(part: Part, rows: Rows) -> Iterator[Picture]:
    """The pictures of blocks, one after another."""
    at = 0
    for block in part.read(rows):
        if isinstance(block, list):
            yield from block
        else:
            yield from ((part.names[row], pixels) for row, pixels in zip(rows[at:].tolist(), block, strict=False))
        at += len(block)


def split_of(spec: Spec, splits: Mapping[str, Any]) -> str:
    split = find_split(spec.split, splits) if spec.split else "train" if "train" in splits else next(iter(splits))
    if split not in splits:
        raise UsageError(f"The data {str(spec)!r} has no split {split!r}: {closest(split, splits)}.")
    return split


# ---- one row ---------------------------------------------------------------------------------------------------------
def _read(
    done: Gathered, files: dict[str, Encoded], geometry: Geometry, spec: Spec, maps: Mapping[str, Encoded] | None
) -> Gathered:
    """Files, with the instance map of that name beside the label map."""
    if maps is not None:
        beside = maps.get(bare_stem(done.name)) or (next(iter(maps.values())) if "" in maps else None)
        if beside is None:
            done.bad = "has no instance map of its name"
            return done
        files["instances"] = beside
    prepare = partial(geometry.preparation, channels=_channels(spec))
    scaled = geometry != Geometry(crop=geometry.crop, resize=geometry.resize)
    return take(done, files, prepare, decoding_of(spec), scaled=scaled, masks=spec.void == "none")


def _half(done: Gathered, file: Encoded, half: int, geometry: Geometry, spec: Spec) -> Gathered:
    try:
        halves, size, mode = read_halves(
            file, partial(geometry.preparation, channels=_channels(spec)), decoding_of(spec)
        )
    except BadPicture as error:
        done.bad = str(error)
        return done
    done.fields, done.sizes, done.modes = {"image": halves[half]}, {"image": size}, [mode]
    return done


def _drawn(
    name: str, pixels: Pixels, field: str, geometry: Geometry, spec: Spec, maps: Mapping[str, Encoded] | None
) -> Gathered:
    """A picture or a label map of an array."""
    done, size = Gathered(name, name), (pixels.shape[1], pixels.shape[0])
    preparation = geometry.preparation(size, _channels(spec))
    done.sizes, done.modes = {field: size}, [ARRAY_MODES[pixels.shape[2]]]
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if field == "image":
        done.fields["image"] = prepare(Image.fromarray(flat), preparation)
    elif maps is not None:
        done.bad = "is of an array: instance maps are matched with files by name"
    elif flat.ndim == 3:
        done.bad = "is in colour: a label map has one whole number a pixel"
    else:
        try:
            done.fields["labels"] = labels_of(
                nearest(flat.astype(np.int64), preparation), name, masks=spec.void == "none"
            )
        except BadPicture as error:
            done.bad = str(error)
    return done


def _channels(spec: Spec) -> int:
    return 1 if spec.channels == "grey" else 3


def _by_stem(path: Path) -> dict[str, Encoded]:
    """Instance maps by the names that label maps have; one file is that of any, under the name ""."""
    try:
        path = path.expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (ValueError, RuntimeError):  # nothing can have such a name
        folder = file = False
    if folder:
        found: dict[str, Encoded] = {}
        names = [name for name, _, _ in listing(path).files]
        told = [name for name in names if os.path.splitext(name)[0].endswith(INSTANCES)]
        for name in told or names:  # where names tell which are instance maps, the others are something else
            if (before := found.get(bare_stem(name))) is not None:
                raise DataError(f"{path} has two instance maps of one name, {before.name} and {name}: remove one.")
            found[bare_stem(name)] = Encoded(name, os.path.join(path, name))
        return found
    if not file or not is_picture(path.name):
        raise DataError(f"{path} is no instance map: a picture, or a folder of them, is read.")
    return {"": Encoded(path.name, str(path))}


# ---- the store -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Given:
    """Rows to be read: where from, what they are known by, of which split, how many, and what else was found there."""

    where: str
    identity: list[Any]
    split: str
    rows: Iterable[Any]
    n: int
    found: Mapping[str, Any]


def _stored(
    given: Given,
    spec: Spec,
    field: str,
    geometry: Geometry,
    maps: Mapping[str, Encoded] | None,
    read: Callable[[Any], Gathered],
    *,
    kept: bool,
) -> Members:
    if maps is not None and "" in maps and given.n > 1:
        raise UsageError(f"One instance map cannot be that of {given.n} label maps: name a folder of them.")
    beside = None if maps is None else sorted(stamp(Path(str(file.data))) for file in maps.values())
    address = [
        *("input", given.identity, given.split, field, asdict(geometry), spec.channels, spec.limit, spec.holdout),
        beside,
        *(
            ["values", str(spec.range), spec.void, spec.max_pixels]
            if spec.range or spec.void or spec.max_pixels
            else []
        ),
    ]

    def build(building: Building) -> None:
        fill(building, spec, given.where, {given.split: {"": given.rows}}, given.n, read)
        building.found.update(given.found)

    store = obtain(address, build) if kept and given.n > 1 else passing(build)
    bad = store.found["bad"]
    tolerate(given.where, bad["count"], bad["of"], list(bad["files"].items()), spec)
    kind, layout = ("images", "pictures") if field == "image" else ("labels", "label maps")
    return Members(replace(spec, split=given.split, crop=None), kind, layout, store, whole=True)
