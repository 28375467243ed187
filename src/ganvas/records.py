"""What a run folder's files of rows and its config may hold, checked as they are read: a kill, another program or a
person may have written them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ganvas.bounds import decode_json, read_lines

Step = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
SIDES = {"image": 3, "A": 3, "B": 3, "vector": 1, "label": 0, "labels": 2, "instances": 2}  # by field of a schema
MOST_SIDE = 1 << 20  # of a field
MOST_VALUES = 1 << 31  # of a field of one row


class Tick(msgspec.Struct):
    """A row of ``stats.jsonl``, which may hold more."""

    step: Step
    images: Count
    seconds: Seconds
    terms: dict[str, float | None]
    health: list[str] = []


class Told(msgspec.Struct):
    """A figure of ``metrics.jsonl``, which may hold more."""

    value: float | None
    n: Count | None = None
    std: float | None = None
    recipe: dict[str, Any] | None = None
    parts: dict[str, float | None] | None = None


class Evaluation(msgspec.Struct):
    """A row of ``metrics.jsonl``, which may hold more."""

    step: Step
    metrics: dict[str, Told]


def read_rows(path: Path, kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """The lines of a file that are rows of that kind, if it is there; others are left out, as a line that a kill tore.

    Raises OSError for what cannot be read.
    """
    rows: list[dict[str, Any]] = []
    try:
        for line in read_lines(path):
            try:
                row = decode_json(line)
                msgspec.convert(row, kind)
            except (ValueError, OverflowError):
                continue
            rows.append(row)
    except FileNotFoundError:
        pass
    return rows


def flaw_of(schema: Mapping[str, list[int]]) -> str | None:
    """What no data has of the fields and shapes in a config, if anything."""
    for name, shape in schema.items():
        if name in SIDES and len(shape) != SIDES[name]:
            return f"its schema gives {name} {len(shape)} sides instead of {SIDES[name]}"
        values = 1
        for side in shape:
            values *= max(1, min(abs(side), MOST_SIDE + 1))
            if not 0 <= abs(side) <= MOST_SIDE or values > MOST_VALUES:
                return f"its schema gives {name} the shape {shape}, which no data has"
    return None
