"""A data set as the rest of the house sees it: rows of a store, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data.source import find_split
from ganvas.data.spec import Spec
from ganvas.data.store import Column, Store
from ganvas.errors import UsageError, nearest
from ganvas.schema import Schema

Rows = NDArray[np.integer]
Arrays = dict[str, NDArray[Any]]  # by field
PICTURES = ("image", "A", "B")  # fields of pixels


class Dataset:
    """One split of a source's rows.

    spec: the data spec, canonical. kind: "images" or "mixture" (those of several pictures a row are `Members`). split:
    which one this is; splits: rows of each. schema: fields of a row, and classes. flip: whether training mirrors
    images. mixture: the name of the known density that the rows are drawn from, if any. Raises UsageError for a split
    that is not there.
    """

    def __init__(self, spec: Spec, kind: str, layout: str, store: Store, mixture: str | None = None) -> None:
        counts = {
            name.partition(".")[0]: len(column) for name, column in store.columns.items() if name.endswith(".name")
        }
        self._about(spec, kind, counts, mixture)
        self._layout, self._store = layout, store
        self._columns = {
            field: store.columns[f"{self.split}.{field}"]
            for field in ("image", "vector", "label")
            if f"{self.split}.{field}" in store.columns
        }
        self.schema = Schema({field: _shape(field, c) for field, c in self._columns.items()}, self._classes())

    said: Mapping[str, Any] = {}
    """What is to be found of it beside what its store holds, as JSON."""

    def _about(self, spec: Spec, kind: str, splits: Mapping[str, int], mixture: str | None = None) -> None:
        spec = replace(spec, split=spec.split and find_split(spec.split, splits))
        self.spec, self.kind, self.flip, self.mixture, self._spec = str(spec), kind, spec.flip, mixture, spec
        self.splits = splits
        self.split = spec.split or ("train" if "train" in splits else next(iter(splits)))
        if self.split not in splits:
            raise UsageError(f"The data {self.spec!r} has no split {self.split!r}: {nearest(self.split, splits)}.")

    def _classes(self) -> tuple[str, ...]:
        return tuple(self._store.found["classes"].get(self.split, ()))

    def __len__(self) -> int:
        return self.splits[self.split]

    def __repr__(self) -> str:
        return f"<Dataset {self.spec!r}: {len(self)} rows of {self.split}>"

    @cached_property
    def fingerprint(self) -> str:
        """A digest of this split's rows as prepared: the same wherever the source lies, however it was packed."""
        return self._store.fingerprint([f"{self.split}.{field}" for field in self._columns], self.schema.classes)

    @property
    def content(self) -> str | None:
        """What results of these rows may be kept under: the fingerprint, where it is of what the rows hold."""
        return self.fingerprint

    @property
    def found(self) -> dict[str, Any]:
        """What there is, as JSON: kind, layout, split, rows of each split, shapes of the fields, rows of each class,
        sizes and modes of the files, bad files and why."""
        found = self._found()
        return {
            "kind": self.kind,
            "layout": found.pop("layout"),
            "spec": self.spec,
            "split": self.split,
            "rows": len(self),
            "splits": dict(self.splits),
            "fields": {field: list(shape) for field, shape in self.schema.fields.items()},
            **found,
            **self.said,
            "fingerprint": self.fingerprint,
        }

    def _found(self) -> dict[str, Any]:
        found = self._store.found
        return {**found, "layout": self._layout, "classes": found["classes"].get(self.split, {})}

    def part(self, split: str) -> Dataset:
        """Another split of the same source. Raises UsageError if there is none of that name."""
        return Dataset(replace(self._spec, split=split), self.kind, self._layout, self._store, self.mixture)

    def names(self, rows: Rows) -> list[str]:
        """The names of rows: paths within the source, or numbers where it has none."""
        column = self._store.columns[f"{self.split}.name"]
        return [bytes(column[int(row)]).decode(errors="surrogateescape") for row in rows]

    def spread(self, n: int) -> NDArray[np.int64]:
        """n rows (or all) from all over the set, ascending."""
        return np.linspace(0, len(self) - 1, min(n, len(self))).round().astype(np.int64)

    def pixels(self, rows: Rows) -> NDArray[np.uint8]:
        """The images of rows, uint8 [B, H, W, C]."""
        return self.arrays(rows)["image"]

    def arrays(self, rows: Rows) -> Arrays:
        """The fields of rows as they are kept: ``image`` uint8 [B, H, W, C], the others as `tensors` gives them."""
        return {field: column.take(rows) for field, column in self._columns.items()}

    def tensors(self, rows: Rows, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """The fields of rows: ``image`` float32 [B, C, H, W] in [-1, 1], channels-last, or ``vector`` float32 [B, D];
        ``label`` int64 [B] where there are classes."""
        return to_tensors(self.arrays(rows), torch.device(device))

    def whole(self, row: int, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """One row as a batch of one, uncropped where rows are cut to windows."""
        return self.tensors(np.array([row]), device)

    def domain(self, member: str) -> Dataset:
        """One member of rows of several pictures by itself, as a set of images. Raises UsageError if there is none."""
        raise UsageError(f"{self.spec} has no member {member!r}: it is {self.kind} data.")

    def chunks(
        self, batch_size: int, n: int | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[dict[str, Tensor]]:
        """The first n rows (default: all) in order, as batches."""
        end = min(len(self), len(self) if n is None else n)
        for start in range(0, end, batch_size):
            yield self.tensors(np.arange(start, min(start + batch_size, end)), device)


def _shape(field: str, column: Column) -> tuple[int, ...]:
    shape = column.layout.shape
    return (shape[2], shape[0], shape[1]) if field == "image" else shape


def to_tensors(arrays: Arrays, device: torch.device, *, mirrored: NDArray[np.bool_] | None = None) -> dict[str, Tensor]:
    """What `Dataset.arrays` gave, as `Dataset.tensors`. mirrored [B]: which images to flip left to right, in place."""
    batch = {}
    for field, values in arrays.items():
        if field in PICTURES:
            if mirrored is not None:
                values[mirrored] = values[mirrored][:, :, ::-1]
            batch[field] = _to(values, device).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)
        else:
            batch[field] = _to(values, device)
    return batch


def _to(values: NDArray[Any], device: torch.device) -> Tensor:
    """On the device; to CUDA from pinned memory, without waiting. (Bytes travel: they become floats over there.)"""
    host = torch.from_numpy(values)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)
