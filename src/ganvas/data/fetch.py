"""Data sets from their publishers: the one place in the data room that uses the network."""

from __future__ import annotations

import sys
from pathlib import Path

from ganvas.bounds import MOST_TEXT, read_regular
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
    """One file, unless it is there whole."""
    file, record = folder / download.file, folder / f"{download.file}.sha256"
    kept = _kept(record)
    if file.is_file() and kept is not None and sha256(file) == kept:
        return
    _download(download, folder, download.checksum if kept is None else f"sha256:{kept}")
    if kept is None:
        with atomic(record) as part:
            part.write_text(f"{sha256(file)}  {download.file}\n")


def _kept(record: Path) -> str | None:
    """The digest of a file that was fetched before, if it was kept. Raises DataError for a record that is no text."""
    if not record.is_file():
        return None
    try:
        return next(iter(read_regular(record, MOST_TEXT).decode().split()), None)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise DataError(f"{record} cannot be read ({reason}): delete it.") from error


def _download(download: Download, folder: Path, checksum: str | None) -> None:
    """Fetches with pooch, which writes beside and renames, and leaves a file of that checksum as it is."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
    try:
        pooch.retrieve(download.url, checksum, download.file, folder, downloader=downloader)
    except requests.RequestException as error:
        if error.response is not None:
            error.response.close()  # pooch leaves it open
        raise DataError(
            f"{download.url} could not be fetched ({_reason(error)}): check the network, or get the file elsewhere and "
            f"put it at {folder / download.file}."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{download.url} did not give the file of {checksum}: try again later, or get it elsewhere and put it at "
            f"{folder / download.file}."
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder / download.file} cannot be written ({error.strerror or error}): make room, or use another --dest."
        ) from error


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
