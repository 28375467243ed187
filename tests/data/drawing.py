"""Small pictures, and folders of them, for the tests of the data room."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.data import Dataset
from ganvas.data.pictures import Preparation, decode, quietly
from ganvas.data.source import BadPicture, Encoded
from ganvas.errors import GanvasError

Array = NDArray[Any]


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    """Random bytes of that shape, (H, W, C) by default 6x5 in colour."""
    return np.random.default_rng(seed).integers(0, 256, shape or (6, 5, 3), dtype=np.uint8)


def encoded(image: Image.Image | Array, form: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def read(data: bytes, *size: int, **more: Any) -> NDArray[np.uint8]:
    """Those bytes, decoded and prepared at that width and height (default: the picture's own, as stored)."""
    with quietly():
        if not size:
            with Image.open(io.BytesIO(data)) as image:
                size = image.size
        return decode(Encoded("a picture", data), Preparation((size[0], size[1]), **more))[0]


def read_or_reason(data: bytes, width: int, height: int) -> NDArray[np.uint8] | str:
    """What `read` gives, or why it does not."""
    try:
        return read(data, width, height)
    except BadPicture as error:
        return str(error)


def write(root: Path, files: Mapping[str, Array | bytes]) -> Path:
    """Writes files by their paths within ``root``: arrays as PNGs, whatever the suffix, and bytes as they are."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else encoded(content))
    return root


def everything(dataset: Dataset) -> NDArray[np.uint8]:
    """All pixels of a split."""
    return dataset.pixels(np.arange(len(dataset)))


def all_names(dataset: Dataset) -> list[str]:
    return dataset.names(np.arange(len(dataset)))


def sentence(error: GanvasError) -> str:
    """The message of an error, which is one line with an end."""
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def without_stores(cache: Path) -> None:
    """Forgets all stores that were built."""
    shutil.rmtree(cache / "stores", ignore_errors=True)
