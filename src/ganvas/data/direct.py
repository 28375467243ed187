"""Single images, each read when it is asked for, at its own size: what is measured, and never resized or kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.data.building import NAMED, choose, decoding_of, extremes, ranged, tolerate
from ganvas.data.colors import RangeUnknown
from ganvas.data.gathering import Gathered, in_order
from ganvas.data.geometry import Geometry
from ganvas.data.groups import group
from ganvas.data.inputs import Picture, flat, read_single, split_of
from ganvas.data.opening import find
from ganvas.data.pictures import hushed
from ganvas.data.source import Encoded, Pixels, Rows, Source
from ganvas.data.spec import Spec, parse, suited
from ganvas.data.store import digest
from ganvas.errors import DataError
from ganvas.schema import Schema


class Direct:
    """One split of a source of single images, each of its own size.

    spec: the data spec, canonical. split: which one this is; splits: rows of each. ``found`` says, as that of a
    `Dataset` does, what the last reading met.
    """

    kind = "images"

    def __init__(self, asked: Spec, source: Source) -> None:
        scan = source.scan()
        chosen = choose(scan, asked)
        self.split = split_of(asked, chosen)
        self.splits = {split: len(rows) for split, (_, rows) in chosen.items()}
        self.spec, self._asked, self._source = str(asked), replace(asked, stream=False), source
        name, self._rows = chosen[self.split]
        self._part, self._scan = scan.parts[name], scan
        shapes = [part.shape for part in scan.parts.values()]
        gray = all(shape is not None and shape[-1] == 1 for shape in shapes)
        self._asked = replace(asked, channels=asked.channels or ("grey" if gray else "rgb"))
        self.channels = 1 if self._asked.channels == "grey" else 3
        self.schema = Schema({}, scan.classes)
        self._sizes: Counter[str] = Counter()
        self._modes: Counter[str] = Counter()
        self._bad: dict[str, str] = {}
        self._is_streamed = asked.stream
        self._given_range = None if asked.range is None else str(asked.range)
        self._deciding, self._notes = Lock(), list[str]()
        self.seen = False
        """Whether its images have been read, so that ``found`` knows their sizes."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def content(self) -> str | None:
        """What results of these images may be kept under: it changes when a file, or what is read of it, does. None of
        a set that is streamed, whose files are not looked at before they are read."""
        if self._is_streamed:
            return None
        spec = self._asked
        known = [self.split, spec.channels, spec.limit, spec.holdout, spec.max_pixels, self._given_range]
        return digest(["direct", self._source.identity, *known])

    def names(self, rows: NDArray[np.integer]) -> list[str]:
        """The names of rows: paths within the source, or numbers where it has none."""
        return [self._part.names[row] for row in self._rows[rows].tolist()]

    def images(self, rows: Rows) -> Iterator[Pixels | None]:
        """The images of rows, uint8 [H, W, C], in their order, decoded on every core, a few at a time; None for one
        that cannot be read. Raises DataError where there are more of these than the spec allows."""
        self._sizes, self._modes, self._bad, self.seen = Counter(), Counter(), {}, True
        where = self._source.where or self.spec
        try:
            with hushed:
                for done in in_order(flat(self._part, self._rows[rows]), self._read):
                    if done.bad:
                        self._bad[done.file] = done.bad
                        tolerate(where, len(self._bad), len(rows), list(self._bad.items())[:3], self._asked)
                        yield None
                        continue
                    width, height = done.sizes["image"]
                    self._sizes[f"{width}x{height}"] += 1
                    self._modes.update(done.modes)
                    yield done.fields["image"]
        except OSError as error:
            raise DataError(f"{error.filename or where} cannot be read: {error.strerror or error}.") from error

    def _read(self, one: Picture) -> Gathered:
        try:
            return read_single(one, "image", Geometry(), self._asked, None)
        except RangeUnknown:  # only then all images are looked at first
            self._decide_range()
            return read_single(one, "image", Geometry(), self._asked, None)

    def _decide_range(self) -> None:
        """Decides, once for all images of the split, which numbers of more than 8 bits are black and white. Raises
        DataError where the numbers do not tell."""
        with self._deciding:
            if self._asked.range is not None:
                return
            files = (one for one in flat(self._part, self._rows) if isinstance(one, Encoded))
            decoding, sentence = ranged(files, decoding_of(self._asked), self._source.where or self.spec)
            self._asked = replace(self._asked, range=decoding.range)
            self._notes = [sentence] if sentence else []

    @property
    def found(self) -> dict[str, Any]:
        """What there is, as `Dataset.found` says it; of sizes and unreadable images what the last reading met."""
        splits = {**self.splits, self.split: len(self) - len(self._bad)}
        colors = "gray" if self.channels == 1 else "RGB"
        return {
            **self._scan.found,
            "left_out": [*self._source.left_out, *self._scan.found.get("left_out", [])],
            "kind": self.kind,
            "layout": self._source.layout,
            "splits": splits,
            "sizes": dict(self._sizes.most_common(10)),
            "different_sizes": len(self._sizes),
            "extremes": extremes(self._sizes),
            "modes": dict(self._modes.most_common()),
            "bad": {"count": len(self._bad), "of": len(self), "files": dict(list(self._bad.items())[:NAMED])},
            "notes": [*self._scan.found.get("notes", []), *self._notes],
            "prepared": f"each kept at its own size, {colors}",
        }


def open_direct(spec: str) -> Direct | None:
    """The images that a data spec names, to be read one by one at their own size; None where it, or the named set that
    it names, asks for a size, or where rows are no single images. Raises UsageError, DataError."""
    asked = parse(spec)
    if asked.size is not None or isinstance(asked.crop, tuple) or asked.kind == "mixture":
        return None
    try:
        if group(asked, ("images",)) is not None:
            return None
        suited(asked, asked.kind or "images")
        source = find(asked)
        if source.keys or source.size is not None or source.mixture is not None:
            return None
        if (missing := source.missing.get(asked.split or "")) is not None:
            raise DataError(missing)
        direct = Direct(asked, source)
    except OSError as error:
        raise DataError(f"{error.filename or asked.source} cannot be read: {error.strerror or error}.") from error
    vectors = any(part.shape is not None and len(part.shape) != 3 for part in direct._scan.parts.values())
    return None if vectors else direct
