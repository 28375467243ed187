"""From a data spec to a data set: which source it names, and the store that holds its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ganvas.bounds import unlike_file
from ganvas.console import note
from ganvas.data import archives, arrays, embedded, folders, hub, named, parquet, shards, webdataset
from ganvas.data.building import build, tolerate
from ganvas.data.dataset import Dataset
from ganvas.data.gathering import Unlike, gather
from ganvas.data.geometry import CROP, LOAD_SIZE, Geometry
from ganvas.data.groups import Group, group
from ganvas.data.members import Members
from ganvas.data.shards import Shard
from ganvas.data.source import Source, stamp
from ganvas.data.spec import Spec, filled, parse, suited
from ganvas.data.store import Building, Store, obtain
from ganvas.data.stream import streamed
from ganvas.errors import DataError, cited, nearest

EMBEDDED: dict[str, Callable[[Spec], Source]] = {
    "digits": lambda spec: embedded.digits(),
    "photos": lambda spec: embedded.photos(spec.size),
}


def open_data(spec: str, *, prefer: Sequence[str] = (), natural: bool = False, verify: bool = False) -> Dataset:
    """Opens what a data spec names: reads it into the store on the first call, maps the store on later ones.

    prefer: kinds of data, the best first; where a folder can be read as several (as images it always can), the first of
    these is taken, and without any what its layout is published for. natural: pictures that are all alike keep their
    size however large they are, where the spec asks for none. verify: a store that is there is read whole to know that
    it is undamaged. Raises UsageError for a spec that makes no sense, DataError for data that cannot be used.
    """
    asked = parse(spec)
    try:
        if (grouped := group(asked, prefer)) is not None:
            return gathered(grouped, asked, verify=verify)
    except OSError as error:
        raise DataError(f"{error.filename or asked.source} cannot be read: {error.strerror or error}.") from error
    suited(asked, asked.kind or "images")
    source = find(asked)
    asked = filled(asked, source.keys)
    if (missing := source.missing.get(asked.split or "")) is not None:
        raise DataError(missing)
    preparation = [asked.size, asked.crop or "centre", asked.channels, asked.holdout, asked.limit, natural]
    if asked.resize == "bilinear":  # said only then: addresses of older stores stay as they are
        preparation.append(asked.resize)
    try:
        if asked.stream:
            return streamed(source, asked, natural=natural)
        store = obtain(
            [source.identity, preparation],
            lambda building: build(source, asked, building, natural=natural),
            verify=verify,
        )
    except OSError as error:  # what was there a moment ago
        raise DataError(f"{error.filename or source.where} cannot be read: {error.strerror or error}.") from error
    bad = store.found["bad"]
    tolerate(source.where, bad["count"], bad["of"], list(bad["files"].items()), asked)
    return Dataset(asked, "mixture" if source.mixture else "images", source.layout, store, source.mixture)


def gathered(grouped: Group, asked: Spec, *, verify: bool = False) -> Members:
    """The rows of a group, prepared as asked. Raises UsageError, DataError, and OSError for what cannot be read."""
    asked = replace(asked, kind=grouped.kind)
    silent = Geometry.of(asked) == Geometry() and asked.crop is None
    store = _obtain(grouped, asked, alike=silent, verify=verify)
    if UNLIKE in store.found:
        asked = replace(asked, load_size=LOAD_SIZE, crop=CROP)
        store = _obtain(grouped, asked, alike=False, verify=verify)
    bad = store.found["bad"]
    tolerate(grouped.where, bad["count"], bad["of"], list(bad["files"].items()), asked)
    return Members(asked, grouped.kind, grouped.layout, store)


UNLIKE = "unlike"  # of a store: nothing but that the pictures are of several sizes


def _obtain(grouped: Group, asked: Spec, *, alike: bool, verify: bool) -> Store:
    def build(building: Building) -> None:
        try:
            gather(grouped, asked, building, alike=alike)
        except Unlike:
            building.drop()
            building.found[UNLIKE] = True

    preparation = [asked.size, asked.load_size, asked.scale_width, asked.channels, asked.holdout, asked.limit, alike]
    return obtain([grouped.identity, preparation], build, verify=verify)


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
        return _sharded(shards.matching(spec.source), spec.source) if _is_pattern(spec, path) else _at(path)
    except (FileNotFoundError, ValueError, RuntimeError):  # the last two: nothing can have such a name
        hint = nearest(spec.source, [*EMBEDDED, *named.SETS])
        raise DataError(
            f"There is no data {cited(spec.source)}: it is neither a file or folder nor a named set; {hint}."
        ) from None
    except OSError as error:
        raise DataError(f"{error.filename or spec.source} cannot be read: {error.strerror or error}.") from error


def _at(path: Path) -> Source:
    """The source at a path. Raises OSError for what is not there or not readable, DataError for what is no data."""
    if what := unlike_file(path.stat()):
        raise DataError(f"{path} is {what}, which is never read: name a file or a folder.")
    if (source := named.here(path)) is not None:
        return source
    if path.is_dir():
        files = folders.listing(path)
        if kept := _shards_in(path, files):
            return _sharded(kept, str(path))
        array_files = [] if files.files else arrays.files_in(path)
        return arrays.array_folder(path, array_files) if array_files else folders.folder(path, files)
    if path.suffix.lower() in arrays.SUFFIXES:
        return arrays.array_file(path)
    if path.suffix.lower() == parquet.SUFFIX or (archives.is_tar(path) and webdataset.is_shard(path)):
        return _sharded(shards.local([path], path.parent), str(path))
    if archives.is_archive(path):
        return archives.archive(path)
    if folders.is_picture(path.name):
        return folders.single(path)
    raise DataError(
        f"{path} is nothing that is read: a folder, picture, {' '.join(archives.SUFFIXES)}, .npz, .npy or .parquet."
    )


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
    alone = tars and not found.files and not arrays.files_in(folder)
    if alone and (all(shards.is_numbered(file) for file in tars) or webdataset.is_shard(Path(tars[0].path))):
        return tars
    return []


def _sharded(files: list[Shard], where: str) -> Source:
    """The source of shards, all of one kind."""
    paths = [Path(file.path) for file in files]
    identity = [stamp(path) for path in paths]
    if all(path.suffix.lower() == parquet.SUFFIX for path in paths):
        return parquet.parquet(files, identity, where)
    if all(archives.is_tar(path) for path in paths):
        return webdataset.webdataset(files, identity, where)
    raise DataError(
        f"{where} names other files than Parquet alone (.parquet) or WebDataset shards alone (.tar): name those."
    )
