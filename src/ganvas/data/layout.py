"""What paths say: which of them are hidden, which split each belongs to, and its class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ganvas.data.source import SPLITS, LeftOut, Rows, printable, split_named

HIDDEN = frozenset(  # in lower case: folders and files of file systems, network storage and tools
    (
        *("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "found.000"),
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@recycle", "@recently-snapshot", "@__thumb"),
        *("@snapshot", "@snapshots", "~snapshot", "@transcode", "@upload_tmp_dir", "network trash folder"),
        *("temporary items", "__pycache__", "node_modules", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
THUMBNAILS = frozenset(("thumb", "thumbs", "thumbnail", "thumbnails", "_thumb", "_thumbs", "_thumbnail", "_thumbnails"))
FILLERS = frozenset(  # words beside a split's name that say nothing: train_images, test-set
    ("data", "dataset", "image", "images", "img", "imgs", "photo", "photos", "pic", "pics", "picture", "pictures",
     "set", "split", "samples")
)  # fmt: skip
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of a name: TrainImages, train2017, TEST_SET
MEMBER = re.compile(r"(?:([A-Za-z]+?)[_ -]?)?(A|B|label|inst|img)", re.I)  # a folder's split and member
FEW = 3  # strays beside a small set
THUMBNAIL, OUTSIDE, BESIDE = "in a folder of thumbnails", "outside of the splits", "beside the class folders"

Paths = list[tuple[list[int], list[str]]]  # the rows in one folder, and the parts of their path; "" for the file


@dataclass(frozen=True)
class Arrangement:
    """What paths say. splits: split -> rows. folders: the class of every row, or None. left_out: as JSON, see
    `LeftOut`. notes: what else there is to tell, in sentences."""

    splits: dict[str, Rows]
    folders: list[str | None]
    left_out: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data: ``.DS_Store``, ``__MACOSX``, ``@eaDir``, ``$RECYCLE.BIN``."""
    return name.startswith(".") or name.lower() in HIDDEN


def member_of(folder: str) -> tuple[str | None, str] | None:
    """The split (None: not told) and the member that a folder's name tells: ``trainA``, ``Test_label``, ``B``."""
    match = MEMBER.fullmatch(folder)
    if match is None:
        return None
    split, member = match.groups()
    if split is None:
        return (None, member if member in "AB" else member.lower()) if member not in ("a", "b") else None
    named = split_named(split)
    return None if named is None else (named, member.upper() if member in "aAbB" else member.lower())


def are_few(strays: int, kept: int) -> bool:
    """Whether so many files are strays beside ``kept`` others: a tenth, or three of a small set."""
    return strays <= max(FEW, kept // 10) and 2 * strays <= kept


def thumbnails(names: Sequence[str]) -> set[str]:
    """The folders of thumbnails (with a slash at their end) among paths.

    A folder is one if its name says so and pictures lie beside it, or several other folders do. By itself, or where
    other folders are the classes ``thumbs`` and ``palms``, it is data.
    """
    if "thumb" not in "\n".join(names).lower():
        return set()
    suspects, inside = set(), dict[str, set[str]]()  # folder -> what lies directly in it: folders, and "" for pictures
    for name in names:
        parts = name.split("/")
        for i in range(len(parts)):
            inside.setdefault("/".join(parts[:i]), set()).add(parts[i] if i < len(parts) - 1 else "")
        for i, part in enumerate(parts[:-1]):
            if part.lower() in THUMBNAILS:
                suspects.add(("/".join(parts[:i]), part))
    found = set()
    for parent, folder in suspects:
        others = {name for name in inside[parent] if name.lower() not in THUMBNAILS}
        if "" in others or (len(others) > 1 and "nail" in folder.lower()):
            found.add(f"{parent}/{folder}/" if parent else f"{folder}/")
    return found


def without_thumbnails(names: Sequence[str], left_out: LeftOut) -> list[int]:
    """The indices of the names that do not lie in folders of thumbnails; the others are recorded."""
    folders = tuple(sorted(thumbnails(names)))
    if not folders:
        return list(range(len(names)))
    kept = []
    for i, name in enumerate(names):
        if name.startswith(folders):
            left_out.add(THUMBNAIL, next(folder for folder in folders if name.startswith(folder)))
        else:
            kept.append(i)
    return kept


# ---- splits and classes ----------------------------------------------------------------------------------------------
def arrange(names: Sequence[str]) -> Arrangement:
    """What paths (with slashes) say of splits and classes.

    Folders that hold everything are skipped. Folders named as splits are the splits, and what lies outside of them is
    left out. Folders are classes where there are several, most pictures lie exactly one level down, and no more than a
    few lie beside; a split whose pictures lie flat has no labels.
    """
    left, notes = _Strays(names), list[str]()
    by_folder: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        by_folder.setdefault(name.rpartition("/")[0], []).append(i)
    by_split = _split([(rows, [*folder.split("/"), ""] if folder else [""]) for folder, rows in by_folder.items()],
                      left, notes)  # fmt: skip
    classes: list[str | None] = [None] * len(names)
    for split in _labelled(by_split, left, notes):
        for rows, path in by_split[split]:
            for row in rows:
                classes[row] = path[0]
    splits = {split: np.array(sorted(row for rows, _ in paths for row in rows), np.int64)
              for split, paths in by_split.items() if paths}  # fmt: skip
    return Arrangement(splits, classes, left.entries(), notes)


class _Strays(LeftOut):
    """What is left out of paths, by the names that they have in the source."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._all = names

    def leave(self, reason: str, paths: Paths) -> None:
        for rows, path in paths:
            if len(path) > 1:  # name the folder, not every file in it
                parts = self._all[rows[0]].split("/")
                self.add(reason, "/".join(parts[: len(parts) - len(path) + 1]) + "/", len(rows))
                continue
            for row in rows:
                self.add(reason, self._all[row])


def _split(paths: Paths, left: _Strays, notes: list[str]) -> dict[str, Paths]:
    """The paths of each split, within it."""
    while True:
        tops, loose = _tops(paths)
        if (folders := split_folders(tops, loose, notes)) is not None:
            return _within(paths, folders, left, notes)
        if loose or len(tops) != 1:
            break
        paths = [(rows, path[1:]) for rows, path in paths]
    within = {}  # cats/train, cats/test, dogs/train; or set/train, set/test with strays beside the set
    for name in {path[1] for _, path in paths if len(path) > 2}:
        split, rest = split_of(name)
        if split and _says_nothing(rest):
            within[name] = (split, "")
    turned = [(rows, [path[1], path[0], *path[2:]]) for rows, path in paths if len(path) > 2 and path[1] in within]
    inside = _count(turned)
    if {"train"} < {split for split, _ in within.values()} and are_few(_count(paths) - inside, inside):
        left.leave(OUTSIDE, [path for path in paths if len(path[1]) < 3 or path[1][1] not in within])
        return _within(turned, within, left, notes)
    return {"train": paths}


def _images(n: int) -> str:
    return f"{n:,} image{'s' if n != 1 else ''}"


def _tops(paths: Paths) -> tuple[Counter[str], int]:
    """How many paths lie in each top folder, and how many in none."""
    tops = Counter[str]()
    for rows, path in paths:
        if len(path) > 1:
            tops[path[0]] += len(rows)
    return tops, _count(paths) - tops.total()


def _count(paths: Paths) -> int:
    return sum(len(rows) for rows, _ in paths)


def split_folders(tops: Mapping[str, int], loose: int, notes: list[str]) -> dict[str, tuple[str, str]] | None:
    """Of top folders those that are splits: folder -> its split, and what else its name says; None where none are.

    Names of several words (``train_cats``, ``DIV2K_train_HR``) are splits only where the same words stand beside
    another split, so that ``train_station`` stays a class.
    """
    total = sum(tops.values()) + loose
    words = {folder: found for folder in tops if (found := split_of(folder))[0]}
    plain = {folder: split for folder, (split, rest) in words.items() if _says_nothing(rest)}
    together = {rest: {s for s, r in words.values() if r == rest} for _, rest in words.values()}
    several = len(plain) < len(words) and not {"train"} < together.get("", set())
    if several and any({"train"} < splits for rest, splits in together.items() if not _says_nothing(rest)):
        return {folder: (split, rest if len(together) > 1 else "") for folder, (split, rest) in words.items()}
    if not plain:
        return None
    inside, others = sum(tops[folder] for folder in plain), len(tops) - len(plain)
    outside, splits = total - inside, set(plain.values())
    if outside == 0 or {"train"} < splits:
        sure = True
    elif "train" in splits:  # a class of vehicles is called train, too
        sure = (others <= 1 and are_few(loose, inside)) or 2 * inside >= total
    else:
        sure = others == 0 and are_few(outside, inside)  # valid/ and invalid/ are classes
    if sure:
        return {folder: (split, "") for folder, split in plain.items()}
    for folder in sorted(plain):
        notes.append(f"{printable(folder)}/ is not read as a split: it holds {tops[folder]:,} of {_images(total)}.")
    return None


def split_of(folder: str) -> tuple[str, str]:
    """The split that a folder's name tells ("": none), and what else it says: ``DIV2K_train_HR`` tells train, and
    "DIV2K HR"."""
    words = [match[0] for match in WORD.finditer(folder)]
    named = [i for i, word in enumerate(words) if split_named(word)]
    if len(named) != 1:
        return "", ""
    split = split_named(words[named[0]]) or ""
    return split, " ".join(word for i, word in enumerate(words) if i != named[0])


def _says_nothing(rest: str) -> bool:
    """Whether what a folder's name says beside its split is of no importance: ``train_images``."""
    return all(word.lower() in FILLERS for word in rest.split())


def _within(paths: Paths, folders: Mapping[str, tuple[str, str]], left: _Strays, notes: list[str]) -> dict[str, Paths]:
    found: dict[str, Paths] = {}
    outside: Paths = []
    for rows, path in paths:
        if len(path) < 2 or path[0] not in folders:
            outside.append((rows, path))
            continue
        split, rest = folders[path[0]]
        found.setdefault(split, []).append((rows, [rest, *path[1:]] if rest else path[1:]))
    left.leave(OUTSIDE, outside)
    strays = _count(outside)
    in_order = {split: found[split] for split in SPLITS if split in found}
    if strays and not are_few(strays, _count(paths) - strays):
        notes.append(f"Not read, for they lie outside of the splits {', '.join(in_order)}: {_images(strays)}.")
    for split in in_order:
        same = sorted(folder for folder, (name, rest) in folders.items() if name == split and not rest)
        if len(same) > 1:
            notes.append(f"{', '.join(printable(folder) for folder in same)} are read together as the split {split}.")
    return in_order


def _labelled(by_split: dict[str, Paths], left: _Strays, notes: list[str]) -> list[str]:
    """The splits whose top folders are classes. Takes strays, and folders that hold everything, out of ``by_split``."""
    while len(tops := {path[0] for paths in by_split.values() for _, path in paths}) == 1 and tops != {""}:
        by_split.update({split: [(rows, path[1:]) for rows, path in paths] for split, paths in by_split.items()})
    known: dict[str, set[str]] = {}  # split -> its classes
    for split, paths in by_split.items():
        folders, loose = _tops(paths)
        held = folders.total()
        if 2 * _count([(rows, path) for rows, path in paths if len(path) == 2]) <= held:
            continue  # most lie deeper, or none in folders
        if loose and not are_few(loose, held):
            if len(folders) > 1:
                shown = ", ".join(printable(folder) for folder in sorted(folders)[:FEW])
                more = ", ..." if len(folders) > FEW else ""
                notes.append(f"No classes in {split}: beside the folders {shown}{more} lie {_images(loose)}.")
            continue
        known[split] = set(folders)
    of_train = known.get("train", set())
    for split in list(known):
        if of_train and len(known[split]) == 1 and not known[split] & of_train:  # test/unknown/*.png
            del known[split]
    if len(set().union(*known.values())) < 2:
        return []
    for split, paths in by_split.items():
        if split not in known:
            notes.append(f"The split {split} has no class folders: it has no labels.")
            continue
        left.leave(BESIDE, [(rows, path) for rows, path in paths if len(path) == 1])
        by_split[split] = [(rows, path) for rows, path in paths if len(path) > 1]
        if new := sorted(known[split] - of_train) if of_train else []:
            shown = ", ".join(printable(folder) for folder in new[:FEW]) + ", ..." * (len(new) > FEW)
            notes.append(f"The split {split} has classes that train has not: {shown}.")
    return list(known)
