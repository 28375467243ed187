"""Stores of what is read once: beside the others, and gone with whoever holds them."""

from __future__ import annotations

import os
import shutil
import uuid
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from ganvas import cache, locks
from ganvas.data.store import Building, OfSource, Store, fill_store, writing_store


def passing(build: Callable[[Building], None]) -> Store:
    """A store that nobody will ask for again: gone with whoever holds it, or, after a kill, by the next store built.

    Raises what `obtain` raises."""
    name = uuid.uuid4().hex
    folder = cache.stores() / f".{name}.{name[:8]}.part"  # as what is being written: it counts as left over when we end
    lock = cache.lock_of(folder.with_name(name))
    handles: list[int | None] = []
    try:
        with writing_store():
            folder.parent.mkdir(parents=True, exist_ok=True)
            cache.clean_up()
            handles.append(locks.acquire(lock))
            folder.mkdir()
            handles.append(handle := os.open(folder, os.O_RDONLY))
            locks.share(handle)
            fill_store(folder, build)
            store = Store(folder, verified_days=None)
    except BaseException as error:
        _drop(folder, lock, handles, os.getpid())
        raise error.args[0] if isinstance(error, OfSource) else error from None
    weakref.finalize(store, _drop, folder, lock, handles, os.getpid())
    return store


def _drop(folder: Path, lock: Path, handles: Sequence[int | None], pid: int) -> None:
    if os.getpid() != pid:  # a forked child ends: the store is not its own
        return
    shutil.rmtree(folder, ignore_errors=True)
    for handle in handles[1:]:
        if handle is not None:
            os.close(handle)
    if handles and handles[0] is not None:
        locks.release(lock, handles[0])
