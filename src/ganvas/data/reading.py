"""What was read of a data set and what was left out, in a few lines for people and as JSON for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from ganvas.console import tell
from ganvas.data.source import WITHOUT_PARTNER
from ganvas.data.spec import Spec, parse
from ganvas.schema import Schema

SHOWN = 3  # names that are shown of what was left out
NOUNS = {"images": "image", "mixture": "point", "paired": "pair", "labels": "label map"}
NO_PARTNER = "has no partner"  # how the reason begins for a file whose partner is missing


@dataclass(frozen=True)
class LeftOut:
    """Files or rows that were not read for one reason: how many, and the first names."""

    reason: str
    count: int
    names: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = ", ".join(self.names[:SHOWN])
        hidden = self.count > len(self.names[:SHOWN])
        more = ", ..." if shown and hidden else ""
        return f"{self.reason} ({self.count:,}{f': {shown}{more}' if shown else ''})"


@dataclass(frozen=True)
class Reading:
    """What a data set was read as.

    data: the data spec. rows: how many each split has, or each side of each split where sides have rows of their own.
    sizes: how many sizes the images have, and the smallest and the largest. prepared: what was done to each image.
    """

    data: str
    kind: str
    layout: str
    rows: Mapping[str, Any]
    classes: list[str]
    sizes: Mapping[str, Any]
    prepared: str
    left_out: list[LeftOut]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON types, and its lines as ``said``."""
        return {name: _readable(value) for name, value in {**asdict(self), "said": self.lines()}.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reading:
        """What `to_json` gave. Raises KeyError, TypeError for anything else."""
        left = [LeftOut(**one) for one in value["left_out"]]
        known: dict[str, Any] = {name: value[name] for name in value if name not in ("said", "left_out")}
        return cls(**known, left_out=left)

    def lines(self) -> list[str]:
        """One line on what was read, one on what was left out if anything was, and a line for each note."""
        classes = f"{len(self.classes)} classes" if self.classes else ""
        facts = [_rows(self.kind, self.rows), classes, _sizes(self.sizes), self.prepared]
        lines = [f"read {self.data}: {'; '.join(fact for fact in facts if fact)}"]
        if self.left_out:
            lines.append(f"left out of {self.data}: {'; '.join(map(str, self.left_out))}")
        return lines + [f"note: {sentence}" for sentence in self.notes]

    def tell(self) -> None:
        """Prints the lines on stderr."""
        tell(self.to_json(), self.lines())


def _readable(value: Any) -> Any:
    """The value, with a replacement mark for every byte of a file's name that is not text: JSON holds text alone."""
    if isinstance(value, str):
        return os.fsencode(value).decode(errors="replace")
    if isinstance(value, Mapping):
        return {_readable(name): _readable(one) for name, one in value.items()}
    return [_readable(one) for one in value] if isinstance(value, list | tuple) else value


class Read(Protocol):
    """A data set that has been read, such as a `Dataset`."""

    spec: str
    schema: Schema

    @property
    def found(self) -> dict[str, Any]: ...


def reading_of(dataset: Read, prepared: str = "") -> Reading:
    """What a data set was read as. prepared: why its images are prepared so, to be added to what was done to them."""
    found = dataset.found
    done = found.get("prepared") or preparation(parse(dataset.spec), found)
    return Reading(
        data=found.get("spec", dataset.spec),
        kind=found["kind"],
        layout=found["layout"],
        rows=found.get("sides") or found["splits"],
        classes=list(dataset.schema.classes),
        sizes={"different": found.get("different_sizes", 0), "extremes": found.get("extremes") or _extremes(found)},
        prepared=", ".join(part for part in (done, prepared) if part),
        left_out=left_out(found),
        notes=[str(sentence) for sentence in found.get("notes", [])],
    )


def left_out(found: Mapping[str, Any]) -> list[LeftOut]:
    """What a set's readers say that they did not read: unreadable files, files without a partner, and all else."""
    bad = found.get("bad") or {"count": 0, "files": {}}
    files = dict(bad["files"])
    lonely = {name: why for name, why in files.items() if why.startswith(NO_PARTNER)}
    unread = [f"{name}: {why}" for name, why in files.items() if name not in lonely]
    alone = len(lonely) if unread else bad["count"]  # more may be counted than are named
    given = [
        *([LeftOut("cannot be read", bad["count"] - alone, unread[:SHOWN])] if unread else []),
        *([LeftOut(NO_PARTNER, alone, list(lonely)[:SHOWN])] if lonely else []),
    ]
    more = [one for one in found.get("left_out", []) if not (lonely and one["reason"] == WITHOUT_PARTNER)]
    return given + [LeftOut(one["reason"], one["count"], list(one["names"])) for one in more]


def preparation(spec: Spec, found: Mapping[str, Any]) -> str:
    """What is done to each image of a set, in words."""
    shapes = [shape for shape in found["fields"].values() if len(shape) == 3]
    if not shapes:
        return ""
    channels, height, width = shapes[0]
    size, colors = f"{width}x{height}", "RGB" if channels == 3 else "gray"
    if found["kind"] == "images":
        sizes = found.get("different_sizes", 0), list(found.get("sizes", {}))[:1]
        if sizes == (1, [size]) and not isinstance(spec.crop, tuple):
            done = "kept at their own size"
        elif not isinstance(spec.crop, tuple) and _alike(found, width, height):
            done = f"resized to {size}"
        elif spec.crop == "none":
            done = f"stretched to {size}"
        elif isinstance(spec.crop, tuple):
            done = f"center crop of {_shown(spec.crop)} resized to {size}"
        else:
            done = f"center crop to {size}"
        done += ", bilinear" * (spec.resize == "bilinear")
    else:
        done = scaling(spec)
        if isinstance(spec.crop, tuple):
            done += f", windows of {_shown(spec.crop)}"
    values = f", range {found['range']}" if "range" in found else ""
    return f"{done}, {colors}{values}" + ", mirrored at random in training" * spec.flip


def _alike(found: Mapping[str, Any], width: int, height: int) -> bool:
    """Whether all images have the shape of what they become, so that nothing is cut or stretched."""
    sizes = list(found.get("sizes", {}))
    if not sizes or found.get("different_sizes", 0) > len(sizes):
        return False
    own = [tuple(map(int, one.split("x"))) for one in sizes]
    return all(w * height == h * width for w, h in own)


def scaling(spec: Any) -> str:
    """How whole images are brought to a size, in words. spec: a `Spec`, or a `Geometry`."""
    if spec.load_size is not None:
        return f"stretched to {_shown(spec.load_size)}"
    if spec.scale_width is not None:
        return f"scaled to a width of {spec.scale_width}"
    if spec.size is not None:
        return f"{'stretched' if spec.crop == 'none' else 'center crop'} to {_shown(spec.size)}"
    return "kept at their own size"


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _extremes(found: Mapping[str, Any]) -> list[str]:
    """Of a set that was read before extremes were kept: of the sizes that are known."""
    from ganvas.data.building import extremes

    return extremes(found.get("sizes", {}))


def _rows(kind: str, rows: Mapping[str, Any]) -> str:
    if any(isinstance(count, Mapping) for count in rows.values()):
        of = {split: ", ".join(f"{side} {n:,}" for side, n in sides.items()) for split, sides in rows.items()}
        return ", ".join(f"{split} {counts}" for split, counts in of.items())
    total, noun = sum(rows.values()), NOUNS.get(kind, "row")
    if len(rows) == 1:
        return f"{total:,} {noun}{'s' * (total != 1)}"
    return f"{', '.join(f'{split} {n:,}' for split, n in rows.items())} {noun}s"


def _sizes(sizes: Mapping[str, Any]) -> str:
    if not sizes["extremes"]:
        return ""
    first, last = sizes["extremes"]
    return first if sizes["different"] < 2 else f"{sizes['different']:,} sizes from {first} to {last}"
