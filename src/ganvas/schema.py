"""What a row of the data looks like: all that a system must know of a data set to build its nets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Schema:
    """The fields of a row and their shapes, without the batch: ``image`` (C, H, W), ``vector`` (D,), ``label`` ()."""

    fields: Mapping[str, tuple[int, ...]]
    classes: tuple[str, ...] = field(default=())

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self.fields[name]
