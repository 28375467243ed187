"""Files that are there whole or not at all, and where the cache lies."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganvas.bounds import open_regular
from ganvas.errors import GanvasError, RunError

ABANDONED_HOURS = 24  # after which a part counts as left behind where the file system has no locks
NAME_BYTES = 255  # the longest name that file systems take


def cache_folder() -> Path:
    """The folder of stores and fetched files: ``$GANVAS_CACHE``, else the user's cache folder."""
    if named := os.environ.get("GANVAS_CACHE"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ganvas"))


_ASIDE = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{8}\.(?P<why>old|part|gone)(?P<suffix>\.[^.]*)?")


# ---- parts: what is being written, beside the name that it will take -------------------------------------------------
def _beside(path: Path, why: str = "part") -> Path:
    """A free name in the same folder (so that a rename is atomic), ending alike (so that writers know the format)."""
    ending = f".{uuid.uuid4().hex[:8]}.{why}{path.suffix}"
    stem = os.fsencode(path.stem)[: max(1, NAME_BYTES - 1 - len(os.fsencode(ending)))]
    return path.with_name(f".{os.fsdecode(stem)}{ending}")


def leftovers(folder: Path) -> list[tuple[Path, Path | None]]:
    """What a kill left half-done in ``folder``, and the path that each was meant for (None: it was to be removed).

    Of two that were meant for one path, the one that was to be replaced comes first, and what was to replace it last.
    What a living process is writing looks the same here; `discard` leaves it alone.
    """
    return [(path, meant) for path, _, meant in _aside(folder)]


def _aside(folder: Path) -> list[tuple[Path, str, Path | None]]:
    """`leftovers`, each with why it lies there: ``old``, ``part`` or ``gone``."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith("."))
    except OSError:  # there is no such folder, or it may not be listed
        return []
    found = [
        (folder / name, match["why"], folder / f"{match['stem']}{match['suffix'] or ''}")
        for name in names
        if (match := _ASIDE.fullmatch(name))
    ]
    found.sort(key=lambda one: one[1] != "old")
    return [(path, why, None if why == "gone" else meant) for path, why, meant in found]


def clear_leftovers(folder: Path) -> None:
    """Removes what dead processes left half-written in ``folder``. What was about to be replaced stays where its
    replacement never came."""
    found = _aside(folder)
    waiting = {meant for _, why, meant in found if why == "old" and meant is not None and not meant.exists()}
    for path, _, meant in found:
        if meant not in waiting:
            discard(path)


def discard(path: Path) -> None:
    """Removes a leftover, unless a living process is still writing it: that one holds a lock on it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link, which nobody writes into
            _clear(path)
        return
    try:
        locked = _lock(handle)
        if locked is None:
            locked = time.time() - os.fstat(handle).st_mtime > 3600 * ABANDONED_HOURS
        if locked and _is_open(path, handle):  # removed under the lock: whoever just made it is waiting for the lock
            remove(path)
    except OSError:  # someone else's: it does no harm
        return
    finally:
        os.close(handle)


@contextmanager
def _part(path: Path, *, folder: bool) -> Iterator[Path]:
    """Makes an empty part for ``path``, and removes it in the end if it is still there. While the block runs a lock on
    it says that its writer lives."""
    part, handle = _beside(path), -1
    try:
        while not _is_open(part, handle):  # else another process took it for a leftover before it was locked
            if handle >= 0:
                os.close(handle)
                part, handle = _beside(path), -1
            if folder:
                part.mkdir()
                with suppress(FileNotFoundError):
                    handle = os.open(part, os.O_RDONLY)
            else:
                handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            if handle >= 0:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(handle, fcntl.LOCK_EX)
        yield part
    finally:
        try:
            if folder:
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
        finally:
            if handle >= 0:
                os.close(handle)


def _lock(handle: int) -> bool | None:
    """Locks an open file or folder for this process. False: another one has it; None: there are no locks here."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_open(path: Path, handle: int) -> bool:
    """Whether what is at ``path`` is what was opened as ``handle``."""
    try:
        return handle >= 0 and os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except OSError:
        return False


def remove(path: Path) -> None:
    """Removes a file or folder so that nobody ever meets half of it under its name."""
    gone = _beside(path, "gone")
    try:
        os.replace(path, gone)
    except FileNotFoundError:
        return
    _clear(gone)


def _clear(path: Path) -> None:
    """Deletes what is at ``path``, whatever it is; a link goes, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# ---- whole or not at all ---------------------------------------------------------------------------------------------
def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are missing, and flushes their entries to the disk."""
    missing = []
    above = path
    while not above.exists():
        missing.append(above)
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync(folder.parent)


def _sync(path: Path) -> None:
    """Flushes a file or a folder's entries to the disk; a file system that cannot sync folders is left alone."""
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder may be written to by who may not read it
        if folder:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EPERM, errno.EACCES):
            raise
    finally:
        os.close(handle)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields an empty file beside ``path`` to write to; renamed over ``path`` if the block ends well, else removed.

    What dead processes left there half-written is removed first.
    """
    make_folder(path.parent)
    clear_leftovers(path.parent)
    with _part(path, folder=False) as part:
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a new folder beside ``path`` to fill; it takes the place of ``path`` when the block ends well.

    What dead processes left there half-written is removed first. ``path`` may be an empty folder. Where something has
    come into the way meanwhile, OSError is raised and both that and the folder around it stay as they are.

    replace: take the place of whatever is there, for a process that knows it for its own. There is then an instant in
    which both lie beside ``path``, whole: `leftovers` finds them.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and os.path.samefile(path, os.curdir):
        raise OSError(errno.EBUSY, "it is the folder that this command works in")
    make_folder(path.parent)
    clear_leftovers(path.parent)
    with _part(path, folder=True) as part:
        yield part
        for file in part.rglob("*"):
            _sync(file)
        _sync(part)
        if replace and os.path.lexists(path):
            _swap(part, path)
            _sync(path.parent)
        else:
            _place(part, path)


def _place(part: Path, path: Path) -> None:
    """Gives ``part`` the name ``path``, which is free or an empty folder's; or, where that fails, leaves it."""
    try:
        os.replace(part, path)  # over an empty folder at most: the system refuses anything else
    except OSError as error:
        if os.path.lexists(path):
            raise OSError(error.errno, "something else has come to lie there meanwhile") from error
        raise
    try:
        _sync(path.parent)
    except OSError:
        os.replace(path, part)  # not sure to stay: the same call must not find it in its way
        raise


def _swap(part: Path, path: Path) -> None:
    """Puts ``part`` in the place of what is at ``path``, which goes."""
    old = _beside(path, "old")  # a folder cannot be renamed over a full one: the old one steps aside first
    os.replace(path, old)
    try:
        os.replace(part, path)
    except BaseException:
        os.replace(old, path)
        raise
    _clear(old)


@contextmanager
def writing(path: Path, advice: str | None = None, error: type[GanvasError] = RunError) -> Iterator[None]:
    """Puts what the system says when it refuses to write into one sentence, raised as ``error``."""
    try:
        yield
    except OSError as refusal:
        forbidden = refusal.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        advice = advice or ("make it and its folder writable" if forbidden else "free some space")
        raise error(f"{path} cannot be written: {refusal.strerror or refusal}; {advice}.") from refusal


# ---- one process at a time -------------------------------------------------------------------------------------------
@contextmanager
def holding(folder: Path, busy: str) -> Iterator[Callable[[], None]]:
    """Holds a folder for this process; the lock dies with it. Raises RunError(busy) where another process has it.

    Both the folder itself and its file ``.lock`` are locked, so that deleting that file lets nobody in. Yields a check,
    to be made before anything is written: it raises RunError where the folder has been removed or replaced meanwhile.
    """
    handles: list[int] = []
    itself = file = -1

    def take(path: Path, flags: int) -> int:
        handles.append(handle := os.open(path, flags, 0o666))
        if _lock(handle) is False:
            raise RunError(busy)
        return handle

    def check() -> None:
        nonlocal file
        if not _is_open(folder, itself):
            raise RunError(f"{folder} was removed or replaced while this process was at work in it: it stops here.")
        if not _is_open(folder / ".lock", file):  # deleted by hand
            with writing(folder):
                file = take(folder / ".lock", os.O_RDWR | os.O_CREAT)

    try:
        with writing(folder, "choose another --out"):
            folder = folder.resolve()
            itself = take(folder, os.O_RDONLY)
            file = take(folder / ".lock", os.O_RDWR | os.O_CREAT)
        yield check
    finally:
        for handle in handles:
            os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a regular file as 64 hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
