"""Parquet files, as `datasets` writes them or plain: a column of encoded pictures, and perhaps one of classes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganvas.bounds import decode_python_json
from ganvas.data import pages
from ganvas.data.archives import blocks
from ganvas.data.arrays import MOST_CLASSES
from ganvas.data.folders import SHARDS
from ganvas.data.pictures import MOST_BYTES
from ganvas.data.shards import Shard, by_split
from ganvas.data.source import LAYOUT, BadPicture, Block, Encoded, Named, Part, Rows, Scan, Source, library
from ganvas.data.unpacking import bomb, most_rows, most_unpacked, too_many
from ganvas.errors import DataError

SUFFIX = SHARDS[0]
IMAGES = ("image", "img", "picture", "photo", "jpg", "png", "webp")  # columns of these names come first
LABELS = ("label", "labels", "fine_label", "class", "cls", "target", "y")
AT_ONCE = 1 << 24  # bytes of a row group that are unpacked at a time
MOST_AT_ONCE = 64  # rows
MOST_SHARED = 1 << 26  # bytes that these may take if each repeats the largest value of a dictionary
LABEL = 8  # bytes of a row's class in memory
FOOTERS_AT_ONCE = 16  # that are asked for together: a line answers each of them slowly
PATIENCE = (1.0, 4.0)  # seconds after which what is far is asked for again

Splits = Mapping[str, Sequence[Shard]]
T = TypeVar("T")


def holds_pictures(shard: Shard) -> bool:
    """Whether a file has a column of pictures. False where that cannot be told."""
    try:
        with _opened(shard) as file:
            columns(file.schema_arrow, shard.path)
    except DataError:
        return False
    return True


# ---- columns ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Columns:
    """Which columns hold what. classes: the names that the file gives them, if any."""

    image: str
    nested: bool  # a struct with the field ``bytes``
    label: str | None = None
    classes: tuple[str, ...] = ()

    @property
    def pixels(self) -> str:
        """The column to read, without a picture's path."""
        return f"{self.image}.bytes" if self.nested else self.image


def columns(schema: Any, where: str) -> Columns:
    """The columns of an Arrow schema. Raises DataError where none holds pictures."""
    features = _features(schema)
    kinds = {field.name: _kind(field.type, features.get(field.name)) for field in schema}
    images = [name for name, kind in kinds.items() if kind in ("struct", "bytes")]
    if not images:
        has = ", ".join(f"{field.name} ({_short(field.type)})" for field in schema) or "none"
        raise DataError(
            f"{where} has no column of pictures: one is wanted of binary, or of structs with the field bytes; its "
            f"columns are {has}."
        )
    image = next((name for name in IMAGES if name in images), images[0])
    named = [name for name, kind in kinds.items() if kind == "classes"]
    plain = [name for name, kind in kinds.items() if kind == "numbers" and name in LABELS]
    label = next((name for name in LABELS if name in named), next(iter([*named, *plain]), None))
    classes = tuple(features[label]["names"]) if label is not None and label in named else ()
    return Columns(image, kinds[image] == "struct", label, classes)


def _features(schema: Any) -> Mapping[str, Any]:
    """What `datasets` wrote of the columns; nothing where it did not, or not so that it reads."""
    try:
        features = decode_python_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(type_: Any, feature: Any) -> str | None:
    """What a column holds: ``struct`` and ``bytes`` are pictures, ``classes`` have names, ``numbers`` may be labels."""
    types = library("pyarrow.types", "Parquet")
    if types.is_struct(type_):
        inner = type_.field("bytes").type if type_.get_field_index("bytes") >= 0 else None
        return "struct" if inner is not None and _binary(inner) else None
    if _binary(type_):
        return "bytes"
    if not types.is_integer(type_):
        return None
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "numbers"
    return "classes" if len(set(names)) == len(names) <= MOST_CLASSES else "numbers"


def _binary(type_: Any) -> bool:
    types = library("pyarrow.types", "Parquet")
    if types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_))


def _short(type_: Any) -> str:
    text = str(type_)
    return text if len(text) <= 40 else f"{text[:37]}..."


def picture(name: str, value: Any, label: int | None = None) -> Encoded:
    """A picture out of a column of Arrow's: its bytes, or None."""
    if value is None:
        return Encoded(name, BadPicture("no bytes"), label)
    return Encoded(name, value if len(value) <= MOST_BYTES else BadPicture(f"over {MOST_BYTES >> 20} MiB"), label)


def labels_of(chunks: Iterable[tuple[str, Any]], known: Columns) -> NDArray[np.int64] | None:
    """The labels out of pieces of a column, each with where it lies; None where a row has none (null, or -1 of named
    classes).

    Raises DataError for one that is no class.
    """
    found = [np.empty(0, np.int64)]
    for where, chunk in chunks:
        numbers = np.zeros(0, np.int64) if chunk.null_count else chunk.to_numpy().astype(np.int64)
        low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        if chunk.null_count or (known.classes and low == -1):
            return None
        most = len(known.classes) or MOST_CLASSES
        if low < 0 or high >= most:
            raise DataError(
                f"{where}: labels in column {known.label} go from {low} to {high}, where classes are 0 to {most - 1}."
            )
        found.append(numbers)
    return np.concatenate(found)


def scanned(parts: dict[str, Part], unlabelled: Sequence[str], known: Columns) -> Scan:
    """What there is, once every split is listed: its classes, and what to say. unlabelled: splits that have rows
    without a label; then none is used."""
    says = [f"splits {', '.join(parts)}"] if len(parts) > 1 else []
    if unlabelled:
        known = Columns(known.image, known.nested)
        parts = {split: replace(part, labels=None) for split, part in parts.items()}
    tops = [int(part.labels.max()) + 1 for part in parts.values() if part.labels is not None and len(part.labels)]
    classes = known.classes or tuple(map(str, range(max(tops, default=0))))
    label = [f"{len(classes)} classes by column {known.label}"] if classes else []
    why = [f"no labels: {', '.join(unlabelled)} has rows without one"] if unlabelled else []
    return Scan(parts, classes, {"arrangement": [*says, f"pictures in column {known.image}", *label, *why]})


# ---- files -----------------------------------------------------------------------------------------------------------
def parquet(shards: Sequence[Shard], identity: Any, where: str, splits: Splits | None = None) -> Source:
    """The pictures of Parquet files. splits: which are of which split (default: as their names tell).

    Of files that are not on this machine labels come with their rows, and only where the classes have names: to read
    that column first would cost a request for every row group. Raises DataError where pyarrow is missing.
    """
    library("pyarrow", "Parquet")
    of_splits = splits or by_split(shards)
    return Source(
        layout=f"Parquet, {len(shards)} file{'s' if len(shards) > 1 else ''}",
        identity=["parquet", LAYOUT, identity],
        scan=lambda: _scan(of_splits, where),
        where=where,
        listing=[(shard.name, shard.size, shard.written) for shard in shards],
    )


def _scan(splits: Splits, where: str) -> Scan:
    every = [shard for shards in splits.values() for shard in shards]
    with ThreadPoolExecutor(FOOTERS_AT_ONCE, "footer") as threads:
        footers = dict(zip(every, threads.map(_footer, every), strict=True))
    if not footers:
        raise DataError(f"{where} holds no rows.")
    known = _known({shard: footer.columns for shard, footer in footers.items()})
    groups = {shard: _groups(footer.about, footer.columns, shard) for shard, footer in footers.items()}
    splits = {split: shards for split, shards in splits.items() if any(sum(groups[shard]) for shard in shards)}
    if not splits:
        raise DataError(f"{where} holds no rows.")
    labels: dict[str, NDArray[np.int64] | None] = {}
    far = every[0].system is not None
    if known.label is not None:
        for split, shards in splits.items():
            some = [shard for shard in shards if sum(groups[shard])]
            lacking = any(footers[shard].columns.label is None for shard in some)
            asked = _column(
                {shard: footers[shard] for shard in (some[:1] if far else some)}, known.label, whole=not far
            )
            labels[split] = None if lacking else labels_of(asked, known)
    unlabelled = [split for split, found in labels.items() if found is None]
    read = known if far and not unlabelled else replace(known, label=None)  # what is near was read just now
    parts: dict[str, Part] = {}
    for split, shards in splits.items():
        pictures = _Pictures(shards, groups, read, footers if far else {})
        own = None if far else labels.get(split)
        parts[split] = Part(pictures.names, pictures.read, own, runs=pictures.starts)
    return scanned(parts, unlabelled, known)


def _known(found: Mapping[Shard, Columns]) -> Columns:
    """The columns of all files. Some may be without labels; raises DataError where they differ otherwise."""
    first = next((shard for shard, own in found.items() if own.label is not None), next(iter(found)))
    known = found[first]
    for shard, own in found.items():
        alike = own.label is None or (own.label, own.classes) == (known.label, known.classes)
        if (own.image, own.nested) != (known.image, known.nested) or not alike:
            raise DataError(f"{shard.path} has other columns than {first.path}: the files of one set are alike.")
    return known if first.system is None or known.classes else replace(known, label=None)


@dataclass(frozen=True)
class _Footer:
    """What a file says of itself: pyarrow's FileMetaData, and the columns."""

    about: Any
    columns: Columns


def _footer(shard: Shard) -> _Footer:
    """The footer of a file; of one that is far it is asked for once. Raises DataError."""
    return _asked(shard) if shard.written is None or shard.system is None else _asked_once(shard)


def _asked(shard: Shard) -> _Footer:
    return _patiently(shard, None, lambda file: _Footer(file.metadata, columns(file.schema_arrow, shard.path)))


_asked_once = lru_cache(maxsize=1024)(_asked)


class _Patience:
    """How often what is far is asked for again; what is near, never."""

    def __init__(self, shard: Shard) -> None:
        self.waits = list(PATIENCE) if shard.system is not None else []

    def ends(self, error: DataError) -> bool:
        """Waits; or says at once that it is no use."""
        if not self.waits or error.__cause__ is None or isinstance(error.__cause__, FileNotFoundError):
            return True
        time.sleep(self.waits.pop(0))
        return False


def _patiently(shard: Shard, footer: Any, ask: Callable[[Any], T]) -> T:
    """What a file answers. Raises DataError."""
    patience = _Patience(shard)
    while True:
        try:
            with _opened(shard, footer) as file:
                return ask(file)
        except DataError as error:
            if patience.ends(error):
                raise


@contextmanager
def _opened(shard: Shard, footer: Any = None) -> Iterator[Any]:
    """The file; what is not on this machine is asked for a row group at a time, its footer only where it is not given.

    Raises DataError for what pyarrow says of one that is damaged, here or in the block.
    """
    arrow, parquet_ = library("pyarrow", "Parquet"), library("pyarrow.parquet", "Parquet")
    far = shard.system is not None
    try:
        if not far and footer is None:
            pages.refuse_large_footer(shard.path)
        file = parquet_.ParquetFile(shard.opened(), metadata=footer, pre_buffer=far, buffer_size=0 if far else 1 << 20)
        try:
            yield file
        finally:
            file.close(force=True)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{shard.path} is gone: check the path.") from error
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".:") or type(error).__name__
        if far:  # whatever a network raises
            raise DataError(f"{shard.path} could not be read ({reason}): check the network and try again.") from error
        if isinstance(error, (arrow.ArrowException, OSError, ValueError, EOFError, RuntimeError)):
            raise DataError(f"{shard.path} does not read as Parquet ({reason}): get the file again.") from error
        raise


def _groups(footer: Any, known: Columns, shard: Shard) -> list[int]:
    """Rows of every row group. Raises DataError where there are too many, or they unpack out of all proportion."""
    paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
    places = [paths.index(name) for name in (known.pixels, known.label) if name]
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    unpacked = LABEL * sum(group.num_rows for group in groups)  # a column of equal numbers packs to nothing
    unpacked += sum(group.column(place).total_uncompressed_size for group in groups for place in places)
    if unpacked > most_unpacked(shard.size):
        raise bomb(shard.path)
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) > most_rows(shard.size):
        raise too_many(shard.path, shard.size, "rows")
    return rows


def _examined(shard: Shard, about: Any, wanted: Sequence[str]) -> pages.Pages:
    """What the pages of those columns of a row group come to; of a file that is far, as it says itself: to read their
    headers would cost a request for each. Raises DataError for pages that unpack out of all proportion."""
    chunks = [about.column(i) for i in range(about.num_columns) if about.column(i).path_in_schema in wanted]
    if shard.system is not None:
        return pages.Pages(sum(chunk.total_uncompressed_size for chunk in chunks), 0)
    found = [pages.examine(shard.path, chunk) for chunk in chunks]
    return pages.Pages(sum(one.unpacked for one in found), max((one.shared for one in found), default=0))


def _column(footers: Mapping[Shard, _Footer], name: str, *, whole: bool) -> Iterator[tuple[str, Any]]:
    """A column of each file that has rows, or of its first row group."""

    def ask(file: Any) -> Any:
        for number in range(file.metadata.num_row_groups if whole else 1):
            _examined(shard, file.metadata.row_group(number), [name])
        return (file.read(columns=[name]) if whole else file.read_row_group(0, columns=[name])).column(0)

    for shard, footer in footers.items():
        yield shard.path, _patiently(shard, footer.about, ask)


class _Pictures:
    """The pictures of the files of one split. Every thread keeps its place: rows further on in a row group are read
    from there."""

    def __init__(
        self,
        shards: Sequence[Shard],
        rows_of: Mapping[Shard, Sequence[int]],
        known: Columns,
        footers: Mapping[Shard, _Footer],
    ) -> None:
        self.shards, self.known, self.footers = shards, known, footers
        groups = [rows_of[shard] for shard in shards]
        self.ends = np.cumsum([sum(rows) for rows in groups])  # of the files' rows
        self.names = Named(int(self.ends[-1]), self._name)
        filled = [(file, group, n) for file, rows in enumerate(groups) for group, n in enumerate(rows) if n]
        self.places = [(file, group) for file, group, _ in filled]
        self.starts = np.cumsum([0, *(n for _, _, n in filled)])[:-1]
        self._here = threading.local()
        self._unpacked = [dict[int, int]() for _ in shards]  # of each file: bytes that a row group came to

    def _name(self, row: int) -> str:
        file = int(self.ends.searchsorted(row, "right"))
        return f"{self.shards[file].name}/{row - (self.ends[file - 1] if file else 0):06d}"

    def read(self, rows: Rows) -> Iterator[Block]:
        """Those rows in blocks, in their order."""
        return blocks(self._pictures(rows))

    def _pictures(self, rows: Rows) -> Iterator[Encoded]:
        groups = self.starts.searchsorted(rows, "right") - 1
        for row, group in zip(rows.tolist(), groups.tolist(), strict=True):
            batch, i = self._at(group, row - int(self.starts[group]))
            pixels = batch.column(self.known.image)
            pixels = pixels.field("bytes") if self.known.nested else pixels
            label = None if self.known.label is None else batch.column(self.known.label)[i].as_py()
            yield picture(self.names[row], pixels[i].as_py(), label)

    def _at(self, group: int, row: int) -> tuple[Any, int]:
        """The rows that are unpacked together with that one of the group, and its place among them."""
        here = self._here
        if getattr(here, "group", None) != group or row < here.first:
            here.group, here.first, here.batch = None, 0, ()
            here.batches = self._batches(group)
        while row >= here.first + len(here.batch):
            here.first += len(here.batch)
            here.batch = next(here.batches)
        here.group = group
        return here.batch, row - here.first

    def _batches(self, group: int) -> Iterator[Any]:
        """The rows of a row group, a few at a time."""
        file, number = self.places[group]
        shard, given = self.shards[file], 0
        footer, patience = self.footers.get(shard), _Patience(shard)
        wanted = [name for name in (self.known.pixels, self.known.label) if name]
        while True:
            try:
                with _opened(shard, footer and footer.about) as opened:
                    about = opened.metadata.row_group(number)
                    examined = _examined(shard, about, wanted)
                    n = max(1, min(MOST_AT_ONCE, AT_ONCE * about.num_rows // max(1, about.total_byte_size)))
                    n = max(1, min(n, MOST_SHARED // max(1, examined.shared)))
                    batches = opened.iter_batches(n, row_groups=[number], columns=wanted, use_threads=False)
                    total = examined.unpacked
                    for i, batch in enumerate(batches):
                        total += batch.nbytes if examined.shared else 0  # what several rows share counts for each
                        self._unpacked[file][number] = total
                        if sum(self._unpacked[file].values()) > most_unpacked(shard.size):
                            raise bomb(shard.path)
                        if i >= given:
                            given += 1
                            yield batch
                raise DataError(f"{shard.path} ends early: get the file again.")
            except DataError as error:
                if patience.ends(error):
                    raise
