"""Whole pictures and label maps through a run that translates: of any size, a few at a time, and back again.

A net takes pictures whose sides are multiples of a number. Others are continued to the right and below by their mirror
image (a label map, its instances and the picture that gives it its style alike), and what comes out is cut back: so
every region goes on as itself, and the net sees no void and no border that are not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas.data import Dataset, open_input, parse
from ganvas.errors import DataError, UsageError
from ganvas.inputs import is_own
from ganvas.nets.isola import ResnetGenerator
from ganvas.ops.legend import ids_in, with_legend
from ganvas.ops.maps import VOID, coloured
from ganvas.ops.sheet import save_image, save_pixels, table, to_uint8
from ganvas.output import kind_of, save_arrays, save_images, saving, watched
from ganvas.run import Run
from ganvas.ways import bounded, together


class Inputs(Protocol):
    """What is translated, such as a `Dataset`: rows, each of a size of its own."""

    def __len__(self) -> int: ...
    def names(self, rows: Any) -> list[str]: ...
    def whole(self, row: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Wish:
    """How to translate.

    direction: AtoB or BtoA; None: the first that the system has. n: results of each row, those of ``seed``, ``seed +
    1``, ...: result k of row i depends on (seed + k, i) alone. as_published: with dropout. chosen: class -> which of
    its styles. style: a picture [1, C, H, W] that every map takes its style from, region by region. cycle: also back.
    """

    direction: str | None = None
    n: int = 1
    seed: int = 0
    as_published: bool = False
    chosen: Mapping[int, int] = field(default_factory=dict)
    style: Tensor | None = None
    cycle: bool = False


@dataclass(frozen=True)
class Translation:
    """A row and what became of it, on the CPU.

    source: a picture float32 [C, H, W] in [-1, 1], or a label map uint8 [H, W]. results: [n, C, H, W]; back: the same
    of the way back.
    """

    name: str
    source: Tensor
    results: Tensor
    back: Tensor | None = None


# ---- what goes in ----------------------------------------------------------------------------------------------------
def reads_labels(run: Run) -> bool:
    """Whether the run translates label maps; else pictures."""
    return "labels" in run.config.schema


def inputs(run: Run, game: Any, spec: str, *, direction: str | None = None, instances: str | None = None) -> Dataset:
    """What a file, a folder or a data spec holds, prepared as the data that the run was trained on, each row whole.

    direction: whose pictures to take where the data has two sides (default: the system's own). instances: a file or
    folder of instance maps, where the spec has none of its own. Raises UsageError, DataError where they do not fit.
    """
    c, folder = run.config, run.folder
    own = partial(is_own, run)
    if not reads_labels(run):
        if instances is not None:
            raise UsageError(f"{folder} translates pictures, not label maps: leave --instances away.")
        member = (direction or c.leaves.get("direction") or "AtoB")[0]
        dataset = open_input(spec, field="image", like=_preparation(run, game), member=member, own=own)
        wanted, found = c.schema[member][0], dataset.schema["image"][0]
        if wanted != found:
            raise DataError(f"{folder} takes pictures of {wanted} channels, and those of {spec} have {found}.")
        return dataset
    if instances is not None and not bounded(game):
        raise UsageError(f"{folder} was trained without instance maps: leave --instances away.")
    dataset = open_input(spec, field="labels", like=c.data, classes=len(c.classes), instances=instances, own=own)
    if bounded(game) and "instances" not in dataset.schema:
        raise UsageError(f"{folder} was trained with instance maps, and {spec} has none: --instances FILE or FOLDER.")
    return dataset


def _preparation(run: Run, game: Any) -> str:
    """The data spec whose preparation images get. An imported net that is fully convolutional keeps each image's size,
    unless the import was told one (which is then the window, too)."""
    own = parse(run.config.data)
    free = run.config.imported is not None and all(isinstance(net, ResnetGenerator) for net in _generators(game))
    return str(replace(own, load_size=None)) if free and own.crop is None else run.config.data


def _generators(game: Any) -> list[nn.Module]:
    return [net for name, net in game.named_children() if name in ("G", "G_A", "G_B")]


def style_picture(run: Run, spec: str) -> Tensor:
    """The one picture [1, C, H, W] that ``spec`` names, prepared as the run's own. Raises UsageError, DataError."""
    c = run.config
    dataset = open_input(spec, field="image", like=c.data)
    if len(dataset) != 1:
        raise UsageError(f"--style-from takes one picture, and {spec} has {len(dataset)}.")
    return dataset.whole(0)["image"]


# ---- what can be done ------------------------------------------------------------------------------------------------
def styled(game: Any) -> bool:
    """Whether a label map has pictures in several styles: of each class, so many."""
    return hasattr(game, "draw_style") and getattr(game, "E", None) is not None


def checked(game: Any, wish: Wish, lacks: Collection[str] = ()) -> str:
    """The direction to translate in. lacks: nets of the game that were never trained nor imported.

    Raises UsageError for a wish that the game cannot grant.
    """
    ways: tuple[str, ...] = game.directions
    if wish.direction not in (None, *ways):
        use = "use one of them for --direction" if len(ways) > 1 else "leave --direction out"
        raise UsageError(f"This run translates {' and '.join(ways)}, not {wish.direction}: {use}.")
    able = [way for way in ways if not {"G", f"G_{way[0]}"} & set(lacks)]
    for way in ways if wish.cycle else (wish.direction or (able or ways)[0],):
        if way not in able:
            raise UsageError(
                f"This run was imported without the net that translates {way}: import it with "
                f"{f'G_{way[0]}' if len(ways) > 1 else 'G'}=FILE."
            )
    if wish.cycle and len(ways) < 2:
        raise UsageError(f"This run translates {ways[0]} alone, and there is no way back for --cycle.")
    if wish.as_published and not any(isinstance(module, nn.Dropout) for module in game.modules()):
        raise UsageError("The net of this run has no dropout: leave --as-published away.")
    if (wish.chosen or wish.style is not None) and not styled(game):
        raise UsageError("This run has no encoder of styles: leave --style and --style-from away.")
    if wish.chosen and wish.style is not None:
        raise UsageError("Give --style or --style-from, not both.")
    for label, number in wish.chosen.items():
        _check_style(game, label, number)
    varies = wish.as_published or (styled(game) and wish.style is None)
    if wish.n > 1 and not varies:
        raise UsageError("This gives one picture of each input, whatever the seed: leave -n away.")
    return wish.direction or able[0]


def _check_style(game: Any, label: int, number: int) -> None:
    counts = game.styles.counts.tolist()
    if not 0 <= label < len(counts):
        raise UsageError(
            f"--style {label}={number}: there is no class {label}; the classes are 0 to {len(counts) - 1}."
        )
    if not counts[label]:
        has = ", ".join(str(one) for one, count in enumerate(counts) if count) or "none"
        raise UsageError(f"--style {label}={number}: class {label} has no styles; the classes that have: {has}.")
    if not 0 <= number < counts[label]:
        raise UsageError(
            f"--style {label}={number}: class {label} has no style {number}; it has 0 to {int(counts[label]) - 1}."
        )


# ---- the work --------------------------------------------------------------------------------------------------------
def translations(
    game: Any, rows: Inputs, wish: Wish | None = None, *, count: int | None = None, lacks: Collection[str] = ()
) -> Iterator[Translation]:
    """Translates the first ``count`` rows (default: all) in order; memory does not grow with their number.

    game: in eval mode. Raises UsageError at once for a wish that it cannot grant, and DataError at a map that is void
    all over, or of another size than the picture that it is to take its style from.
    """
    wish = wish or Wish()
    direction = checked(game, wish, lacks)
    return _translations(game, rows, wish, direction, len(rows) if count is None else min(count, len(rows)))


@torch.no_grad()
def _translations(game: Any, rows: Inputs, wish: Wish, direction: str, count: int) -> Iterator[Translation]:
    device = next(game.parameters()).device
    opposite = {"AtoB": "BtoA", "BtoA": "AtoB"}[direction]
    for first, names, batch in _batches(rows, count):
        source = batch["labels" if "labels" in batch else "image"]
        _check_maps(names, batch, wish.style)
        x = {name: fit(game, values.to(device)) for name, values in batch.items()}
        results, back = [], []
        for k in range(wish.n):
            more = {"as_published": wish.as_published, "seed": wish.seed + k, "first": first}
            y = _translated(game, x, wish, direction=direction, **more)
            results.append(_cut(y, source))
            if wish.cycle:
                back.append(_cut(game.translate(y, direction=opposite, **more), source))
        for i, name in enumerate(names):
            ends = [torch.stack([one[i] for one in those]) if those else None for those in (results, back)]
            assert ends[0] is not None
            yield Translation(name, source[i], ends[0], ends[1])


def _translated(game: Any, x: Mapping[str, Tensor], wish: Wish, *, seed: int, first: int, **more: Any) -> Tensor:
    """One result of each row, given as the net takes it."""
    if "labels" not in x:
        return game.translate(x["image"], seed=seed, first=first, **more)
    labels, known = x["labels"], {"instances": x["instances"]} if bounded(game) else {}
    if wish.style is not None:
        picture = fit(game, wish.style.to(labels.device))
        known["style"] = game.style_of(picture.expand(len(labels), -1, -1, -1), labels, **known)
    elif wish.chosen:
        known["style"] = game.draw_style(labels, **known, chosen=wish.chosen, seed=seed, first=first)
    return game.translate(labels, **known, seed=seed, first=first, **more)


def _batches(rows: Inputs, count: int) -> Iterator[tuple[int, list[str], dict[str, Tensor]]]:
    """Neighbours of one size together: the number of the first, their names, their fields."""
    first = 0
    waiting: list[dict[str, Tensor]] = []
    for row in range(count):
        one = rows.whole(row)
        if waiting and (_size(one) != _size(waiting[0]) or len(waiting) >= together(*_size(one))):
            yield first, rows.names(np.arange(first, row)), _joined(waiting)
            first, waiting = row, []
        waiting.append(one)
    if waiting:
        yield first, rows.names(np.arange(first, count)), _joined(waiting)


def _size(row: Mapping[str, Tensor]) -> tuple[int, int]:
    height, width = next(iter(row.values())).shape[-2:]
    return height, width


def _joined(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _check_maps(names: list[str], batch: Mapping[str, Tensor], style: Tensor | None) -> None:
    """Raises DataError for a map that cannot be translated."""
    if "labels" not in batch:
        return
    labels = batch["labels"]
    for name, void in zip(names, (labels == VOID).flatten(1).all(1).tolist(), strict=True):
        if void:
            raise DataError(f"{name} is void ({VOID}) all over: there is nothing to translate.")
    if style is not None and style.shape[-2:] != labels.shape[-2:]:
        (h, w), (height, width) = style.shape[-2:], labels.shape[-2:]
        raise DataError(f"--style-from is of {w}x{h}, and the map {names[0]} is of {width}x{height}: both "
                        "must show the same scene at one size.")  # fmt: skip


# ---- sizes -----------------------------------------------------------------------------------------------------------
def fit(game: Any, x: Tensor) -> Tensor:
    """[..., H, W] continued to sides that the game's nets take, by its mirror image about the last row and column."""
    for axis in (-2, -1):
        side = x.shape[axis]
        wanted = max(game.least, -(-side // game.multiple) * game.multiple)
        if wanted != side:
            x = x.index_select(x.ndim + axis, _mirror(side, wanted).to(x.device))
    return x


def _mirror(side: int, wanted: int) -> Tensor:
    """0 1 2 1 0 1 2 ...: from which of the pixels of a line each of ``wanted`` pixels comes."""
    if side == 1:
        return torch.zeros(wanted, dtype=torch.int64)
    at = torch.arange(wanted) % (2 * side - 2)
    return torch.minimum(at, 2 * side - 2 - at)


def _cut(y: Tensor, source: Tensor) -> Tensor:
    """What came out, at the size that went in."""
    height, width = source.shape[-2:]
    return y[..., :height, :width].float().cpu()


# ---- what is left behind ---------------------------------------------------------------------------------------------
def save_translations(
    path: Path, found: Iterable[Translation], names: Sequence[str], wish: Wish, *, grid: bool = False
) -> None:
    """Writes translations as ``path`` asks; ``names`` are those of the rows to come.

    An image: the one result there is, at its own size. With several, or with ``grid``, a sheet: each input, in colors
    where it is a label map (with a legend), its results, and what they were translated back to. A folder:
    ``NAME.png``; with several results ``NAME_0.png``, ``NAME_1.png``, ...; the way back ``NAME_back.png``. Arrays:
    ``images`` uint8 [rows * n, H, W, C], ``names``, and ``back``. Raises UsageError where that cannot be written.
    """
    kind = kind_of(path)
    marks = [""] if wish.n == 1 else [f"_{k}" for k in range(wish.n)]
    if kind == "folder":
        ends = [mark + end for mark in marks for end in ("", *(["_back"] if wish.cycle else []))]
        files = [_marked(name, end) for name in names for end in ends]
        save_images(path, (_woven(one).flatten(0, 1) for one in found), len(files), names=files)
        return
    seen = watched(found, len(names), lambda one: 1)
    if kind == "sheet":
        if len(names) == 1 and wish.n == 1 and not wish.cycle and not grid:
            (one,) = seen
            with saving(path):
                save_pixels(to_uint8(one.results)[0], path)
            return
        tiles, ids = [], set[int]()
        for one in seen:
            tiles.append([_tile(one.source), *to_uint8(_woven(one).flatten(0, 1))])
            ids |= set(ids_in(one.source.numpy())) if one.source.ndim == 2 else set()
        with saving(path):
            save_image(with_legend(table(tiles), sorted(ids)), path)
        return
    arrays: dict[str, list[NDArray[np.uint8]]] = {"images": [], "back": []}
    for one in seen:
        arrays["images"] += [to_uint8(one.results)]
        arrays["back"] += [] if one.back is None else [to_uint8(one.back)]
        if arrays["images"][0].shape != arrays["images"][-1].shape:
            raise UsageError(f"{one.name} is of another size than those before it: arrays hold one, use a folder.")
    marked = [_marked(name, mark) for name in names for mark in marks]
    kept = {field: np.concatenate(values) for field, values in arrays.items() if values}
    save_arrays(path, names=np.array(marked), **kept)


def _marked(name: str, mark: str) -> str:
    """``a/b.jpg`` as ``a/b_0.jpg``."""
    place = PurePosixPath(name)
    return str(place.with_name(f"{place.stem}{mark}{place.suffix}"))


def _woven(one: Translation) -> Tensor:
    """Results, each before its way back: [n, 1 or 2, C, H, W]. (Of A in grey and B in colour, both in colour.)"""
    if one.back is None:
        return one.results[:, None]
    channels = max(one.results.shape[1], one.back.shape[1])
    return torch.stack([x.expand(-1, channels, -1, -1) for x in (one.results, one.back)], 1)


def _tile(source: Tensor) -> NDArray[np.uint8]:
    return coloured(source.numpy()) if source.ndim == 2 else to_uint8(source[None])[0]
