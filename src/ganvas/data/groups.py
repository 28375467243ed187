"""Sources whose rows have several pictures: pairs, two unpaired sets, label maps with their photographs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganvas.data.folders import Listing, arrange, listing
from ganvas.data.source import SPLITS
from ganvas.data.spec import GROUPED, Spec, suited
from ganvas.errors import DataError

MEMBER = re.compile(rf"(?:({'|'.join(SPLITS)})_?)?(A|B|label|inst|img)")  # a folder's name: its split and its member
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
    """A place that holds rows of several pictures.

    rows: split -> side -> its rows, in order; sides have rows of their own: one, "" (paired, labels), or "A" and "B".
    halves: which half of a picture is each field, where pictures hold pairs.
    """

    kind: str
    layout: str
    where: str
    root: str  # what paths are within
    identity: Any
    rows: Mapping[str, Mapping[str, Sequence[Row]]]
    halves: Mapping[str, int] = field(default_factory=dict)
    arrangement: Sequence[str] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)


def group(spec: Spec, prefer: Sequence[str] = ()) -> Group | None:
    """What a spec names, if its rows have several pictures; None where it names a source of single ones.

    prefer: the kinds that are wanted, best first; of those that a folder can be read as, the first is taken. Raises
    UsageError where the spec says what makes no sense of that kind, DataError where the folders do not fit the kind
    asked for, OSError for what cannot be read.
    """
    if spec.kind is not None and spec.kind not in GROUPED:
        return None
    try:
        path = Path(spec.source).expanduser()
        there = path.is_dir()
    except (ValueError, RuntimeError, OSError):  # nothing can have such a name
        path, there = Path(), False
    kind = spec.kind
    if kind is None:
        if not there:
            return None
        fits = ["paired", "images"] if spec.side_by_side else [*_fitting(path), "images"]
        kind = next((wanted for wanted in prefer if wanted in fits), fits[0])
        if kind == "images":
            suited(spec, kind)
            return None
        suited(spec, kind)
    if there:
        files = listing(path)
        return _halves(path, files, spec.side_by_side) if spec.side_by_side else _folder(kind, path, files)
    if kind in ("paired", "unpaired") and not spec.side_by_side and (two := _two(spec.source)):
        return _two_folders(kind, *two)
    if path.is_file():
        raise DataError(f"{path} is no folder: {kind} data is read from folders; unpack what is packed.")
    more = f", nor two, as {kind}:A,B" if kind != "labels" else ""
    raise DataError(f"There is no {kind} data {spec.source!r}: it is no folder{more}.")


# ---- what a folder can be read as ------------------------------------------------------------------------------------
def _fitting(root: Path) -> list[str]:
    """The kinds of rows of several pictures that a folder's own folders spell, the likeliest first."""
    with os.scandir(root) as entries:
        names = {entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
    return _spelt(names) or (_spelt_within(root, names) if names and names <= set(SPLITS) else [])


def _spelt_within(root: Path, splits: Iterable[str]) -> list[str]:
    """Of ``train/A train/B`` and the like."""
    names = set()
    for split in splits:
        with os.scandir(root / split) as entries:
            names |= {entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
    return _spelt(names)


def _spelt(names: set[str]) -> list[str]:
    found = {name: match for name in names if (match := MEMBER.fullmatch(name))}
    if any(name not in found and name.partition("_")[0] not in SPLITS for name in names):
        return []  # classes, say, two of which are named A and B
    splits: dict[str | None, set[str]] = {}
    for match in found.values():
        splits.setdefault(match[1], set()).add(match[2])
    if any({"label", "img"} <= members for members in splits.values()):
        return ["labels"]
    if not any({"A", "B"} <= members for members in splits.values()):
        return []
    alone = any(re.fullmatch("[a-z]+[AB]", name) for name in found)  # trainA, testB: how CycleGAN's sets are published
    return ["unpaired", "paired"] if alone else ["paired", "unpaired"]


# ---- layouts ---------------------------------------------------------------------------------------------------------
def _folder(kind: str, root: Path, files: Listing) -> Group:
    """Members in folders of their own: ``trainA``, ``train_label``, ``A``, ``train/A``, ``A/train``."""
    splits: dict[str, Members] = {}
    spelt: dict[tuple[str, str], str] = {}  # split, field -> the folder
    ignored = Counter(files.ignored)
    for path, _, _ in files.files:
        match, rest = _member(path.split("/"))
        if match is None:
            ignored["pictures elsewhere"] += 1
            continue
        split, member = match
        spelt[split, FIELDS[member]] = path.removesuffix(f"/{rest}")
        splits.setdefault(split, {}).setdefault(FIELDS[member], {})[rest] = path
    return _group(kind, root, ["group", kind, str(root.resolve()), files.files], splits, spelt, ignored)


def _member(parts: list[str]) -> tuple[tuple[str, str] | None, str]:
    """The split and the member that a path tells, and its name within the member's folder."""
    split, rest = None, parts
    if len(parts) > 2 and parts[0] in SPLITS:
        split, rest = parts[0], parts[1:]
    match = MEMBER.fullmatch(rest[0]) if len(rest) > 1 else None
    if match is None or (split and match[1]):
        return None, ""
    split, rest = split or match[1], rest[1:]
    if split is None and len(rest) > 1 and rest[0] in SPLITS:
        split, rest = rest[0], rest[1:]
    return (split or "train", match[2]), "/".join(rest)


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
    ignored: Counter[str] = Counter()
    identity: list[Any] = ["two", kind]
    for member, root in (("A", a), ("B", b)):
        files = listing(root)
        names = [name for name, _, _ in files.files]
        divided = all("/" in name and name.split("/")[0] in SPLITS for name in names)
        for name in names:
            split, rest = name.split("/", 1) if divided else ("train", name)
            splits.setdefault(split, {}).setdefault(member, {})[rest] = os.path.join(root, name)
            spelt[split, member] = str(root)
        ignored.update(files.ignored)
        identity.append([str(root.resolve()), files.files])
    return _group(kind, None, identity, splits, spelt, ignored, f"{a},{b}")


def _halves(root: Path, files: Listing, order: str) -> Group:
    """Pictures that hold a pair each."""
    names = [name for name, _, _ in files.files]
    if not names:
        raise DataError(f"{root} holds no picture.")
    splits, _ = arrange(names)
    rows: dict[str, dict[str, list[Row]]] = {}
    for split, chosen in splits.items():
        prefix = f"{split}/" if len(splits) > 1 or all(names[i].startswith(f"{split}/") for i in chosen) else ""
        rows[split] = {"": [Row(names[i].removeprefix(prefix), {"A": names[i], "B": names[i]}) for i in chosen]}
    return Group(
        kind="paired",
        layout=f"pictures that hold a pair each, {order}",
        where=str(root),
        root=os.path.join(root, ""),
        identity=["halves", order, str(root.resolve()), files.files],
        rows=rows,
        halves={member: half for half, member in enumerate(order)},
        arrangement=[f"splits {', '.join(rows)}"] if len(rows) > 1 else [],
        ignored=dict(files.ignored.most_common(20)),
    )


def _group(
    kind: str,
    root: Path | None,
    identity: Any,
    splits: dict[str, Members],
    spelt: Mapping[tuple[str, str], str],
    ignored: Counter[str],
    where: str = "",
) -> Group:
    """The rows of what was found in members' folders. Raises DataError where a split lacks a member."""
    where = where or str(root)
    needed = NEEDED[kind]
    fields = needed if kind != "labels" else ("labels", "instances", "image")
    present = {name: {f: members[f] for f in fields if f in members} for name, members in splits.items()}
    present = {split: present[split] for split in SPLITS if present.get(split)}
    if not present:
        wanted = "train_label/ and train_img/" if kind == "labels" else "trainA/ and trainB/ (or A/ and B/)"
        remedy = "; pictures that hold a pair each are read with ?side-by-side=AB" if kind == "paired" else ""
        raise DataError(f"{where} holds no {kind} data: a folder with {wanted} is read as such{remedy}.")
    for split, members in present.items():
        for wanted in needed:
            if wanted not in members:
                has = " and ".join(spelt[split, f] for f in members)
                named = next(member for member, f in FIELDS.items() if f == wanted)
                raise DataError(f"{where} has {has} in its split {split!r}, but no picture of {named!r} beside it.")
    says = [f"splits {', '.join(present)}"] if len(present) > 1 else []
    if kind == "labels" and not all("instances" in members for members in present.values()):
        some = [spelt[split, "instances"] for split, members in present.items() if members.pop("instances", None)]
        says += [f"{' and '.join(some)} left out: not every split has instance maps"] if some else []
    rows: dict[str, dict[str, list[Row]]] = {}
    for split, members in present.items():
        if kind == "unpaired":
            rows[split] = {f: [Row(name, {f: path}) for name, path in members[f].items()] for f in fields}
        else:
            rows[split] = {"": _matched(where, members, {f: spelt[split, f] for f in members})}
    shown = {"paired": "pairs in folders", "unpaired": "two sets in folders", "labels": "label maps and photographs"}
    prefix = "" if root is None else os.path.join(root, "")
    found = dict(ignored.most_common(20))
    return Group(kind, shown[kind], where, prefix, identity, rows, {}, says, found)


# ---- who belongs together --------------------------------------------------------------------------------------------
def _matched(where: str, members: Members, spelt: Mapping[str, str]) -> list[Row]:
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
        ending = next((ending for ending in ENDINGS if stem.endswith(ending)), "")
        shorter.setdefault(stem.removesuffix(ending), []).append(stem)
    return {(bare if len(alike) == 1 else stem): stems[stem] for bare, alike in shorter.items() for stem in alike}
