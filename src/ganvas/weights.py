"""Published weights: what they are called, where they lie, and whether they are what their publisher says.

A file is looked for in ``$GANVAS_WEIGHTS``, then in the cache, and its SHA-256 is checked before it is read: truncated
copies circulate under the right names. Only `fetch` uses the network, and nothing is unpickled with code execution.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganvas import pickles
from ganvas.bounds import MOST_TEXT, read_regular
from ganvas.cache import fetching, mark_used
from ganvas.console import on_terminal
from ganvas.errors import Damaged, MissingWeights, UsageError, nearest
from ganvas.files import atomic, cache_folder, sha256, writing

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Published:
    """One set of weights and the files that hold it; any of them will do, and ``url`` gives the first."""

    what: str
    url: str
    megabytes: float
    files: tuple[tuple[str, str], ...]  # (name, SHA-256: all of it, or the first 8 digits that torch hub puts in names)
    usual: bool = True
    """Whether metrics need it that are measured unless others are named."""


_HUB = "https://download.pytorch.org/models"
_LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"
_VGG16 = ("vgg16-397923af.pth", "397923af")

TABLE = {
    "alexnet": Published(
        "AlexNet trained on ImageNet",
        f"{_HUB}/alexnet-owt-7be5be79.pth",
        244,
        (
            ("alexnet-owt-7be5be79.pth", "7be5be79"),
            ("alexnet_features.pt", "1454cf628f565bb39c929b4ab19c33d8c662292055b946c48daaeb6ccaf8811d"),
        ),
    ),
    "squeezenet1_1": Published(
        "SqueezeNet 1.1 trained on ImageNet",
        f"{_HUB}/squeezenet1_1-b8a52dc0.pth",
        5,
        (
            ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
            ("squeezenet1_1_features.pt", "65848f4c678bba05bcc2fc7c35df775d303ffcbc3e24e770a727cb4296e10e84"),
        ),
    ),
    "inception": Published(
        "the Inception net of FID, trained on ImageNet in 2015",
        f"{_FID}/pt_inception-2015-12-05-6726825d.pth",
        96,
        (
            ("pt_inception-2015-12-05-6726825d.pth", "6726825d"),
            ("weights-inception-2015-12-05-6726825d.pth", "6726825d"),
        ),
    ),
    "vgg16": Published("VGG16 trained on ImageNet", f"{_HUB}/vgg16-397923af.pth", 553, (_VGG16,), usual=False),
    "vgg19": Published(
        "VGG19 trained on ImageNet",
        f"{_HUB}/vgg19-dcbb9e9d.pth",
        575,
        (("vgg19-dcbb9e9d.pth", "dcbb9e9d"),),
        usual=False,
    ),
    "vgg16-conv1-2": Published(
        "the first two blocks of VGG16 trained on ImageNet",
        f"{_HUB}/vgg16-397923af.pth",
        553,
        (_VGG16, ("vgg16_conv1_2.pt", "f8d34b72b6968c36b5854e765aba7e1063482193d2667e388db3c7a965c9e35a")),
        usual=False,
    ),
} | {
    f"lpips-{net}": Published(
        f"the linear layers of LPIPS v0.1 over {over}",
        f"{_LPIPS}/{net}.pth",
        0.01,
        ((f"lpips_{net}_lin.pth", digest), (f"{net}.pth", digest)),
        usual=net != "vgg",
    )
    for net, over, digest in (
        ("alex", "AlexNet", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        ("squeeze", "SqueezeNet 1.1", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76"),
        ("vgg", "VGG16", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
    )
}

ALIASES = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg16-12": "vgg16-conv1-2"}  # what perceptual losses say

_seen: dict[tuple[Path, int, int], str] = {}  # digests of files already read by this process


USUAL = "metrics"  # what `fetch` calls all usual weights together


def names() -> tuple[str, ...]:
    """The names that `fetch` takes; `find` and `load` take those of one set of weights."""
    return (*TABLE, *ALIASES, USUAL)


def at_hand(name: str) -> bool:
    """Whether a file of that name is there, whatever is in it."""
    return any((folder / file).is_file() for folder in _folders() for file, _ in _entry(name)[1].files)


def find(name: str) -> Path:
    """The file of published weights, its digest checked.

    name: a row of the table, or the name of a file in it. Raises MissingWeights (one line: what, where from,
    where to put it) if it is not at hand, Damaged if the file found is not the one published, UsageError for an
    unknown name.
    """
    name, entry = _entry(name)
    for folder in _folders():
        for file, digest in entry.files:
            if (path := folder / file).is_file():
                _check(path, digest, name)
                if folder == cache_folder() / "weights":
                    mark_used(path)
                return path
    raise MissingWeights(
        f"{name} ({entry.what}) is not at hand: run `ganvas fetch {name}`, or get {entry.url} ({entry.megabytes:g} MB) "
        f"and put it as {' or '.join(file for file, _ in entry.files)} into {' or '.join(map(str, _folders()))}"
        f"{'' if os.environ.get('GANVAS_WEIGHTS') else ' (or any folder that GANVAS_WEIGHTS names)'}."
    )


def load(name: str) -> dict[str, Tensor]:
    """The tensors of published weights by their published keys, on the CPU. Raises what `find` raises."""
    path = find(name)
    try:
        tensors: dict[str, Tensor] = pickles.load(path, verify=False)  # its digest was checked
    except pickles.Refused as error:
        raise Damaged(f"{path} {error}; delete it and run `ganvas fetch {name}`.") from error
    return tensors


@contextmanager
def fitting(name: str) -> Iterator[None]:
    """Around the loading of a net from the tensors of ``name``: raises Damaged, naming the digest, where they are of
    another net."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        path = find(name)
        why = (
            f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error).strip().splitlines()[-1].strip()
        )
        raise Damaged(
            f"{path} (SHA-256 {sha256(path)}) holds another net than {_entry(name)[1].what}: {why}; delete it and run "
            f"`ganvas fetch {name}`."
        ) from error


def fetch(name: str, dest: Path | None = None, *, progress: bool | None = None) -> Path:
    """Downloads published weights from their publisher, unless they are there already, and checks them.

    dest: a folder (default: the cache). progress: a bar on stderr (default: on a terminal). Where only the first
    digits of a digest are published, the digest of the first download is kept beside the file (``FILE.sha256``) and
    holds from then on. Raises MissingWeights when the download fails, Damaged when it is not what was published.

    name: one of `names()`; of several sets of weights the folder is returned.
    """
    if name == USUAL:
        for each in (each for each, entry in TABLE.items() if entry.usual):
            fetch(each, dest, progress=progress)
        return dest or cache_folder() / "weights"
    name, entry = _entry(name)
    file, digest = entry.files[0]
    path = (dest or cache_folder() / "weights") / file
    if _is_whole(path, digest, name):
        return path
    bar = on_terminal() if progress is None else progress
    with writing(path, "make room, or use another --dest", UsageError), fetching(path):
        if not _is_whole(path, digest, name):  # another process may have fetched it meanwhile
            _download(entry.url, path, digest, bar)
    return path


def _is_whole(path: Path, digest: str, name: str) -> bool:
    """Whether a file is there, and the one published."""
    if not path.is_file():
        return False
    try:
        _check(path, digest, name)
    except Damaged:
        return False
    return True


def _download(url: str, path: Path, digest: str, bar: bool) -> None:
    import pooch
    import requests

    with atomic(path) as part:
        try:
            pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20)(url, str(part), None)
        except requests.RequestException as error:
            raise MissingWeights(
                f"{url} cannot be downloaded ({_reason(error)}): try again, or get it in another way and put it "
                f"as {path.name} into {path.parent}."
            ) from error
        whole = sha256(part)
        if not whole.startswith(digest):
            raise Damaged(
                f"{url} gave a file of SHA-256 {whole} where {digest} is published: nothing was kept; try again."
            )
    if whole != digest:
        with atomic(_record(path)) as part:
            part.write_text(f"{whole}  {path.name}\n")


def _entry(name: str) -> tuple[str, Published]:
    """The row of the table that is called so, also by its short name, or that has a file called so. Raises UsageError
    if there is none."""
    name = ALIASES.get(name, name)
    if name in TABLE:
        return name, TABLE[name]
    for key, entry in TABLE.items():
        if any(name == file for file, _ in entry.files):
            return key, entry
    raise UsageError(f"There are no published weights called {name!r}: {nearest(name, TABLE)}.")


def _folders() -> list[Path]:
    """Where weight files are looked for, in order."""
    named = os.environ.get("GANVAS_WEIGHTS")
    return [*([Path(named)] if named else []), cache_folder() / "weights"]


def _record(path: Path) -> Path:
    """Where the digest of a first download is kept, in the form that ``sha256sum --check`` reads."""
    return path.with_name(path.name + ".sha256")


def _check(path: Path, digest: str, name: str) -> None:
    """Raises Damaged if the file is not the one published, or not the one first downloaded."""
    status = path.stat()
    key = path.resolve(), status.st_size, status.st_mtime_ns
    found = _seen.get(key) or _seen.setdefault(key, sha256(path))
    if (record := _record(path)).is_file():
        kept = _kept(record)
        digest = kept if kept.startswith(digest) else digest
    if not found.startswith(digest):
        raise Damaged(
            f"{path} is truncated or another file: its SHA-256 is {found} ({status.st_size:,} bytes) where that of "
            f"{name} is {digest}{'...' if len(digest) < 64 else ''}; delete it and run `ganvas fetch {name}`."
        )


def _kept(record: Path) -> str:
    """The digest in a record. Raises Damaged for what is no text."""
    try:
        return read_regular(record, MOST_TEXT).decode().partition(" ")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise Damaged(f"{record} cannot be read ({reason}): delete it.") from error


def _reason(error: OSError) -> str:
    """The last link of the chain of causes, in one short line: what a user can act on."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return (str(cause) or type(cause).__name__).splitlines()[0][:120]
