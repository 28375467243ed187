"""Stores of what is read once: beside the others, and gone with whoever holds them."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ganvas.data.store import Building, Store
from ganvas.errors import DataError
from ganvas.files import cache_folder


def passing(build: Callable[[Building], None], *, small: bool = False) -> Store:
    """A store that nobody will ask for again: its files are removed when the last who holds it lets go.

    small: a few images, which lie with the system's temporary files; more lie in the cache, which is on a disk. Raises
    DataError where they cannot be written, and what ``build`` raises.
    """
    place = None if small else _place()
    try:
        folder = Path(tempfile.mkdtemp(prefix=_mine(), dir=place))
    except OSError as error:
        raise _refused(error, place) from error
    try:
        with Building(folder) as building:
            build(building)
        store = Store(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if error.filename is not None and not Path(str(error.filename)).is_relative_to(folder):
            raise  # of the source
        raise _refused(error, folder) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
    return store


def _refused(error: OSError, where: Path | None) -> DataError:
    return DataError(
        f"What is read cannot be written to {where or tempfile.gettempdir()} ({error.strerror or error}): make room, "
        "or set GANVAS_CACHE to another folder."
    )


def _mine() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-"


def _place() -> Path:
    """The folder of such stores, cleared of those that killed processes of this machine left. Raises DataError."""
    place = cache_folder() / "passing"
    try:
        place.mkdir(parents=True, exist_ok=True)
        left = list(place.iterdir())
    except OSError as error:
        raise _refused(error, place) from error
    for folder in left:
        host, _, rest = folder.name.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdecimal() and not _alive(int(rest)):
            shutil.rmtree(folder, ignore_errors=True)
    return place


def _alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        try:
            os.kill(process, 0)
        except PermissionError:
            return True
        return True
    return False
