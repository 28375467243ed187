"""A label map with the class of one object, or one whole class, changed, and its picture before and after."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganvas.data.maps import read_ids
from ganvas.data.source import BadPicture, Encoded
from ganvas.data.spec import Spec
from ganvas.errors import DataError, UsageError
from ganvas.files import atomic_folder
from ganvas.ops.legend import ids_in, with_legend
from ganvas.ops.maps import VOID, coloured
from ganvas.ops.marks import IMAGE, save_marked
from ganvas.ops.sheet import save_image, table, to_uint8
from ganvas.output import kind_of, saving
from ganvas.run import Run
from ganvas.translating import Wish, inputs, reads_labels, translations
from ganvas.ways import bounded

PER_CLASS = 1000  # an instance id of Cityscapes is class * 1000 + k
LARGEST_ID = 65535  # that a 16-bit file holds
NEAREST = 5  # ids to name where one is not there

Ids = NDArray[np.integer[Any]]  # [H, W]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Edited:
    """What an edit gives.

    labels uint8 [H, W], instances uint16 [H, W]: the maps after it, at the files' size. maps uint8 [2, h, w]: the label
    map before and after as the net sees it; pictures float32 [2, C, h, w] in [-1, 1]: its translations. changed: pixels
    of ``labels`` that are another class now.
    """

    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16] | None
    maps: NDArray[np.uint8]
    pictures: Tensor
    changed: int


def edited(
    run: Run,
    game: Any,
    label: Path,
    to: int,
    *,
    of: int | None = None,
    instances: Path | None = None,
    instance: int | None = None,
    seed: int = 0,
    lacks: Collection[str] = (),
) -> Edited:
    """A label map in which the pixels of class ``of``, or those of ``instance`` in the map ``instances``, are of class
    ``to``.

    game: the run's, in eval mode. Before and after are translated with the same regions and the same draws, so that
    what was not edited keeps its style. Raises UsageError for a class or an instance that there is not, DataError for
    maps that cannot be used.
    """
    if not reads_labels(run):
        raise UsageError(f"{run.folder} translates pictures, not label maps: there is nothing to edit.")
    if (of is None) == (instance is None):
        raise UsageError("Say what to edit: --class K, or --instances MAP --instance ID.")
    if instance is not None and instances is None:
        raise UsageError("--instance is an id of an instance map: give that, too, by --instances MAP.")
    classes = len(run.config.classes)
    for number in (to, of):
        if number is not None and number != VOID and not 0 <= number < classes:
            raise UsageError(
                f"{run.folder} has no class {number}: they go from 0 to {classes - 1}, and {VOID} is void."
            )
    read = None if instances is None or not bounded(game) else str(instances)
    before = inputs(run, game, str(Spec(str(label))), instances=read)
    if len(before) != 1:
        raise UsageError(f"edit takes one label map, and {label} has {len(before)}.")
    ids, objects = _ids(label), None if instances is None else _ids(instances)
    if objects is not None and objects.shape != ids.shape:
        raise DataError(f"{instances} is {_size(objects)} and {label} is {_size(ids)}: they must be of one size.")
    if objects is not None and objects.max() > LARGEST_ID:
        raise DataError(f"{instances} has the instance id {objects.max()}, and a map holds ids up to {LARGEST_ID}.")
    region = _region(ids, objects, of, instance, label, instances)
    if (ids[region] == to).all():
        raise UsageError(f"What you chose in {label} is of class {to} already: choose another --to.")
    labels = np.where(region, to, ids).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(labels).save(file := Path(folder) / "label.png")
        after = inputs(run, game, str(file), instances=read)
        maps = [rows.whole(0)["labels"][0].numpy() for rows in (before, after)]
        if np.array_equal(maps[0], maps[1]):
            raise UsageError(
                f"What you chose in {label} has {int(region.sum())} pixels, and none is left at the size of "
                f"{maps[0].shape[1]}x{maps[0].shape[0]} at which {run.folder} sees it."
            )
        wish = Wish(seed=seed)
        pictures = [next(translations(game, rows, wish, lacks=lacks)).results[0] for rows in (before, after)]
    return Edited(
        labels,
        None if objects is None else rebased(objects, region, ids, to),
        np.stack(maps),
        torch.stack(pictures),
        int((labels != ids).sum()),
    )


def _ids(path: Path) -> NDArray[np.int64]:
    try:
        return read_ids(Encoded(path.name, str(path)))[0].astype(np.int64)
    except BadPicture as why:
        raise DataError(f"{path} cannot be read as a map: {why}.") from None


def _size(ids: Ids) -> str:
    return f"{ids.shape[1]}x{ids.shape[0]}"


def _region(
    ids: Ids, objects: Ids | None, of: int | None, instance: int | None, label: Path, instances: Path | None
) -> Mask:
    """The pixels to change."""
    if instance is not None:
        assert objects is not None
        if not (region := objects == instance).any():
            known = np.unique(objects)
            near = np.sort(known[np.abs(known - instance).argsort(kind="stable")[:NEAREST]])
            more = f", and {len(known) - len(near)} more" if len(known) > len(near) else ""
            raise UsageError(
                f"There is no instance {instance} in {instances}: the nearest are {', '.join(map(str, near))}{more}."
            )
        return region
    if not (region := ids == of).any():
        raise UsageError(f"There is no class {of} in {label}: it has {', '.join(map(str, np.unique(ids)))}.")
    return region


def rebased(objects: Ids, region: Mask, ids: Ids, to: int) -> NDArray[np.uint16]:
    """The instance map [H, W] after ``region`` of the label map ``ids`` became class ``to``.

    An id in the region that tells the old class, as those of Cityscapes do (class * 1000 + k), becomes the first free
    one of the new class, if 16 bits hold that; all others stay, for to the nets an id is only a name.
    """
    renamed = objects.copy()
    taken = set(np.unique(objects).tolist())
    for old in np.unique(objects[region]).tolist():
        part = region & (objects == old)
        if old < PER_CLASS or to == VOID or (ids[part] != old // PER_CLASS).any():
            continue
        new = next(number for number in range(to * PER_CLASS, (to + 1) * PER_CLASS + 1) if number not in taken)
        if PER_CLASS <= new < (to + 1) * PER_CLASS and new <= LARGEST_ID:
            taken.add(new)
            renamed[part] = new
    return renamed.astype(np.uint16)


# ---- what it leaves behind -------------------------------------------------------------------------------------------
def save_edited(path: Path, found: Edited) -> None:
    """Writes an edit: a sheet (map, picture, edited map, its picture; below them a legend of the ids), or a folder of
    ``label.png``, ``instances.png``, ``picture.png`` and ``before.png``. Raises UsageError for what is in the way or
    cannot be written."""
    before, after = to_uint8(found.pictures)
    if kind_of(path, among=("sheet", "folder")) == "sheet":
        old, new = coloured(found.maps)
        with saving(path):
            save_image(with_legend(table([[old, before, new, after]]), ids_in(found.maps)), path)
        return
    with saving(path), atomic_folder(path) as part:
        save_marked(Image.fromarray(found.labels), part / "label.png", IMAGE)
        if found.instances is not None:
            save_marked(Image.fromarray(found.instances), part / "instances.png", IMAGE)
        for name, pixels in (("before", before), ("picture", after)):
            save_marked(
                Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), part / f"{name}.png", IMAGE
            )
        kind_of(path, among=("sheet", "folder"))  # nothing must have come into the way meanwhile
