"""Shards for the tests of the data room, written by the libraries that write them elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from drawing import Array, encoded, noise

CLASSES = ("cat", "dog", "eel")


def pictures(n: int, first: int = 0) -> list[Array]:
    """n pictures, each unlike any other."""
    return [noise(first + i) for i in range(n)]


def parquet(
    path: Path, values: Sequence[Array | bytes | None], labels: Sequence[Any] | None = None, **how: Any
) -> Path:
    """A Parquet file with the columns image (a struct of bytes and path) and label, as plain Arrow writes it."""
    data = [value if value is None or isinstance(value, bytes) else encoded(value) for value in values]
    table = {"image": pa.array([{"bytes": value, "path": f"{i}.png"} for i, value in enumerate(data)])}
    if labels is not None:
        table["label"] = pa.array(labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, **how)
    return path


def hub_folder(root: Path, files: Mapping[str, Sequence[Array]], names: Sequence[str] = CLASSES) -> Path:
    """A folder as the Hub has it, written by `datasets`: file name -> pictures, in turn of each class."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    datasets.disable_progress_bars()
    for name, values in files.items():
        rows = {
            "image": [{"bytes": encoded(value), "path": f"{i}.png"} for i, value in enumerate(values)],
            "label": [i % len(names) for i in range(len(values))],
        }
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path), batch_size=4)
    return root
