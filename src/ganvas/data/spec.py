"""Data specs: ``[KIND:]SOURCE[?key=value&...]``, read into a `Spec` and written back in one canonical way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from ganvas.data.ranges import Range, read_range
from ganvas.errors import UsageError, nearest

Size = tuple[int, int]  # width, height

KINDS = {
    "images": "a folder, zip or tar of pictures (folders named train, test or val, in any case, and training, testing, "
    "valid, validation, dev or eval, are splits; others are classes), .npz or .npy arrays, Parquet files or WebDataset "
    "shards (a folder of them, or a pattern: 'data/train-*.parquet', 'train-{000..119}.tar'), or a named set such as "
    "digits or cifar10",
    "hub": "pictures of the Hugging Face Hub, by the name of their data set: hub:mnist",
    "mixture": "points of a known density in the plane: ring8, grid25 or spiral",
    "paired": "pairs of pictures, matched by name: a folder with A/ and B/, trainA/ and trainB/ or train_A/ and "
    "train_B/ (also test, val), two folders (paired:A,B), or pictures that hold a pair each (?side-by-side=AB)",
    "unpaired": "two sets of pictures: a folder with trainA/ and trainB/ (also testA/, ...) or two, unpaired:A,B",
    "labels": "label maps, where 255 is void, and their photographs: a folder with train_label/ and train_img/, and "
    "train_inst/ where there are instance maps (also test_, val_)",
}
GROUPED = ("paired", "unpaired", "labels")  # a row has several pictures
PLANNED = (
    *("sr", "blur", "ljspeech", "piper", "filelist", "clips", "espeak"),
    *("gaussian", "linear-gaussian"),
)
KIND = re.compile(r"([a-z][a-z-]+):")
LARGEST = 4096  # pixels a side
RESIZES = ("bicubic", "bilinear")


# ---- values of the keys: each reader raises ValueError saying what it wants ------------------------------------------
def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError("a name such as train or test")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < 1:
        raise ValueError("a whole number from 1")
    return int(text)


def _pixels(text: str) -> int:
    if not (match := re.fullmatch(r"([0-9]{1,12})(M?)", text)) or int(match[1]) < 1:
        raise ValueError("a number of pixels such as 400000000 or 400M")
    return int(match[1]) * (1_000_000 if match[2] else 1)


def _fraction(text: str) -> float:
    if not re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)(e-[0-9]{1,3})?%?", text):
        raise ValueError("a fraction such as 0.1 or 10%")
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= value <= 1:
        raise ValueError("a fraction from 0 to 1 (or 0% to 100%)")
    return value


def _part(text: str) -> float:
    value = _fraction(text)
    if not 0 < value < 1:
        raise ValueError("a fraction between 0 and 1, neither of them")
    return value


def read_size(text: str) -> Size:
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
        raise ValueError(f"a side in pixels or WIDTHxHEIGHT, such as 64 or 640x360, up to {LARGEST}")
    return width, height


def _crop(text: str) -> str | Size:
    if text in ("centre", "none"):
        return text
    try:
        return read_size(text)
    except ValueError as error:
        raise ValueError("centre, none, or a window in pixels such as 108 or 178x218") from error


def _classes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 255:
        raise ValueError("how many there are, from 1 to 255")
    return int(text)


def _width(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= LARGEST:
        raise ValueError(f"a width in pixels, up to {LARGEST}")
    return int(text)


def _sides(text: str) -> str:
    if text not in ("AB", "BA"):
        raise ValueError("AB (A is the left half) or BA")
    return text


def _resize(text: str) -> str:
    if text not in RESIZES:
        raise ValueError(" or ".join(RESIZES))
    return text


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _channels(text: str) -> str:
    if text not in ("rgb", "grey"):
        raise ValueError("rgb or grey")
    return text


def _void(text: str) -> str:
    if text not in ("255", "none"):
        raise ValueError("255 or none")
    return text


def _config(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text):
        raise ValueError("a name such as default or plain_text")
    return text


@dataclass(frozen=True)
class Key:
    """A key of data specs: how its value reads, and what it does."""

    read: Callable[[str], Any]
    help: str


KEYS = {
    "split": Key(_word, "which split to show: train, test, ... (default: train, else the first there is)"),
    "holdout": Key(
        _part, "where there is no test split, make one of that fraction, chosen by a hash of the file's name"
    ),
    "size": Key(
        read_size, "64 or 640x360 (width x height); default: the pictures' own if all alike and <= 256, else 64"
    ),
    "crop": Key(
        _crop,
        "centre (default: the largest centred window of that shape), none (stretch; of what is translated: keep each "
        "image at its own size), or pixels: 108; of paired, "
        "unpaired and labels data pixels alone, and the window is random in training",
    ),
    "resize": Key(
        _resize,
        "bicubic (default, antialiased), or bilinear without antialiasing, as torch's interpolate(align_corners=False)",
    ),
    "flip": Key(_truth, "true: mirror each training image at random, left to right"),
    "channels": Key(_channels, "rgb or grey; default rgb for files, arrays keep theirs"),
    "range": Key(
        read_range,
        "which values are black and white in arrays of other numbers than uint8 and in images of 16 and 32 bits: unit "
        "(0 to 1), signed (-1 to 1), numbers such as 0..4095, or auto (default): 0..65535 in 16-bit files; otherwise "
        "decided once by all values of the set, and told",
    ),
    "max-pixels": Key(_pixels, "images of more pixels are not read (default 100M, for 100 million)"),
    "limit": Key(_count, "at most so many rows of each split, chosen by a hash of the file's name"),
    "max-bad": Key(_fraction, "the fraction of files that may be unreadable and is skipped, at least one (default 1%)"),
    "strict": Key(_truth, "true: a single unreadable file is an error"),
    "stream": Key(
        _truth,
        "true: read from the files each time, never into the store, for sets larger than the disk; rows are shuffled "
        "within windows, and where no size is given the first pictures tell it",
    ),
    "config": Key(_config, "hub: which of the data set's configurations, where it has several"),
    "load_size": Key(
        read_size,
        "paired, unpaired, labels: stretch the whole picture to 286 or 640x360 (default, where sizes differ: "
        "load_size=286&crop=256)",
    ),
    "scale_width": Key(_width, "paired, unpaired, labels: scale to that width, whatever the height becomes"),
    "classes": Key(_classes, "labels: how many classes there are (default: the highest id and one more)"),
    "void": Key(
        _void,
        "labels: 255 (default) is the id of pixels of no class; none: masks of 0 and 255 are the classes 0 and 1 "
        "(the default where all maps hold nothing else)",
    ),
    "side-by-side": Key(_sides, "paired: pictures hold a pair each, AB (A is the left half) or BA"),
}
FIELDS = {name.replace("-", "_"): name for name in KEYS}  # of `Spec` -> the key
PICTURE_KEYS = (  # which say nothing about vectors
    *("size", "crop", "resize", "flip", "channels", "range", "max-pixels"),
    *("max-bad", "strict", "stream"),
)
GROUPED_KEYS = ("load_size", "scale_width", "classes", "void", "side-by-side")  # nothing about single pictures
SCALINGS = ("size", "load_size", "scale_width")


def kinds() -> dict[str, str]:
    """Every kind of data, and what its source is."""
    return dict(KINDS)


def keys() -> dict[str, str]:
    """Every key of a data spec, and what it does."""
    return {name: key.help for name, key in KEYS.items()}


@dataclass(frozen=True)
class Spec:
    """A data spec, read. Its `str` is canonical: keys in one order, defaults left out, and it reads back as itself.

    None is what was not said: a named set may then have its own preparation, else ``crop`` is centre and ``resize``
    bicubic.
    """

    source: str
    kind: str | None = None
    split: str | None = None
    holdout: float | None = None
    size: Size | None = None
    crop: str | Size | None = None
    resize: str | None = None
    flip: bool = False
    channels: str | None = None
    range: Range | None = None
    max_pixels: int | None = None
    limit: int | None = None
    max_bad: float = 0.01
    strict: bool = False
    stream: bool = False
    config: str | None = None
    load_size: Size | None = None
    scale_width: int | None = None
    classes: int | None = None
    void: str | None = None
    side_by_side: str | None = None

    def __str__(self) -> str:
        source = self.source.replace("%", "%25").replace("?", "%3F")
        if self.kind is None and KIND.match(source):  # a path that begins like a kind
            source = source.replace(":", "%3A", 1)
        given = [(f.name, getattr(self, f.name)) for f in fields(self)[2:] if getattr(self, f.name) != f.default]
        query = "&".join(f"{FIELDS[name]}={_shown(value)}" for name, value in given)
        return (f"{self.kind}:" if self.kind else "") + source + (f"?{query}" if query else "")


MOST_ECHOED = 60  # characters of what a user wrote that a sentence repeats


def shortened(text: str) -> str:
    """What a user wrote, cut in the middle where it is long."""
    if len(text) <= 2 * MOST_ECHOED:
        return text
    return f"{text[:MOST_ECHOED]}...{text[-MOST_ECHOED:]}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return str(value[0]) if value[0] == value[1] else f"{value[0]}x{value[1]}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse(text: str | os.PathLike[str]) -> Spec:
    """Reads a data spec. In SOURCE, ``%3F`` is a question mark, ``%3A`` a colon and ``%25`` a percent sign. A file or
    folder whose name begins like a kind that there is not (``my-maps:1.png``) is that file.

    Raises UsageError for an unknown kind or key (naming the nearest), a key given twice, or a value that its key
    does not take.
    """
    text = os.fspath(text) if isinstance(text, os.PathLike) else text
    if not isinstance(text, str):
        raise UsageError(f"A data spec must be text, such as digits or a folder's path, not {type(text).__name__}.")
    source, _, query = text.partition("?")
    shown = shortened(text)
    kind = None
    if (match := KIND.match(source)) and (match[1] in KINDS or not os.path.exists(_unescaped(source))):
        kind, source = match[1], source[match.end() :]
        if kind in PLANNED:
            raise UsageError(f"This version does not read {kind!r} data yet: the kinds are {', '.join(KINDS)}.")
        if kind not in KINDS:
            raise UsageError(
                f"There is no kind of data {shortened(kind)!r}: {nearest(kind, KINDS)}; write images:PATH for a path "
                "with a colon."
            )
    source = _unescaped(source)
    if not source or "\0" in source:
        raise UsageError(f"The data spec {shown!r} names no source: [KIND:]SOURCE[?key=value&...], such as digits.")
    given: dict[str, Any] = {}
    for pair in query.split("&") if query else []:
        name, equals, value = pair.partition("=")
        if name not in KEYS:
            raise UsageError(f"The data spec {shown!r} has no key {shortened(name)!r}: {nearest(name, KEYS)}.")
        if not equals or name in given:
            raise UsageError(f"In the data spec {shown!r}, {name} is {'given twice' if equals else 'without a value'}.")
        try:
            given[name] = KEYS[name].read(value)
        except ValueError as error:
            echoed = shortened(value) if value.isprintable() else repr(shortened(value))
            raise UsageError(f"In the data spec {shown!r}, {name}={echoed} does not read: it takes {error}.") from None
        if name == "config" and kind != "hub":
            raise UsageError(
                f"In the data spec {shown!r}, config says nothing: only sets of the Hub (hub:NAME) have any."
            )
    spec = Spec(source, kind, **{name.replace("-", "_"): value for name, value in given.items()})
    if kind is not None:
        suited(spec, kind)
    return spec


def _unescaped(source: str) -> str:
    return re.sub("%3F|%3A|%25", lambda escape: chr(int(escape[0][1:], 16)), source, flags=re.I)


def suited(spec: Spec, kind: str) -> None:
    """Raises UsageError where a spec says what makes no sense of data of that kind."""
    said = [key for field, key in FIELDS.items() if getattr(spec, field) != getattr(Spec, field)]
    where = f"In the data spec {shortened(str(spec))!r},"
    for key in said:
        why = ""
        if kind == "mixture" and key in PICTURE_KEYS:
            why = "a mixture has no pictures"
        elif kind not in GROUPED and key in GROUPED_KEYS:
            why = "it is of paired, unpaired or labels data alone"
        elif kind != "labels" and key in ("classes", "void"):
            why = "only labels data has label maps"
        elif kind in GROUPED and kind != "paired" and key == "side-by-side":
            why = "only paired data has pairs"
        elif kind in GROUPED and key == "resize":
            why = f"{kind} data is resized bicubically, and its ids to the nearest"
        if why:
            raise UsageError(f"{where} {key} says nothing: {why}.")
    if kind not in GROUPED:
        return
    if spec.stream:
        raise UsageError(f"{where} stream=true makes no sense: {kind} data is read into the store; leave it away.")
    if isinstance(spec.crop, str):
        raise UsageError(f"{where} crop={spec.crop} makes no sense: {kind} data takes a window in pixels, as crop=256.")
    if len(scalings := [key for key in said if key in SCALINGS]) > 1:
        raise UsageError(f"{where} {' and '.join(scalings)} contradict each other: say one of them.")
    scaled = spec.size or spec.load_size
    if scaled and spec.crop and (spec.crop[0] > scaled[0] or spec.crop[1] > scaled[1]):
        raise UsageError(f"{where} the crop is larger than the pictures: {_shown(spec.crop)} of {_shown(scaled)}.")


def filled(spec: Spec, keys: str) -> Spec:
    """The spec with those keys (``size=64&crop=none``) wherever it says nothing itself."""
    given = parse(f"it?{keys}")
    unsaid = [f.name for f in fields(Spec) if getattr(spec, f.name) is None]
    return replace(spec, **{name: getattr(given, name) for name in unsaid})


def slug(text: str) -> str:
    """The source of a data spec as part of a file name: ``~/Pictures/holidays?size=64`` as ``holidays``."""
    source = text.partition("?")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9.]+", "-", source).strip("-.") or "data"
