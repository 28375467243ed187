"""CelebA's aligned faces (Liu et al. 2015): 202,599 JPEGs of 178x218, in a folder or the publisher's zip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ganvas.data.archives import archive
from ganvas.data.folders import folder, listing
from ganvas.data.source import Scan, Source

FOLDER = "img_align_celeba"
ARCHIVE = f"{FOLDER}.zip"
KEYS = "holdout=0.1&size=64&crop=108x132&resize=bilinear"


def here(path: Path) -> Source | None:
    """The set at a path: its folder or its zip, or a folder with either. None if there is nothing of the sort."""
    for place in (path, path / FOLDER):
        if place.name == FOLDER and place.is_dir():
            return _source("folder", folder(place, listing(place)))
    for place in (path, path / ARCHIVE):
        if place.name == ARCHIVE and place.is_file():
            return _source("zip", archive(place))
    return None


def _source(layout: str, inner: Source) -> Source:
    return replace(
        inner,
        layout=f"CelebA, {layout} of aligned faces",
        identity=["celeba", inner.identity],
        scan=lambda: _named_by_file(inner.scan()),
        keys=KEYS,
    )


def _named_by_file(scan: Scan) -> Scan:
    """The same pictures, by the names of their files alone: so the same ones are held out of a folder and of a zip."""
    parts = {}
    for split, part in scan.parts.items():
        names = [name.rpartition("/")[2] for name in part.names]
        parts[split] = replace(part, names=names) if len(set(names)) == len(names) else part
    says = ["held out by the name of the file: not the publisher's own split"] * ("test" not in parts)
    return replace(scan, parts=parts, found={**scan.found, "arrangement": [*scan.found["arrangement"], *says]})
