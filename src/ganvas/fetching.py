"""What publishers give, data sets and weights, by name: the only use of the network."""

from __future__ import annotations

from pathlib import Path

from ganvas import weights
from ganvas.data.fetch import fetch as fetch_set
from ganvas.data.named import SETS
from ganvas.errors import UsageError, nearest


def fetch(name: str, dest: str | Path | None = None) -> Path:
    """Downloads a named data set or weight file, its checksum verified, unless it is there whole; returns its path.

    dest: a folder (default: the cache, where it is looked for). Raises UsageError for an unknown name or a folder that
    cannot be written; DataError, MissingWeights or Damaged where the download fails or is not what was published.
    """
    if not isinstance(name, str):
        raise UsageError(f"fetch takes a name, not {type(name).__name__}.")
    folder = None if dest is None else Path(dest)
    if name in SETS:
        return fetch_set(name, folder)
    if name in weights.names():
        return weights.fetch(name, folder)
    raise UsageError(f"There is nothing called {name!r} to fetch: {nearest(name, [*SETS, *weights.names()])}.")
