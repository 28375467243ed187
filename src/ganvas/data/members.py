"""A data set whose rows have several pictures, each of its own size in the store: windows of them as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data.dataset import Arrays, Dataset, Rows, to_tensors
from ganvas.data.geometry import Corners, centred, cut
from ganvas.data.spec import Size, Spec
from ganvas.data.store import Column, Store, digest
from ganvas.errors import DataError, UsageError, nearest
from ganvas.schema import Schema

Array = NDArray[Any]


@dataclass(frozen=True)
class Side:
    """Fields whose rows belong together: they share an order, windows and flips."""

    fields: dict[str, Column]
    sizes: Array  # [N, 2]: height and width
    name: Column

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, rows: Rows, corners: Corners, window: Size, mirrored: NDArray[np.bool_] | None = None) -> Arrays:
        """Those windows of rows, copied and stacked: pictures uint8 [B, H, W, C], labels uint8, instances int32."""
        taken = {}
        for field, column in self.fields.items():
            windows = [
                cut(self.whole(field, row), corner, window, mirrored is not None and bool(mirrored[i]))
                for i, (row, corner) in enumerate(zip(rows.tolist(), corners, strict=True))
            ]
            taken[field] = np.stack(windows) if column.layout.dtype != "uint16" else np.stack(windows).astype(np.int32)
        return taken

    def whole(self, field: str, row: int) -> Array:
        """A field of one row, [H, W, C] or [H, W]."""
        column = self.fields[field]
        height, width = self.sizes[row]
        return column[row].reshape(height, width, *column.layout.shape)


class Members(Dataset):
    """One split of a set whose rows have several pictures (kinds paired, unpaired and labels), or one member of it.

    Fields: ``A`` and ``B``, or ``labels`` (255 is void), ``instances`` where there are such maps, and ``image``. Two
    unpaired sides have rows, order, flips and windows of their own; the length is that of the longer one, and rows
    begin again in the other. crop: the window that rows are cut to, random in training (see `Batches`), centred in
    `tensors`; None: whole rows. whole: rows may be of several sizes though no window is cut, and `whole` gives them.
    Raises UsageError for a split or member that is not there, DataError where rows cannot be cut to one size, or a
    label id is beyond the classes.
    """

    crop: Size | None

    def __init__(self, spec: Spec, kind: str, layout: str, store: Store, *, whole: bool = False) -> None:
        self._layout, self._store, self._whole = layout, store, whole
        rows = store.found["rows"]
        self._about(spec, kind, {split: max(sides.values()) for split, sides in rows.items()})
        self.sides = [self._side(side) for side in rows[self.split]]
        self._columns = {field: column for side in self.sides for field, column in side.fields.items()}
        self._cut(spec.crop if isinstance(spec.crop, tuple) else None)

    def _side(self, side: str) -> Side:
        columns, known = self._store.columns, ("A", "B", "labels", "instances", "image")
        fields = {
            field: columns[f"{self.split}.{field}"]
            for field in known
            if f"{self.split}.{field}" in columns and side in ("", field)
        }
        prefix = f"{self.split}.{side}"
        return Side(fields, columns[f"{prefix}size"].all(), columns[f"{prefix}name"])

    def _cut(self, crop: Size | None) -> None:
        """Sets the window and the schema. Raises DataError where rows of any split do not fit it."""
        columns = self._sizes()
        sizes = np.concatenate([values for values, _ in columns])
        self.crop = crop
        if crop is None:
            same = bool((sizes == sizes[0]).all())
            if not same and not self._whole:
                raise DataError(
                    f"{self.spec} has pictures of different sizes ({self._extremes(sizes)}), which do not stack: say "
                    "crop=256 for windows of them, or load_size=256 to stretch them."
                )
            height, width = self.sides[0].sizes[0].tolist()
        else:
            width, height = crop
            for values, names in columns:
                if len(small := np.flatnonzero((values < (height, width)).any(1))):
                    h, w = values[small[0]]
                    one = len(small) == 1
                    some = f"A picture of {self.spec} is" if one else f"{len(small)} pictures of {self.spec} are"
                    raise DataError(
                        f"{some} smaller than the crop of {width}x{height}{', ' if one else ', such as '}"
                        f"{_name(names, int(small[0]))} ({w}x{h}): say a smaller crop, or load_size={_shown(crop)} to "
                        "enlarge."
                    )
        self.window = (width, height)
        self.schema = Schema({field: self._shape(column) for field, column in self._columns.items()}, self._ids())

    def _sizes(self) -> list[tuple[Array, Column]]:
        """The sizes of the rows of every split and side, with their names."""
        columns = self._store.columns
        return [
            (columns[name].all(), columns[f"{name.removesuffix('size')}name"])
            for name in columns
            if name.endswith("size")
        ]

    def _extremes(self, sizes: Array) -> str:
        low, high = sizes[sizes.prod(1).argmin()], sizes[sizes.prod(1).argmax()]
        return f"{low[1]}x{low[0]} to {high[1]}x{high[0]}"

    def _shape(self, column: Column) -> tuple[int, ...]:
        width, height = self.window
        return (*column.layout.shape, height, width)

    def _ids(self) -> tuple[str, ...]:
        """The classes of label maps. Raises DataError for an id beyond those that the spec says there are."""
        if "labels" not in self._columns:
            return ()
        highest = self._store.found["highest"]
        top, file = max(map(tuple, highest.values()))
        if self._spec.classes is not None and top >= self._spec.classes:
            raise DataError(
                f"{file} has the label id {top}, beyond classes={self._spec.classes} (ids 0 to "
                f"{self._spec.classes - 1}, and 255 is void): mend it, or say how many there are."
            )
        return tuple(map(str, range(self._spec.classes or top + 1)))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of this split's rows as prepared and of the window they are cut to: the same wherever they lie."""
        names = [name for name in self._store.columns if name.partition(".")[0] == self.split]
        kept = [name for name in names if not name.endswith("name") and self._has(name.partition(".")[2])]
        return self._store.fingerprint(kept, self.kind, self.crop, self.schema.classes)

    def _has(self, column: str) -> bool:
        return column.endswith("size") or column in self._columns

    def part(self, split: str) -> Members:
        """Another split of the same source. Raises UsageError if there is none of that name."""
        return Members(replace(self._spec, split=split), self.kind, self._layout, self._store, whole=self._whole)

    def names(self, rows: Rows) -> list[str]:
        """The names of rows: of the first member's file, within the folder of its member."""
        side = self.sides[0]
        return [_name(side.name, int(row) % len(side)) for row in rows]

    def arrays(self, rows: Rows) -> Arrays:
        """The centred windows of rows as they are kept: pictures uint8 [B, H, W, C], ``labels`` uint8 [B, H, W],
        ``instances`` int32 [B, H, W]."""
        taken: Arrays = {}
        for side in self.sides:
            mine = np.asarray(rows) % len(side)
            taken |= side.take(mine, centred(side.sizes[mine], self.window), self.window)
        return taken

    def tensors(self, rows: Rows, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """The centred windows of rows: pictures float32 [B, C, H, W] in [-1, 1], channels-last; ``labels`` uint8 and
        ``instances`` int32 [B, H, W]."""
        return super().tensors(rows, device)

    def whole(self, row: int, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """One row uncropped, as `tensors` gives it: each tensor with a batch of one, of the row's own size."""
        taken: Arrays = {}
        for side in self.sides:
            mine = np.array([row % len(side)])
            height, width = side.sizes[mine[0]].tolist()
            taken |= side.take(mine, np.zeros((1, 2), np.int64), (width, height))
        return to_tensors(taken, torch.device(device))

    def domain(self, member: str) -> Domain:
        """One member by itself, as a set of images. Raises UsageError if there is none of that name."""
        return Domain(self, member)

    def _found(self) -> dict[str, Any]:
        found = dict(self._store.found)
        rows, pixels = found.pop("rows"), found.pop("pixels").get(self.split)
        found.pop("highest")
        found |= {"layout": self._layout, "classes": {}}
        if pixels:
            total = sum(pixels)
            shares = {name: pixels[int(name)] / total for name in self.schema.classes}
            found |= {"shares": shares, "void": pixels[255] / total}
        if len(self.sides) > 1:
            found["sides"] = rows
        return found


class Domain(Members):
    """One member of a set by itself: a set of images, its length that of the member."""

    def __init__(self, base: Members, member: str) -> None:
        pictures = [field for field, column in base._columns.items() if column.layout.shape]
        if member not in pictures:
            raise UsageError(f"{base.spec} has no pictures {member!r}: {nearest(member, pictures)}.")
        self._base, self._member, self._spec = base, member, base._spec
        self._layout, self._store, self._whole = base._layout, base._store, base._whole
        self.spec, self.kind, self.flip, self.mixture = base.spec, "images", base.flip, None
        self.split = base.split
        side = next(side for side in base.sides if member in side.fields)
        index = next(i for i, one in enumerate(base.sides) if one is side)
        keys = list(self._store.found["rows"][self.split])
        self.splits = {split: sides[keys[index]] for split, sides in self._store.found["rows"].items()}
        self._columns = {"image": side.fields[member]}
        self.sides = [Side(dict(self._columns), side.sizes, side.name)]
        self._cut(base.crop)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the member's rows as prepared."""
        names = [f"{self.split}.{self._member}"]
        sizes = digest(self.sides[0].sizes.tolist())
        return self._store.fingerprint(names, "domain", self.crop, sizes)

    def part(self, split: str) -> Domain:
        """Another split of the same source."""
        return self._base.part(split).domain(self._member)


def _shown(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _name(column: Column, row: int) -> str:
    return bytes(column[row]).decode(errors="surrogateescape")
