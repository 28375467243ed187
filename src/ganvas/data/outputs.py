"""What Ganvas itself has written into a folder of data: run folders, sheets and pictures, which are not its data."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Sequence
from operator import itemgetter

from ganvas.data.layout import member_of
from ganvas.data.source import LeftOut, split_named
from ganvas.ops.marks import IMAGE, SHEET, mark_of

CONFIG, TABLE = "config.json", "table.json"  # of a run folder, and of a benchmark's
MOST_READ = 1 << 16  # bytes of one
LOOKED_AT = 256  # files opened to see who wrote them: the newest, for what we write comes after the data
CONTACT = "contact-"  # what the names of our contact sheets have begun with
RUN, DRAWN, MADE = "a run of ganvas", "a sheet drawn by ganvas", "made by ganvas"

File = tuple[str, int, int]  # path, size, time of writing


def is_run(folder: str, names: Collection[str]) -> bool:
    """Whether a folder with files of those names holds a run, or the cells and the table of a benchmark."""
    if CONFIG in names and _holds(os.path.join(folder, CONFIG), b'"ganvas":', b'"system":'):
        return True
    return TABLE in names and "cells" in names and _holds(os.path.join(folder, TABLE), b'"benchmark":')


def _holds(path: str, *words: bytes) -> bool:
    """Whether a file has those words near its beginning."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            text = file.read(MOST_READ)
    except OSError:
        return False
    return all(word in text for word in words)


def without_outputs(root: str, files: Sequence[File], left_out: LeftOut) -> list[File]:
    """The files that Ganvas has not written. Sheets are left out anywhere; pictures in a folder of them (of `sample`,
    say) where pictures of somebody else are there, unless the folder's name makes it a split or a member of pairs.

    At most a few hundred files are opened, however many there are.
    """
    newest = heapq.nlargest(LOOKED_AT, files, key=itemgetter(2))
    contacts = [file for file in files if CONTACT in file[0] and file[0].rpartition("/")[2].startswith(CONTACT)]
    top = [file for file in files if "/" not in file[0]]  # where commands write that name no other folder
    some = {*newest, *contacts[:LOOKED_AT], *(top if len(top) <= LOOKED_AT else ())}
    marks = {name: mark_of(os.path.join(root, name)) for name, size, _ in some if size > 0}
    ours = {name for name, mark in marks.items() if mark == SHEET}
    if not ours and IMAGE not in marks.values():
        return list(files)
    made = _folders_made(root, files)
    kept, pictures = [], []
    for file in files:
        folder = file[0].rpartition("/")[0]
        if file[0] in ours:
            left_out.add(DRAWN, file[0])
        elif folder in made or (not folder and marks.get(file[0]) == IMAGE):
            pictures.append(file)
        else:
            kept.append(file)
    if not kept:
        return pictures
    for name, _, _ in pictures:
        folder = name.rpartition("/")[0]
        left_out.add(MADE, f"{folder}/" if folder else name)
    return kept


def _folders_made(root: str, files: Sequence[File]) -> set[str]:
    """The folders whose first and last pictures Ganvas has made."""
    ends: dict[str, list[str]] = {}
    for name, _, _ in files:
        ends.setdefault(name.rpartition("/")[0], [name, name])[1] = name
    made = set()
    for folder, names in ends.items():
        named = any(split_named(part) or member_of(part) for part in folder.split("/"))
        if folder and not named and all(mark_of(os.path.join(root, name)) == IMAGE for name in set(names)):
            made.add(folder)
    return made
