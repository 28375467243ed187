"""From a data spec to a data set: which source it names, and the store that holds its rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.bounds import unlike_file
from ganvas.console import note
from ganvas.data import archives, arrays, embedded, folders, hub, named, parquet, shards, webdataset
from ganvas.data.building import build, tolerate
from ganvas.data.dataset import Dataset
from ganvas.data.gathering import Unlike, gather, no_class_of
from ganvas.data.geometry import CROP, LOAD_SIZE, Geometry
from ganvas.data.groups import Group, group
from ganvas.data.layout import FEW
from ganvas.data.members import Members
from ganvas.data.passing import passing
from ganvas.data.ranges import read_range
from ganvas.data.shards import Shard
from ganvas.data.source import LeftOut, Source, find_split, stamp
from ganvas.data.spec import Spec, filled, parse, shortened, suited
from ganvas.data.store import Building, Store, known, obtain
from ganvas.data.stream import streamed
from ganvas.errors import DataError
from ganvas.ops.maps import VOID

EMBEDDED: dict[str, Callable[[Spec], Source]] = {
    "digits": lambda spec: embedded.digits(),
    "photos": lambda spec: embedded.photos(spec.size),
}


def open_data(
    spec: str | os.PathLike[str],
    *,
    prefer: Sequence[str] = (),
    natural: bool = False,
    verify: bool = False,
    kept: bool = True,
) -> Dataset:
    """Opens what a data spec names: reads it into the store on the first call, maps the store on later ones.

    prefer: kinds of data, the best first; where a folder can be read as several (as images it always can), the first of
    these is taken, and without any what its layout is published for. natural: pictures that are all alike keep their
    size however large they are, where the spec asks for none. verify: every byte of a store that is there is looked
    at where that was a day ago, not a week. kept: whether the store stays for later calls; else it is gone with the
    data set, as for inputs that are read once. Raises UsageError for a spec that makes no sense, DataError for data
    that cannot be used.
    """
    asked = parse(spec)
    try:
        if (grouped := group(asked, prefer)) is not None:
            return gathered(grouped, asked, verify=verify, kept=kept)
    except OSError as error:
        raise DataError(
            f"{shortened(str(error.filename or asked.source))} cannot be read: {error.strerror or error}."
        ) from error
    suited(asked, asked.kind or "images")
    source = find(asked)
    asked = filled(asked, source.keys)
    if (missing := source.missing.get(find_split(asked.split or "", source.missing))) is not None:
        raise DataError(missing)
    preparation = [asked.size, asked.crop or "centre", asked.channels, asked.holdout, asked.limit, natural]
    if asked.resize == "bilinear":  # said only then: addresses of older stores stay as they are
        preparation.append(asked.resize)
    try:
        if asked.stream:
            return streamed(source, asked, natural=natural)

        def fill(building: Building) -> None:
            build(source, asked, building, natural=natural)

        store = _ranged([source.identity, preparation], asked, fill, verify=verify) if kept else passing(fill)
    except OSError as error:  # what was there a moment ago
        raise DataError(
            f"{shortened(str(error.filename or source.where))} cannot be read: {error.strerror or error}."
        ) from error
    asked = _as_read(asked, store)
    _tell(store, source.left_out)
    bad = store.found["bad"]
    tolerate(source.where, bad["count"], bad["of"], list(bad["files"].items()), asked)
    return Dataset(asked, "mixture" if source.mixture else "images", source.layout, store, source.mixture)


def _ranged(address: list[Any], asked: Spec, build: Callable[[Building], None], *, verify: bool) -> Store:
    """The store of an address, and of the range and the limit on pixels where a spec says any.

    A store for which the range was decided is also that of the spec that says this very range.
    """
    if asked.max_pixels is not None:
        address = [*address, ["max-pixels", asked.max_pixels]]
    if asked.range is None:
        return obtain(address, build, verify=verify)
    store = known(address, verify=verify)
    if store is None or store.found.get("range") != str(asked.range):
        store = obtain([*address, ["range", str(asked.range)]], build, verify=verify)
    return store


def _as_read(asked: Spec, store: Store) -> Spec:
    """The spec with what was decided by the values of the set, so that whatever is read later is read alike."""
    if asked.range is None and store.found.get("range_by") == "values":
        asked = replace(asked, range=read_range(store.found["range"]))
    if asked.void is None and store.found.get("void") == "none":
        asked = replace(asked, void="none")
    return asked


def gathered(grouped: Group, asked: Spec, *, verify: bool = False, kept: bool = True) -> Members:
    """The rows of a group, prepared as asked. Raises UsageError, DataError, and OSError for what cannot be read."""
    asked = replace(asked, kind=grouped.kind)
    silent = Geometry.of(asked) == Geometry() and asked.crop is None
    store = _obtain(grouped, asked, alike=silent, verify=verify, kept=kept)
    if UNLIKE in store.found:
        asked = replace(asked, load_size=LOAD_SIZE, crop=CROP)
        store = _obtain(grouped, asked, alike=False, verify=verify, kept=kept)
    asked = _as_read(asked, store)
    _tell(store, grouped.left_out, grouped.notes)
    bad = store.found["bad"]
    tolerate(grouped.where, bad["count"], bad["of"], list(bad["files"].items()), asked)
    return Members(asked, grouped.kind, grouped.layout, store)


def _tell(store: Store, left_out: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> None:
    """Adds what is left out of the source as it is now to what was found when the store was built."""
    store.found["left_out"] = [*left_out, *store.found.get("left_out", [])]
    store.found["notes"] = [*notes, *store.found.get("notes", [])]


UNLIKE = "unlike"  # of a store: nothing but that the pictures are of several sizes


def _obtain(grouped: Group, asked: Spec, *, alike: bool, verify: bool, kept: bool) -> Store:
    def build(building: Building) -> None:
        try:
            gather(grouped, asked, building, alike=alike)
        except Unlike:
            building.drop()
            building.found[UNLIKE] = True

    if not kept:
        return passing(build)
    preparation = [asked.size, asked.load_size, asked.scale_width, asked.channels, asked.holdout, asked.limit, alike]
    address: list[Any] = [grouped.identity, preparation]
    store = _ranged(address, asked, build, verify=verify)
    void = no_class_of(asked)
    if grouped.kind == "labels" and UNLIKE not in store.found and not _reads(store, void, asked.void is not None):
        store = _ranged([*address, ["void", void]], asked, build, verify=verify)
    return store


def _reads(store: Store, void: str, said: bool) -> bool:
    """Whether a store of label maps reads 255 as `no_class_of` says it, which a spec may have said outright."""
    there = np.flatnonzero(np.sum(list(store.found["pixels"].values()), 0)).tolist()
    read = store.found.get("void", "255")
    if read == void or VOID not in there:
        return read == void or read == "255"
    return not said and there not in ([0, VOID], [VOID])


def find(spec: Spec) -> Source:
    """The source that a spec names. Raises DataError, UsageError."""
    if spec.kind == "mixture":
        return embedded.points(spec.source)
    if spec.kind == "hub":
        return hub.hub(spec)
    if spec.source in EMBEDDED or spec.source in named.SETS:
        if Path(spec.source).exists():
            note(f"note: {spec.source} is read as the set of that name; write {spec.source}/ for what lies here.")
        return EMBEDDED[spec.source](spec) if spec.source in EMBEDDED else named.fetched(spec.source)
    try:
        path = Path(spec.source).expanduser()
        return _sharded(shards.matching(spec.source), spec.source) if _is_pattern(spec, path) else _at(path, spec)
    except (FileNotFoundError, ValueError, RuntimeError):  # the last two: nothing can have such a name
        raise DataError(named.absent(spec.source)) from None
    except OSError as error:
        raise DataError(
            f"{shortened(str(error.filename or spec.source))} cannot be read: {error.strerror or error}."
        ) from error


def _at(path: Path, spec: Spec) -> Source:
    """The source at a path. Raises OSError for what is not there or not readable, DataError for what is no data."""
    if what := unlike_file(path.stat()):
        raise DataError(f"{path} is {what}, which is never read: name a file or a folder.")
    if (source := named.here(path)) is not None:
        return source
    if path.is_dir():
        files = folders.listing(path)
        if kept := _shards_in(path, files):
            return _beside(_sharded(kept, str(path)), files, [shard.name for shard in kept])
        array_files = [] if _holds_pictures(files) else arrays.files_in(path)
        if not array_files:
            return folders.folder(path, files)
        return _beside(arrays.array_folder(path, array_files, spec), files, [file.name for file in array_files])
    if path.suffix.lower() in arrays.SUFFIXES:
        return arrays.array_file(path, spec)
    if path.suffix.lower() == parquet.SUFFIX or (archives.is_tar(path) and webdataset.is_shard(path)):
        return _sharded(shards.local([path], path.parent), str(path))
    if archives.is_archive(path):
        return archives.archive(path)
    if folders.is_picture(path.name):
        return folders.single(path)
    raise DataError(
        f"{path} is nothing that is read: a folder, picture, {' '.join(archives.SUFFIXES)}, .npz, .npy or .parquet."
    )


def _holds_pictures(found: folders.Listing) -> bool:
    """Whether pictures are what a folder holds: more than a few strays (a cover, a preview) at its top."""
    return len(found.files) > FEW or any("/" in name for name, _, _ in found.files)


def _beside(source: Source, found: folders.Listing, read: Sequence[str]) -> Source:
    """The source of some files of a folder, which tells what else lies there."""
    left = LeftOut()
    for name, _, _ in found.files:
        left.add(f"an image beside {Path(read[0]).suffix} files", name)
    return replace(source, left_out=[*source.left_out, *left.entries(), *folders.without(found.left_out, read)])


def _is_pattern(spec: Spec, path: Path) -> bool:
    """Whether a source names shards by a pattern, and no file has that very name."""
    return shards.is_pattern(spec.source) and not path.exists()


def _shards_in(folder: Path, found: folders.Listing) -> list[Shard]:
    """The shards of a folder that holds nothing else to read: Parquet files, or tars that are numbered or hold classes.

    Of a folder with pictures, too, Parquet files are taken where they are what holds the pictures.
    """
    of_parquet, tars = (
        shards.local([folder / name for name in found.shards if name.lower().endswith(suffix)], folder)
        for suffix in folders.SHARDS
    )
    if of_parquet and (not found.files or parquet.holds_pictures(of_parquet[0])):
        return of_parquet
    alone = tars and not _holds_pictures(found) and not arrays.files_in(folder)
    if alone and (all(shards.is_numbered(file) for file in tars) or webdataset.is_shard(Path(tars[0].path))):
        return tars
    return []


def _sharded(files: list[Shard], where: str) -> Source:
    """The source of shards, all of one kind."""
    paths = [Path(file.path) for file in files]
    identity = [stamp(path) for path in paths]
    left = LeftOut()
    for file in shards.strays(files):
        left.add("outside of the splits", file.name)
    if all(path.suffix.lower() == parquet.SUFFIX for path in paths):
        return replace(parquet.parquet(files, identity, where), left_out=left.entries())
    if all(archives.is_tar(path) for path in paths):
        return replace(webdataset.webdataset(files, identity, where), left_out=left.entries())
    raise DataError(
        f"{where} names other files than Parquet alone (.parquet) or WebDataset shards alone (.tar): name those."
    )
