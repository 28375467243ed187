"""The process's memory, as training wants it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_MODULES = 50_000  # of a game
SLACK = 1 << 26  # bytes of weights that any game may have

MOST_BYTES = 1 << 30  # of a block that is kept when freed
SURE_BYTES = 32 << 20  # what every 64-bit glibc takes


def hold_memory() -> None:
    """Asks glibc to keep freed memory: a step frees and takes the same large blocks, at thousands of page faults.

    Steps are 2-5 % faster on a CPU, those of pix2pixHD at full width 30 %; the price is holes: these take 14 % more
    memory. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter in (trim_threshold, mmap_threshold):
            if not libc.mallopt(parameter, MOST_BYTES):  # it answers 0 where that is too much for it
                libc.mallopt(parameter, SURE_BYTES)


@contextmanager
def building_within(most: int | None) -> Iterator[None]:
    """Around the building of a game: raises MemoryError, before weights are drawn, once its nets have over twice
    ``most`` bytes of weights (None: as many as there are), or more modules than any system."""
    from torch.nn.modules import module as hooks

    weights = modules = 0

    def weigh(owner: Any, name: str, weight: Any) -> None:
        nonlocal weights
        weights += 0 if weight is None else weight.nbytes
        if most is not None and weights > 2 * most + SLACK:
            raise MemoryError("its nets are larger than those of its checkpoint")

    def count(owner: Any, name: str, child: Any) -> None:
        nonlocal modules
        modules += 1
        if modules > MOST_MODULES:
            raise MemoryError(f"its nets have over {MOST_MODULES:,} modules")

    handles = [
        hooks.register_module_parameter_registration_hook(weigh),
        hooks.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
