"""The cache: what it holds, when that was last used, and how it is pruned and cleaned up.

    stores/ADDRESS/    data as it was read and prepared (see `data.store`): made again from its source at any time
    datasets/NAME/     fetched data sets        weights/FILE    published weights        hub/    sets of the Hub
    FIGURES/           what metrics keep of data sets, and the net that one of them trains

Whatever is being written has a lock, which dies with its process: what has none is left over, and is removed. Only what
has the names of the above is ever removed, for the folder may hold other things as well.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvas import locks
from ganvas.bounds import decode_python_json, read_regular
from ganvas.files import cache_folder, leftovers, remove

MANIFEST = "manifest.json"
STORES, SETS, WEIGHTS, HUB = "stores", "datasets", "weights", "hub"
FIGURES = ("moments", "features", "scores", "readings", "classifiers")
LARGEST_MANIFEST = 1 << 26  # bytes; a real one has a few thousand
DAY_SECONDS = 86_400
GB = 1e9

_ADDRESS = re.compile(r"[0-9a-f]{32}")  # the name of a store
_FIGURE = re.compile(r"(digits-)?[0-9a-f]{16,64}\.(safetensors|json)")  # that of figures
_OF_HUGGING_FACE = ("models--", "datasets--", "spaces--")  # folders of huggingface_hub, whose cache has a hub/ as well
_HALF_DONE = re.compile(r"\.(?P<stem>.+?)\.[0-9a-f]{8}\.(?:old|part|gone)(?P<suffix>\.[^.]*)?")
_used: set[Path] = set()  # what this process has marked as used


# ---- where things lie ------------------------------------------------------------------------------------------------
def stores() -> Path:
    """The folder of stores."""
    return cache_folder() / STORES


def lock_of(path: Path) -> Path:
    """The lock of whoever writes ``path``, a file or folder of the cache."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def fetching(path: Path) -> Iterator[None]:
    """Around the download of a file, into the cache or elsewhere: of processes that want it at once one is in here, and
    what killed ones left half-done is gone. Raises OSError where its folder cannot be written."""
    clean_up()
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.locked(lock_of(path)):
        for part, meant in leftovers(path.parent):
            if meant == path:
                remove(part)
        yield


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, without a look at its digest. Raises OSError or ValueError."""
    manifest = decode_python_json(read_regular(folder / MANIFEST, LARGEST_MANIFEST))
    if not isinstance(manifest, dict):
        raise ValueError(f"{folder / MANIFEST} is damaged")
    return manifest


def mark_used(path: Path) -> None:
    """Notes, once a process, that something in the cache is used now: of a file by its time of access, of a folder by
    its time of writing (to list a folder is to access it)."""
    if path in _used:
        return
    _used.add(path)
    with suppress(OSError):  # the cache may be read-only
        now = time.time_ns()
        os.utime(path, ns=(now, now if path.is_dir() else path.stat().st_mtime_ns))


# ---- what it holds ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Entry:
    """One thing in the cache: a store, a download, or figures. what: the data spec or name that it is of. used: when it
    was last used, in seconds since 1970. kept: why it is never pruned."""

    path: Path
    kind: str
    what: str
    bytes: int
    used: float
    source: str = ""
    kept: str = ""


def entries() -> list[Entry]:
    """Everything in the cache that can be used again, the largest first."""
    root = cache_folder()
    found = [
        _store(path) for path in _inside(root / STORES) if _ADDRESS.fullmatch(path.name) and (path / MANIFEST).is_file()
    ]
    found += [_set(path) for path in _inside(root / SETS) if path.is_dir()]
    found += [_weights(path) for path in _inside(root / WEIGHTS) if path.is_file() and path.suffix != ".sha256"]
    hub = [path for path in _inside(root / HUB) if path.is_dir() and not path.name.startswith(_OF_HUGGING_FACE)]
    found += [_entry(path, "download", f"hub: {path.name}") for path in hub]
    figures = [path for name in FIGURES for path in _inside(root / name)]
    found += [_entry(path, "figures", path.parent.name) for path in figures if _FIGURE.fullmatch(path.name)]
    return sorted(found, key=lambda entry: (-entry.bytes, entry.what, entry.path))


def _store(path: Path) -> Entry:
    about: Any = None
    with suppress(OSError, ValueError):
        about = read_manifest(path).get("about")
    told = {name: text for name, text in about.items() if isinstance(text, str)} if isinstance(about, dict) else {}
    return _entry(path, "store", told.get("spec", path.name), source=told.get("source", ""))


def _set(path: Path) -> Entry:
    """A named set. What its owner put there has no record of a first download beside it, and is not ours to remove."""
    files = [file for file in _inside(path) if file.suffix != ".sha256"]
    fetched = files and all(_record(file).exists() for file in files)
    return _entry(path, "download", path.name, kept="" if fetched else "not fetched by ganvas")


def _weights(path: Path) -> Entry:
    from ganvas.weights import TABLE

    known = any(path.name == entry.files[0][0] for entry in TABLE.values())
    return _entry(path, "download", path.name, kept="" if known else "not fetched by ganvas")


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _entry(path: Path, kind: str, what: str, *, source: str = "", kept: str = "") -> Entry:
    size, used = 0, 0.0
    for one in _walk(path):
        with suppress(OSError):
            status = one.lstat()
            is_folder = stat.S_ISDIR(status.st_mode)
            size += 0 if is_folder else status.st_size
            used = max(used, status.st_mtime, 0 if is_folder or one != path else status.st_atime)
    return Entry(path, kind, what, size, used, source, kept)


def _walk(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder, name) for name in (*folders, *files))


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder under names of its own, sorted; what is half-done or a lock has a point before."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".lock")
    except OSError:  # there is none
        return []


# ---- pruning ---------------------------------------------------------------------------------------------------------
def prune(
    *, older_than_days: float | None = None, larger_than_gb: float | None = None, dry_run: bool = False
) -> list[Entry]:
    """Removes what was not used for so many days, and then what was not used for the longest until all of it fits into
    so many gigabytes (1e9 bytes); returns what went. What a living process uses stays, and what nobody can make or
    fetch again. dry_run: only tells."""
    found, now = sorted(entries(), key=lambda entry: entry.used), time.time()
    total, gone = sum(entry.bytes for entry in found), []
    for entry in found:
        old = older_than_days is not None and now - entry.used > older_than_days * DAY_SECONDS
        large = larger_than_gb is not None and total > larger_than_gb * GB
        if (old or large) and not entry.kept and discard(entry.path, dry_run=dry_run):
            gone.append(entry)
            total -= entry.bytes
    return gone


def discard(path: Path, *, even_in_use: bool = False, dry_run: bool = False) -> bool:
    """Removes something from the cache, unless it is being written or, where that matters, in use; whether it did.

    A process that has a store open can go on reading it (its pages stay until it ends)."""
    try:
        with locks.attempted(lock_of(path)) as mine:
            if not mine or (not even_in_use and (locks.is_held(path / MANIFEST) or _is_fetched_into(path))):
                return False
            if not dry_run:
                remove(path)
                if path.parent.name == WEIGHTS:
                    _record(path).unlink(missing_ok=True)
    except OSError:  # the cache is read-only
        return False
    return True


def _is_fetched_into(path: Path) -> bool:
    """Whether a living process downloads one of the files of a set into that folder."""
    return path.parent.name == SETS and any(locks.is_held(lock) for lock in path.glob(".*.lock"))


# ---- what is left over -----------------------------------------------------------------------------------------------
def clean_up() -> int:
    """Removes what killed processes left half-done; returns its bytes. What living ones write has a lock, and stays."""
    root, freed = cache_folder(), 0
    for path, lock in _half_done(root):
        with suppress(OSError), locks.attempted(lock) as mine:
            if mine and not locks.is_held(path):
                freed += _entry(path, "", "").bytes
                remove(path)
    for lock in _locks(root):
        with suppress(OSError), locks.attempted(lock):  # which removes it, if it is nobody's
            pass
    return freed


def _half_done(root: Path) -> Iterator[tuple[Path, Path]]:
    """What was or is being written, and its lock. Where there is none, nothing tells whether its process lives, and it
    counts when it is a day old."""
    for folder in _folders(root):
        for path in _hidden(folder):
            if (match := _HALF_DONE.fullmatch(path.name)) is None:
                continue
            lock = lock_of(folder / f"{match['stem']}{match['suffix'] or ''}")
            if folder.name == STORES:
                ours = _ADDRESS.fullmatch(match["stem"].lstrip(".")[:32]) is not None
            else:
                ours = lock.exists() or _is_old(path)
            if ours:
                yield path, lock


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > DAY_SECONDS
    except OSError:
        return False


def _locks(root: Path) -> Iterator[Path]:
    """The files of locks that are or were held, of stores without a point before in older versions."""
    for folder in _folders(root):
        for path in _names(folder):
            if path.suffix == ".lock" and (path.name.startswith(".") or _ADDRESS.fullmatch(path.stem)):
                yield path


def _folders(root: Path) -> list[Path]:
    """Where things are written."""
    return [root / STORES, root / WEIGHTS, *(root / name for name in FIGURES), *_inside(root / SETS)]


def _hidden(folder: Path) -> list[Path]:
    return [path for path in _names(folder) if path.name.startswith(".")]


def _names(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # there is none
        return []
