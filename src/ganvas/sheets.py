"""The pictures that training leaves at each checkpoint: the same codes and the same images every time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvas.data import Dataset
from ganvas.files import writing
from ganvas.game import Game
from ganvas.ops.legend import ids_in, with_legend
from ganvas.ops.maps import coloured
from ganvas.ops.plane import save_plane
from ganvas.ops.sheet import Images, save_image, save_sheet, strips
from ganvas.verbs import Reconstructs, Samples, Translates
from ganvas.ways import Way, portions, translated, ways

SAMPLES = 64
PAIRS = 32
POINTS = 2500
TRANSLATIONS = 8  # pictures beside each other, as far as they fit
ACROSS = 2048  # pixels
KINDS = ("samples", "reconstructions", "translations")


def save_sheets(folder: Path, game: Game, dataset: Dataset, step: int) -> None:
    """Writes ``samples-STEP.png``, ``reconstructions-STEP.png``, ``translations-STEP.png`` as the game's verbs allow.

    Reconstructions stand to the right of their originals; samples of a mixture are drawn over its density. Translations
    stand below what they are of: label maps, in colours, or pictures; below them their partners or, where there are
    none and there is a way back, what comes back of them; a legend tells the ids of label maps.
    Raises RunError when they cannot be written, as on a full disk.
    """
    with writing(folder):
        for kind, draw in _drawn(game, dataset).items():
            draw(game, dataset, _sheet(folder, kind, step))


def sheets_missing(folder: Path, game: Game, dataset: Dataset, step: int) -> bool:
    """Whether a sheet that `save_sheets` writes is not there."""
    return not all(_sheet(folder, kind, step).exists() for kind in _drawn(game, dataset))


def remove_sheets(folder: Path, after: int) -> None:
    """Removes the sheets of steps after that one. Raises RunError where they cannot be removed."""
    with writing(folder):
        for path in folder.glob("*.png"):
            named = re.fullmatch(rf"(?:{'|'.join(KINDS)})-([0-9]{{8,}})\.png", path.name)
            if named and int(named[1]) > after:
                path.unlink(missing_ok=True)


def _sheet(folder: Path, kind: str, step: int) -> Path:
    return folder / f"{kind}-{step:08d}.png"


def _drawn(game: Game, dataset: Dataset) -> dict[str, Callable[[Any, Dataset, Path], None]]:
    """The kinds of sheets that the game's verbs allow, and who draws each."""
    found: dict[str, Callable[[Any, Dataset, Path], None]] = {}
    if isinstance(game, Samples):
        found["samples"] = _draw_points if "vector" in dataset.schema else _draw_samples
    if isinstance(game, Reconstructs) and "image" in dataset.schema:
        found["reconstructions"] = _draw_reconstructions
    if isinstance(game, Translates):
        found["translations"] = _draw_translations
    return found


def _draw_points(game: Any, dataset: Dataset, path: Path) -> None:
    save_plane(game.sample(POINTS, seed=0).cpu().numpy(), path, mixture=dataset.mixture)


def _draw_samples(game: Any, dataset: Dataset, path: Path) -> None:
    shape = dataset.schema["image"]
    drawn = [game.sample(end - first, seed=0, first=first).cpu() for first, end in portions(shape, SAMPLES)]
    save_sheet(torch.cat(drawn), path)


def _draw_reconstructions(game: Any, dataset: Dataset, path: Path) -> None:
    device = next(game.parameters()).device
    images, copies = [], []
    for first, end in portions(dataset.schema["image"], min(PAIRS, len(dataset))):
        batch = dataset.tensors(np.arange(first, end), device=device)
        images.append(batch["image"].cpu())
        copies.append(game.reconstruct(batch["image"], first=first, label=batch.get("label")).cpu())
    save_sheet(torch.cat(images), path, beside=torch.cat(copies))


def _draw_translations(game: Any, dataset: Dataset, path: Path) -> None:
    rows, ids = _translations(game, dataset)
    save_image(with_legend(strips(rows), ids), path)


def _translations(game: Any, dataset: Dataset) -> tuple[dict[str, Images], list[int]]:
    """The strips of a sheet, by their names, and the ids of the label maps on them."""
    there = ways(game, dataset.schema)
    alone = dataset.kind == "unpaired"
    found: dict[str, Images] = {}
    ids: set[int] = set()
    for way in there:
        x = _some(dataset.domain(way.source) if alone else dataset, game)
        if alone:
            x = {way.source: x["image"]}
        y = _through(game, x, way)
        found |= {way.source: _shown(x[way.source]), f"to {way.target}": _shown(y)}
        ids |= set(ids_in(x[way.source].cpu().numpy())) if x[way.source].ndim == 3 else set()
        if not alone:
            found[f"real {way.target}"] = _shown(x[way.target])
        elif len(there) > 1:
            home = Way(f"{way.target}to{way.source}", way.target, way.source)
            found[f"{way.source} again"] = _shown(_through(game, {way.target: y}, home))
    return found, sorted(ids)


def _some(dataset: Dataset, game: Game) -> dict[str, Tensor]:
    """The fields of a few rows from all over the set: as many as stand beside each other."""
    width = max(shape[-1] for shape in dataset.schema.fields.values() if len(shape) > 1)
    rows = dataset.spread(max(1, min(TRANSLATIONS, ACROSS // width)))
    return dataset.tensors(rows, next(game.parameters()).device)


def _through(game: Any, x: dict[str, Tensor], way: Way) -> Tensor:
    """The translations of rows, as many at a time as `portions` allows."""
    rows = len(x[way.source])
    parts = portions(x[way.source].shape[1:], rows)
    return torch.cat(
        [translated(game, {k: v[first:end] for k, v in x.items()}, way, first=first) for first, end in parts]
    )


def _shown(values: Tensor) -> Images:
    """Images as they are, label maps in colours."""
    return values.cpu() if values.ndim == 4 else coloured(values.cpu().numpy())
