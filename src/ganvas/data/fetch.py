"""Data sets from their publishers: the one place in the data room that uses the network."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ganvas.bounds import MOST_TEXT, read_regular
from ganvas.cache import fetching
from ganvas.console import on_terminal
from ganvas.data import named
from ganvas.data.named import SETS, Download
from ganvas.errors import DataError, UsageError, nearest
from ganvas.files import atomic, sha256


def fetch(name: str, dest: Path | None = None) -> Path:
    """The folder of a named set, downloaded if it is not there whole.

    dest: a folder of the user's; by default the cache, where the spec of that name finds it. The SHA-256 of the first
    download is kept beside the file, and holds from then on. Raises UsageError for an unknown name, DataError where the
    download fails or is not what was published, or where there is none: it then says what to get and where to put it.
    """
    if name not in SETS:
        raise UsageError(f"There is no data set {name!r} to fetch: {nearest(name, SETS)}.")
    folder = dest or named.folder(name)
    for download in SETS[name].downloads:
        _obtain(download, folder)
    if not SETS[name].downloads and SETS[name].here(folder) is None:
        raise DataError(f"{SETS[name].elsewhere.format(folder=folder)}.")
    return folder


def _obtain(download: Download, folder: Path) -> None:
    """One file, unless it is there whole. Of processes that ask at once, one downloads and the others wait."""
    file = folder / download.file
    if _is_recorded(file):
        return
    try:
        with fetching(file):
            if not _is_recorded(file):
                _download(download, file)
    except OSError as error:
        raise DataError(
            f"{file} cannot be written ({error.strerror or error}): make room, or use another --dest."
        ) from error


def _is_recorded(file: Path) -> bool:
    """Whether the file is there, and the one that was first downloaded."""
    return file.is_file() and (kept := _recorded(file)) is not None and sha256(file) == kept


def _recorded(file: Path) -> str | None:
    """The SHA-256 of the first download; None where none is written down. Raises DataError where it cannot be read."""
    record = _record(file)
    try:
        text = read_regular(record, MOST_TEXT).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{record} cannot be read ({error.strerror or error}): delete it.") from error
    found = re.match(r"[0-9a-f]{64}\b", text)
    return found[0] if found else None


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _download(download: Download, file: Path) -> None:
    """Fetches the file, unless what is there has its checksum, and records its SHA-256."""
    import pooch
    import requests

    kept = _recorded(file)
    checksum = download.checksum if kept is None else f"sha256:{kept}"
    if not (file.is_file() and _has(file, checksum)):
        with atomic(file) as part:
            try:
                pooch.HTTPDownloader(progressbar=on_terminal(), timeout=30)(download.url, str(part), None)
            except requests.RequestException as error:
                if error.response is not None:
                    error.response.close()  # pooch leaves it open
                raise DataError(
                    f"{download.url} could not be fetched ({_reason(error)}): check the network, or get the file "
                    f"elsewhere and put it at {file}."
                ) from error
            if not _has(part, checksum):
                raise DataError(
                    f"{download.url} did not give the file of {checksum}: try again later, or get it elsewhere and put "
                    f"it at {file}."
                )
    if kept is None:
        with atomic(_record(file)) as part:
            part.write_text(f"{sha256(file)}  {download.file}\n")


def _has(file: Path, checksum: str | None) -> bool:
    """Whether a file has a checksum, "md5:..." or "sha256:..."; where none is known, any file has."""
    if checksum is None:
        return True
    way, _, digits = checksum.partition(":")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, way).hexdigest() == digits


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
