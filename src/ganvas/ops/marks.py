"""Marks in image files that say that Ganvas has written them, and whether they are sheets or single images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

SHEET, IMAGE = "ganvas sheet", "ganvas image"
HEAD = 1024  # bytes at either end of a file that hold the mark, after the palette of a GIF
SOFTWARE = 0x0131  # the Exif tag
JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}
LOSSY = {".jpg": JPEG, ".jpeg": JPEG, ".webp": {"quality": 95}}


def save_marked(image: Image.Image, path: Path, mark: str) -> None:
    """Write an image with a mark; the suffix says the format. JPEG and WebP are written at quality 95."""
    suffix, more = path.suffix.lower(), dict[str, Any]()
    if suffix == ".png":
        more["pnginfo"] = info = PngImagePlugin.PngInfo()
        info.add_text("Software", mark)
    elif suffix in (".jpg", ".jpeg"):
        more["comment"] = mark
    elif suffix == ".webp":
        more["exif"] = exif = Image.Exif()
        exif[SOFTWARE] = mark
    image.save(path, **more, **LOSSY.get(suffix, {}))


def mark_of(path: str) -> str | None:
    """The mark of an image file, or None; nothing is decoded."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            if head.startswith(b"RIFF"):  # WebP has it at its end
                file.seek(max(0, file.seek(0, 2) - HEAD))
                head += file.read(HEAD)
    except OSError:
        return None
    return next((mark for mark in (SHEET, IMAGE) if mark.encode() in head), None)
