"""How many pixels are decoded at once, by however many threads, and how many Pillow lets through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from PIL import Image

LARGE = 1 << 24  # pixels from which an image is prepared in strips, and waits for room
AT_ONCE = 1 << 27  # pixels of large images that are decoded at once
NOTHING = nullcontext()  # entered for every image
DEFAULT = 100_000_000  # pixels that Pillow reads without a word, and a little more


class _Room:
    """Room for the pixels of large images, which threads wait for."""

    def __init__(self, pixels: int) -> None:
        self._free, self._all, self._changed = pixels, pixels, threading.Condition()

    def taken(self, pixels: int) -> AbstractContextManager[None]:
        """Holds room for an image, as soon as there is; small ones need none."""
        return NOTHING if pixels <= LARGE else self._held(pixels)

    @contextmanager
    def _held(self, pixels: int) -> Iterator[None]:
        wanted = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


room = _Room(AT_ONCE)


class _Unbounded:
    """Lifts Pillow's own limit on pixels, which is one for the process, while any thread reads larger images."""

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._limit: int | None = None

    def __call__(self, most: int) -> AbstractContextManager[None]:
        """most: pixels that are allowed. Nothing is lifted for as many as Pillow allows."""
        return NOTHING if most <= DEFAULT else self._lifted()

    @contextmanager
    def _lifted(self) -> Iterator[None]:
        with self._lock:
            if not self._within:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._within += 1
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                if not self._within:
                    Image.MAX_IMAGE_PIXELS = self._limit


unbounded = _Unbounded()
