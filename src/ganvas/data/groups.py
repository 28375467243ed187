"""Sources whose rows have several pictures: pairs, two unpaired sets, label maps with their photographs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganvas.data.folders import Listing, arrange, is_folder, listing
from ganvas.data.layout import OUTSIDE, are_few, is_hidden, member_of, split_folders, split_of
from ganvas.data.source import LAYOUT, SPLITS, LeftOut, split_named
from ganvas.data.spec import GROUPED, Spec, shortened, suited
from ganvas.errors import DataError

MOST_WRAPPERS = 4  # folders, each the only one in the one before, that are looked into
FIELDS = {"A": "A", "B": "B", "label": "labels", "inst": "instances", "img": "image"}  # of a member -> in a row
NEEDED = {"paired": ("A", "B"), "unpaired": ("A", "B"), "labels": ("labels", "image")}
ENDINGS = (  # of names that tell the member: published data sets have them
    *("_gtFine_labelIds", "_gtFine_instanceIds", "_gtFine_labelTrainIds", "_leftImg8bit"),
    *("_labelIds", "_instanceIds", "_label", "_inst", "_img", "_A", "_B"),
)

Files = dict[str, str]  # name within the member's folder -> path within the source
Members = dict[str, Files]  # field -> its files


@dataclass(frozen=True)
class Row:
    """One row: its name, and the path of each field's file within the source; ``lack``: why it cannot be read."""

    name: str
    files: Mapping[str, str]
    lack: str = ""


@dataclass(frozen=True)
class Group:
    """A place that holds rows of several pictures: the files of each field, by split.

    root: what paths are within. spelt: (split, field) -> the folder, as messages name it. halves: field -> which half
    of a picture is its, where pictures hold pairs. left_out: what lies there and belongs to no row, as JSON (see
    `LeftOut`). notes: what else there is to tell, in sentences.
    """

    kind: str
    layout: str
    where: str
    root: str
    identity: Any
    splits: Mapping[str, Members]
    spelt: Mapping[tuple[str, str], str]
    left_out: Sequence[dict[str, Any]] = ()
    notes: Sequence[str] = ()
    halves: Mapping[str, int] = field(default_factory=dict)

    def complete(self) -> tuple[dict[str, dict[str, list[Row]]], list[str]]:
        """Split -> side -> its rows, in order, and what there is to say of them. Sides have rows of their own: one, ""
        (paired, labels), or "A" and "B".

        Raises DataError where a split lacks a member.
        """
        needed, says = NEEDED[self.kind], [f"splits {', '.join(self.splits)}"] if len(self.splits) > 1 else []
        if not self.splits:
            wanted = "train_label/ and train_img/" if self.kind == "labels" else "trainA/ and trainB/ (or A/ and B/)"
            remedy = "; pictures that hold a pair each are read with ?side-by-side=AB" if self.kind == "paired" else ""
            raise DataError(f"{self.where} holds no {self.kind} data: a folder with {wanted} is read as such{remedy}.")
        for split, members in self.splits.items():
            for wanted in needed:
                if wanted not in members:
                    has = " and ".join(self.spelt[split, f] for f in members)
                    lacks = next(name for name, f in FIELDS.items() if f == wanted)
                    raise DataError(f"{self.where} has {has} in its split {split!r}, and no pictures {lacks!r} beside.")
        fields = list(needed)
        if self.kind == "labels" and (some := [s for s, members in self.splits.items() if "instances" in members]):
            if len(some) == len(self.splits):
                fields.append("instances")
            else:
                left = " and ".join(self.spelt[split, "instances"] for split in some)
                says.append(f"{left} left out: not every split has instance maps")
        if self.kind == "unpaired":
            return {split: {f: self.rows(split, [f]) for f in fields} for split in self.splits}, says
        return {split: {"": self.rows(split, fields)} for split in self.splits}, says

    def rows(self, split: str, fields: Sequence[str]) -> list[Row]:
        """The rows of those fields in a split, which has them."""
        members = {f: self.splits[split][f] for f in fields}
        if len(fields) == 1 or self.halves:
            return [Row(name, dict.fromkeys(fields, path)) for name, path in members[fields[0]].items()]
        return matched(self.where, members, {f: self.spelt[split, f] for f in fields})


def group(spec: Spec, prefer: Sequence[str] = ()) -> Group | None:
    """What a spec names, if its rows have several pictures; None where it names a source of single ones.

    prefer: the kinds that are wanted, best first; of those that a folder can be read as, the first is taken. Raises
    UsageError where the spec says what makes no sense of that kind, DataError where there are no such folders, OSError
    for what cannot be read.
    """
    if spec.kind is not None and spec.kind not in GROUPED:
        return None
    try:
        path = Path(spec.source).expanduser()
        there = path.is_dir()
    except (ValueError, RuntimeError, OSError):  # nothing can have such a name
        path, there = Path(), False
    kind = spec.kind
    if there and not spec.side_by_side:
        path = _unwrapped(path)
    if kind is None:
        if not there:
            return None
        fits = ["paired", "images"] if spec.side_by_side else [*_fitting(path), "images"]
        kind = next((wanted for wanted in prefer if wanted in fits), fits[0])
        if kind == "images":
            return None
        suited(spec, kind)
    if there:
        files = listing(path)
        return _halves(path, files, spec.side_by_side) if spec.side_by_side else _folder(kind, path, files)
    if kind != "labels" and not spec.side_by_side and (two := _two(spec.source)):
        return _two_folders(kind, *two)
    if path.is_file():
        raise DataError(f"{path} is no folder: {kind} data is read from folders; unpack what is packed.")
    more = f", nor two, as {kind}:A,B" if kind != "labels" else ""
    raise DataError(f"There is no {kind} data {shortened(spec.source)!r}: it is no folder{more}.")


# ---- what a folder can be read as ------------------------------------------------------------------------------------
def _fitting(root: Path) -> list[str]:
    """The kinds of rows of several pictures that a folder's own folders spell, the likeliest first."""
    names = _folders_in(root)
    if found := _spelt(names):
        return found
    if found := _spelt(names, bare=True):  # A/ and B/: letters may be classes, too
        strangers = {name for name in names if member_of(name) is None and not split_of(name)[0]}
        if not strangers or (all(len(name) > 1 for name in strangers) and _are_strays(root, strangers)):
            return found
    splits = {name for name in names if split_named(name)}
    if splits and ("train" in map(split_named, splits) or all(split_of(name)[0] for name in names)):
        within = set().union(*(_folders_in(root / split) for split in splits))
        return [] if any(member_of(name) is None for name in within) else _spelt(within) or _spelt(within, bare=True)
    return []


def _unwrapped(root: Path) -> Path:
    """The folder that spells members: the root, or the only folder in it, as an archive unpacks to; else the root."""
    inner = root
    for _ in range(MOST_WRAPPERS):
        names = _folders_in(inner)
        if len(names) != 1 and inner == root:
            return root
        if len(names) != 1 or _fitting(inner):
            return inner if _fitting(inner) else root
        inner = inner / names.pop()
    return root


def _folders_in(root: Path) -> set[str]:
    """The names of the folders in a folder, without hidden ones; none of one that cannot be read."""
    try:
        with os.scandir(root) as entries:
            return {entry.name for entry in entries if is_folder(entry) and not is_hidden(entry.name)}
    except OSError:
        return set()


def _spelt(names: set[str], *, bare: bool = False) -> list[str]:
    """The kinds that folders of those names spell. bare: by names that tell no split, as ``A`` and ``B`` do."""
    found = {name: told for name in names if (told := member_of(name)) and (told[0] is None) is bare}
    splits: dict[str | None, set[str]] = {}
    for split, member in found.values():
        splits.setdefault(split, set()).add(member)
    if any({"label", "img"} <= members for members in splits.values()):
        return ["labels"]
    if not any({"A", "B"} <= members for members in splits.values()):
        return []
    alone = any(name[:-1].isalpha() for name in found)  # trainA, testB: how CycleGAN's sets are published
    return ["unpaired", "paired"] if alone and not bare else ["paired", "unpaired"]


def _are_strays(root: Path, folders: set[str]) -> bool:
    """Whether those folders hold few of a folder's pictures."""
    tops = [name.partition("/")[0] for name, _, _ in listing(root).files]
    strays = sum(top in folders for top in tops)
    return are_few(strays, len(tops) - strays)


# ---- layouts ---------------------------------------------------------------------------------------------------------
def _folder(kind: str, root: Path, files: Listing) -> Group:
    """Members in folders of their own: ``trainA``, ``train_label``, ``A``, ``train/A``, ``A/train``."""
    splits: dict[str, Members] = {}
    spelt: dict[tuple[str, str], str] = {}
    left = LeftOut()
    for path, _, _ in files.files:
        (split, member), rest = _member(path.split("/"))
        if (name := FIELDS.get(member, "")) not in (*NEEDED[kind], *("instances",) * (kind == "labels")):
            left.add(f"in no folder of {kind} data", f"{path.partition('/')[0]}/" if "/" in path else path)
            continue
        mine = splits.setdefault(split, {}).setdefault(name, {})
        if rest in mine:
            left.add("a second file of that name", path)
            continue
        spelt.setdefault((split, name), path.removesuffix(f"/{rest}"))
        mine[rest] = path
    with_instances = [split for split, members in splits.items() if "instances" in members]
    if 0 < len(with_instances) < len(splits):
        for split in with_instances:
            maps = splits[split]["instances"]
            left.add("instance maps, which not every split has", f"{spelt[split, 'instances']}/", len(maps))
    shown = {"paired": "pairs in folders", "unpaired": "two sets in folders", "labels": "label maps and photographs"}
    identity = ["group", LAYOUT, kind, str(root.resolve()), files.files]
    left_out = [*files.left_out, *left.entries()]
    return _group(kind, shown[kind], str(root), os.path.join(root, ""), identity, splits, spelt, left_out)


def _member(parts: list[str]) -> tuple[tuple[str, str], str]:
    """The split and the member ("": none) that a path tells, and its name within the member's folder."""
    split, rest = None, parts
    if len(parts) > 2 and (split := split_named(parts[0])):
        rest = parts[1:]
    told = member_of(rest[0]) if len(rest) > 1 else None
    if told is None or (split and told[0] and told[0] != split):
        return ("", ""), ""
    split, rest = split or told[0], rest[1:]
    if split is None and len(rest) > 1 and (split := split_named(rest[0])):
        rest = rest[1:]
    return (split or "train", told[1]), "/".join(rest)


def _two(source: str) -> tuple[Path, Path] | None:
    """The two folders of ``A,B``; a name may have a comma of its own."""
    parts = source.split(",")
    for i in range(1, len(parts)):
        with suppress(ValueError, RuntimeError, OSError):  # nothing can have such a name
            two = Path(",".join(parts[:i])).expanduser(), Path(",".join(parts[i:])).expanduser()
            if all(path.is_dir() for path in two):
                return two
    return None


def _two_folders(kind: str, a: Path, b: Path) -> Group:
    splits: dict[str, Members] = {}
    spelt: dict[tuple[str, str], str] = {}
    left, left_out, notes = LeftOut(), list[dict[str, Any]](), list[str]()
    identity: list[Any] = ["two", LAYOUT, kind]
    for member, root in (("A", a), ("B", b)):
        files = listing(root)
        paths = [name.split("/") for name, _, _ in files.files]
        tops = Counter(path[0] for path in paths if len(path) > 1)
        folders = split_folders(tops, len(paths) - sum(tops.values()), notes)
        for path in paths:
            split, rest = "train", path
            if folders is not None:
                if len(path) < 2 or path[0] not in folders:
                    left.add(OUTSIDE, os.path.join(root, f"{path[0]}/" if len(path) > 1 else path[0]))
                    continue
                (split, more), rest = folders[path[0]], path[1:]
                rest = [more, *rest] if more else rest
            splits.setdefault(split, {}).setdefault(member, {})["/".join(rest)] = os.path.join(root, *path)
            spelt[split, member] = str(root)
        left_out += files.left_out
        identity.append([str(root.resolve()), files.files])
    layout = "pairs in two folders" if kind == "paired" else "two folders"
    left_out += left.entries()
    return _group(kind, layout, f"{a},{b}", "", identity, splits, spelt, left_out, notes)


def _halves(root: Path, files: Listing, order: str) -> Group:
    """Pictures that hold a pair each."""
    names = [name for name, _, _ in files.files]
    if not names:
        raise DataError(f"{root} holds no picture.")
    splits: dict[str, Members] = {}
    arrangement = arrange(names)
    for split, rows in arrangement.splits.items():
        chosen = [names[row] for row in rows]
        tops = {name.partition("/")[0] for name in chosen}
        shared = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in chosen) else ""
        shared = shared if split_named(shared[:-1]) else ""
        splits[split] = {key: {name.removeprefix(shared): name for name in chosen} for key in "AB"}
    identity = ["halves", LAYOUT, order, str(root.resolve()), files.files]
    layout, halves = f"pictures that hold a pair each, {order}", {member: half for half, member in enumerate(order)}
    left_out = [*files.left_out, *arrangement.left_out]
    found = _group("paired", layout, str(root), os.path.join(root, ""), identity, splits, {}, left_out)
    return replace(found, halves=halves)


def _group(
    kind: str,
    layout: str,
    where: str,
    root: str,
    identity: Any,
    splits: Mapping[str, Members],
    spelt: Mapping[tuple[str, str], str],
    left_out: Sequence[dict[str, Any]],
    notes: Sequence[str] = (),
) -> Group:
    """With the splits in the order in which they are shown."""
    in_order = {split: splits[split] for split in SPLITS if split in splits}
    return Group(kind, layout, where, root, identity, in_order, spelt, left_out, notes)


# ---- who belongs together --------------------------------------------------------------------------------------------
def matched(where: str, members: Members, spelt: Mapping[str, str]) -> list[Row]:
    """Rows by the names of files without their suffixes; what has no partner by that, without the endings that tell
    members."""
    by_stem = {f: _stems(where, files) for f, files in members.items()}
    common = set.intersection(*(set(stems) for stems in by_stem.values()))
    rows = [Row(by_stem[next(iter(members))][stem], _paths(members, by_stem, stem)) for stem in common]
    left = {f: {stem: name for stem, name in stems.items() if stem not in common} for f, stems in by_stem.items()}
    if any(left.values()):
        bare = {f: _bare(stems) for f, stems in left.items()}
        for stem in sorted(set().union(*bare.values())):
            have = {f: stems[stem] for f, stems in bare.items() if stem in stems}
            lacking = [spelt[f] for f in members if f not in have]
            first = next(iter(have))
            files = {f: members[f][name] for f, name in have.items()}
            lack = f"has no partner in {' nor in '.join(lacking)}" if lacking else ""
            rows.append(Row(files[first] if lack else have[first], files, lack))
    if all(row.lack for row in rows):
        a, b, *_ = spelt.values()
        remedy = f"; unpaired:{where} reads sets that do not belong together" if "A" in members else ""
        raise DataError(f"No file in {a} has a partner in {b} of {where}: what belongs together has one name{remedy}.")
    return sorted(rows, key=lambda row: row.name)


def _paths(members: Members, by_stem: Mapping[str, Mapping[str, str]], stem: str) -> dict[str, str]:
    return {f: members[f][by_stem[f][stem]] for f in members}


def _stems(where: str, files: Files) -> dict[str, str]:
    stems: dict[str, str] = {}
    for name, path in files.items():
        stem = os.path.splitext(name)[0]
        if stem in stems:
            raise DataError(f"{where} has two pictures of one name: {files[stems[stem]]} and {path}; remove one.")
        stems[stem] = name
    return stems


def _bare(stems: Mapping[str, str]) -> dict[str, str]:
    """Names by their stems without what tells the member, as long as these stay apart."""
    shorter: dict[str, list[str]] = {}
    for stem in stems:
        shorter.setdefault(_without_ending(stem), []).append(stem)
    return {(bare if len(alike) == 1 else stem): stems[stem] for bare, alike in shorter.items() for stem in alike}


def _without_ending(stem: str) -> str:
    return next((stem.removesuffix(ending) for ending in ENDINGS if stem.endswith(ending)), stem)


def bare_stem(name: str) -> str:
    """A file's name without its suffix and what tells the member."""
    return _without_ending(os.path.splitext(name)[0])
