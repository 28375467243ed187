"""Sets of the Hugging Face Hub, through `datasets`, which finds, downloads and keeps them. No code of theirs is run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ganvas.console import on_terminal
from ganvas.data.parquet import Columns, columns, labels_of, parquet, picture, scanned
from ganvas.data.shards import Shard
from ganvas.data.source import SPLITS, Block, Encoded, Named, Part, Rows, Scan, Source, library
from ganvas.data.spec import Spec
from ganvas.errors import DataError, nearest
from ganvas.files import cache_folder

BLOCK = 64


def hub(spec: Spec) -> Source:
    """The set of that name, or of a folder laid out like one. To be streamed, it has to be kept as Parquet.

    What is downloaded lies in the cache, where it is found without a network. Raises DataError for a name that is none,
    a set that is not to be had, and where `datasets` is missing.
    """
    name = spec.source
    with _asking(name, spec.config):
        builder = library("datasets", "hub:").load_dataset_builder(
            name, spec.config, cache_dir=str(cache_folder() / "hub")
        )
    if spec.stream:
        return _files(builder, name)
    identity = ["hub", name, *Path(builder.cache_dir).parts[-3:]]  # configuration, version, digest of the files
    return Source("set of the Hub", identity, lambda: _scan(builder, name, spec.config), where=f"hub:{name}")


@contextmanager
def _asking(name: str, config: str | None) -> Iterator[None]:
    """Puts what goes wrong inside `datasets`, which raises anything, into one sentence; bars only on a terminal."""
    datasets = library("datasets", "hub:")
    shown = not datasets.are_progress_bars_disabled()
    if not on_terminal():
        datasets.disable_progress_bars()
    try:
        yield
    except DataError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(
            f"There is no set {name!r} on the Hub, or it is not open to you: check the name, or log in (hf auth login)."
        ) from error
    except ConnectionError as error:
        raise DataError(
            f"The Hub cannot be reached for {name!r}, and it was not downloaded before: check the network."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if match := re.search(r"available configs: (\[.*?\])|Available: (\[.*?\])", reason):
            known = re.findall(r"'([^']*)'", match[0])
            wanted = f"has no configuration {config!r}" if config else "has several configurations"
            raise DataError(f"hub:{name} {wanted}: add config=NAME, {nearest(config or '', known)}.") from None
        raise DataError(f"hub:{name} cannot be read: {reason[:300]}.") from error
    finally:
        if shown:
            datasets.enable_progress_bars()


def _built_as(builder: Any, module: str, name: str) -> bool:
    """Whether a set's builder is that one of `datasets`."""
    return isinstance(builder, getattr(library(f"datasets.packaged_modules.{module}.{module}", "hub:"), name))


# ---- through the store -----------------------------------------------------------------------------------------------
def _scan(builder: Any, name: str, config: str | None) -> Scan:
    """Downloads the set, if it is not there, and lists it."""
    with _asking(name, config):
        builder.download_and_prepare()
        held = {str(split): data for split, data in builder.as_dataset().items() if len(data)}
    follow = _built_as(builder, "imagefolder", "ImageFolder")  # there, pictures stay files
    parts: dict[str, Part] = {}
    unlabelled: list[str] = []
    known: Columns | None = None
    for split, data in _shown(held).items():
        known = known or columns(data.features.arrow_schema, f"hub:{name}")
        labels = None
        if known.label is not None:
            with _asking(name, config):
                column = data.select_columns([known.label]).with_format("arrow")[:].column(0)
            labels = labels_of([(f"hub:{name}, split {split}", column)], known)
            unlabelled += [split] * (labels is None)
        pictures = data.select_columns([known.image]).with_format("arrow")
        names = Named(len(data), partial("{}/{:06d}".format, split))
        parts[split] = Part(names, partial(_read, pictures, names, follow), labels)
    if known is None:
        raise DataError(f"hub:{name} has no rows.")
    return scanned(parts, unlabelled, known)


def _shown(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Splits in the order in which they are shown."""
    return {split: splits[split] for split in [*(s for s in SPLITS if s in splits), *splits]}


def _read(pictures: Any, names: Named, follow: bool, rows: Rows) -> Iterator[Block]:
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK].tolist()
        values = pictures[some].column(0).to_pylist()
        yield [_picture(names[row], value, follow) for row, value in zip(some, values, strict=True)]


def _picture(name: str, value: Any, follow: bool) -> Encoded:
    """A picture of a row: bytes, or a struct of them. A path is only followed where `datasets` itself put it there."""
    if not isinstance(value, dict):
        return picture(name, value)
    if follow and value["bytes"] is None and value.get("path"):
        return Encoded(name, str(value["path"]))
    return picture(name, value["bytes"])


# ---- streamed --------------------------------------------------------------------------------------------------------
def _files(builder: Any, name: str) -> Source:
    """The Parquet files of a set, where they lie."""
    if not _built_as(builder, "parquet", "Parquet"):
        raise DataError(
            f"hub:{name} cannot be streamed, as only a set that is kept as Parquet can: leave stream=true away."
        )
    found = {str(split): [str(path) for path in paths] for split, paths in builder.config.data_files.items()}
    with _asking(name, None):  # for their sizes
        splits = _shown({split: [_shard(path, name) for path in paths] for split, paths in found.items()})
    return parquet([shard for shards in splits.values() for shard in shards], name, f"hub:{name}", splits)


def _shard(path: str, root: str) -> Shard:
    """A file on this machine, or of any file system that has an address."""
    if "://" not in path:
        status = os.stat(path)
        return Shard(path, os.path.relpath(path, root), status.st_size, status.st_mtime_ns)
    system, inside = library("fsspec.core", "hub:").url_to_fs(path)
    about = system.info(inside)
    written = next((str(about[key]) for key in ("blob_id", "ETag", "mtime") if about.get(key)), None)
    return Shard(inside, re.sub(r"^.*@[^/]+/", "", inside), about["size"], written, system)
