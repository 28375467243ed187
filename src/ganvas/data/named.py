"""The sets that have a name: where their originals come from, how they are recognised, and how the AVAE table takes
them (Plumerault et al. 2020, 2012.11551: its released code).

    name = "celeba"
    data = open_data(named.spec(name))                       # what was fetched
    data = open_data(named.spec(name, "~/faces?limit=500"))  # the same set from elsewhere, prepared alike
    held_out = data.part(named.SETS[name].test)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ganvas.cache import mark_used
from ganvas.data import celeba, cifar, lsun, svhn
from ganvas.data.source import Source
from ganvas.data.spec import filled, parse, shortened
from ganvas.errors import DataError, UsageError, nearest
from ganvas.files import cache_folder


@dataclass(frozen=True)
class Download:
    """One file of a publisher: its address, its name here, and its checksum, if one is known."""

    url: str
    file: str
    checksum: str | None  # "md5:..." or "sha256:..."


@dataclass(frozen=True)
class NamedSet:
    """A set of originals.

    title: as people say it. originals: what its files are, for messages. here: the set at a path, None if it is not
    there. downloads: its files, where they are fetched plainly; else ``elsewhere``: why not, where a person gets them,
    and what to do in ``{folder}``. keys: of a data spec, the published preparation. train, test: its splits in the AVAE
    table. side: of its pictures there, in pixels. differs: where that is not what the authors' code does.
    """

    title: str
    originals: str
    here: Callable[[Path], Source | None]
    downloads: tuple[Download, ...] = ()
    elsewhere: str = ""
    keys: str = ""
    train: str = "train"
    test: str = "test"
    side: int = 32
    images: int = 0
    classes: int = 0
    differs: str = ""


def _cifar(form: cifar.Form, md5: str, classes: int) -> NamedSet:
    url = f"https://www.cs.toronto.edu/~kriz/{form.archive}"
    return NamedSet(
        form.title,
        f"the binary files or {form.archive}",
        partial(cifar.here, form),
        (Download(url, form.archive, f"md5:{md5}"),),
        images=50_000,
        classes=classes,
    )


# SVHN's publisher gives no checksums: these are the ones that libraries have long verified its files against.
_SVHN = {
    "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test": "eb5a983be6a315427106f1b164d9cef3",
    "extra": "a93ce644f1a588dc4d68dda5feec44a7",
}
_ROUNDED = "pixels are rounded to 8 bits once they are resized"

SETS = {
    "cifar10": _cifar(cifar.CIFAR10, "c32a1d4ab5d03f1284b67883e8d87530", 10),
    "cifar100": _cifar(cifar.CIFAR100, "03b5dce01913d631647c71ecec9e9cb8", 100),
    "svhn": NamedSet(
        "SVHN",
        " ".join(svhn.FILES.values()),
        svhn.here,
        tuple(
            Download(f"http://ufldl.stanford.edu/housenumbers/{file}", file, f"md5:{_SVHN[split]}")
            for split, file in svhn.FILES.items()
        ),
        train=svhn.EXTRA,
        images=531_131,
        classes=10,
    ),
    "celeba": NamedSet(
        "CelebA",
        f"{celeba.ARCHIVE} or the folder {celeba.FOLDER}/",
        celeba.here,
        elsewhere=f"CelebA has no plain download: get {celeba.ARCHIVE} from "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put it into {folder}",
        keys=celeba.KEYS,
        side=64,
        differs=f"one file in ten is held out by a hash of its name, not at random; {_ROUNDED}",
    ),
    "lsun-bedroom": NamedSet(
        "LSUN bedroom",
        " and ".join(f"{folder}/" for folder in lsun.FOLDERS.values()),
        lsun.here,
        elsewhere="LSUN's bedrooms are 43 GB, for a program that goes on after a break, such as curl -C -: get "
        + " and ".join(f"{lsun.PUBLISHER}/{file}" for file in lsun.PACKED)
        + " and unzip both in {folder}",
        keys=lsun.KEYS,
        side=64,
        differs=_ROUNDED,
    ),
}


EMBEDDED = ("digits", "photos")  # sets that come with the packages we build on


def names() -> list[str]:
    """All names that a data spec may have for its source."""
    return [*EMBEDDED, *SETS]


def absent(source: str) -> str:
    """The sentence on a source that is not there."""
    hint = nearest(source, names())
    return f"There is no data {shortened(source)!r}: it is neither a file or folder nor a named set; {hint}."


def doubt(name: str, found: str, rows: int, channels: int, classes: int) -> str:
    """A sentence where what a spec ``found`` holds cannot be the set of that name, else "": by the images of its
    training split, their channels, and its classes (0: it tells none)."""
    known = SETS[name]
    wrong = [
        f"{channels} channel{'s' if channels > 1 else ''}, not 3" if channels != 3 else "",
        f"{rows:,} training images, not {known.images:,}" if known.images and rows != known.images else "",
        f"{classes} classes, not {known.classes}" if known.classes and classes not in (0, known.classes) else "",
    ]
    if not any(wrong):
        return ""
    said = "; ".join(filter(None, wrong))
    return (
        f"{found} stands for {known.title}, but has {said}: do not compare its figures with published ones of that set"
    )


def folder(name: str) -> Path:
    """Where a named set lies once it is fetched."""
    return cache_folder() / "datasets" / name


def fetched(name: str) -> Source:
    """The originals in that folder. Raises DataError if they are not there."""
    source = SETS[name].here(folder(name))
    if source is None:
        raise DataError(
            f"{SETS[name].title} is not on this machine: run `ganvas fetch {name}`, or name a folder with "
            f"{SETS[name].originals}."
        )
    mark_used(folder(name))
    return source


def here(path: Path) -> Source | None:
    """The originals of whichever set is at a path; None if there are none. Raises DataError where some are missing."""
    return next((source for one in SETS.values() if (source := one.here(path)) is not None), None)


def spec(name: str, where: str | None = None) -> str:
    """The data spec, canonical, of a named set as the AVAE table trains on it.

    where: any other spec of that set's pictures (its originals, a plain folder, arrays); the set's preparation and
    training split hold wherever it says nothing itself. Raises UsageError for an unknown name, or a spec that does not
    read.
    """
    if name not in SETS:
        raise UsageError(f"There is no named set {name!r}: {nearest(name, SETS)}.")
    asked = filled(parse(where or name), SETS[name].keys)
    if SETS[name].train != "train" and asked.split is None:
        asked = replace(asked, split=SETS[name].train)
    return str(asked)
