"""Commands that translate pictures and label maps, and edit label maps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from ganvas.cli.flags import Answer, Count, Device, Out, RunFolder, Seed, default
from ganvas.cli.trained import load, positive, written
from ganvas.console import note
from ganvas.errors import UsageError

SHEET_ROWS = 16  # a sheet is for looking at; a folder or arrays get all there are
Switch = Annotated[bool, FlagCreatePairsOff]


def translate(
    run: RunFolder,
    input: Annotated[Positional[str], arg(metavar="INPUT")],
    out: Out,
    direction: Annotated[str | None, arg(metavar="AtoB|BtoA"), default("the run's own; AtoB of two")] = None,
    as_published: Switch = False,
    style: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CLASS=K")] = (),
    style_from: Annotated[str | None, arg(metavar="IMAGE"), default("drawn by the seed")] = None,
    count: Count[int] = 1,
    seed: Seed = 0,
    instances: Annotated[str | None, arg(metavar="PATH"), default("those of a data spec")] = None,
    cycle: Switch = False,
    grid: Switch = False,
    device: Device = "auto",
) -> Answer:
    """Translate images or label maps: one image to one image, a folder to a folder, or to a grid or arrays.

    Images are prepared as the run's data was, which is said: those of a run with load_size are stretched to that size.
    INPUT?crop=none keeps each image at its own size, whatever it is, and INPUT?load_size=640x360 asks for another. An
    imported CycleGAN keeps each image's size unless told otherwise.

    Args:
        run: The run folder.
        input: A picture, a folder or a data spec; of data with two sides, the side that the direction starts from.
        out: The translation (.png, .jpg, .webp); of several inputs a grid of the first 16; arrays (.npz); or, without a
            suffix, a folder of files named as the inputs.
        direction: Which way to translate.
        as_published: With the dropout that the authors' test script leaves on; then each seed gives another picture.
        style: Style K of every region of that class, of the styles that the run found; others are drawn by the seed.
        style_from: A photograph of the very scene, which each region takes its style from.
        count: Images per input: those of the seed, of the seed + 1, ...; files are then NAME_0.png, ....
        seed: Random seed; the result of input i depends on the seed and i alone.
        instances: The instance map, or a folder of them, of runs that were trained with any.
        cycle: Translate back, too; files are then NAME_back.png.
        grid: Show the input beside its translation, of one input too.
        device: Device to work on.
    """
    import numpy as np

    from ganvas.data import reading_of
    from ganvas.output import kind_of
    from ganvas.settings import missing_parts
    from ganvas.translating import Wish, checked, inputs, save_translations, style_picture, translations

    kind = kind_of(out)
    if grid and kind != "sheet":
        raise UsageError(f"--grid draws one image: give --out a name such as grid.png, not {out}.")
    opened, game = load(run, "translate", device)
    lacks = missing_parts(opened.config)
    wish = Wish(
        direction=direction,
        n=positive(count, 1),
        seed=seed,
        as_published=as_published,
        chosen=_styles(style),
        style=None if style_from is None else style_picture(opened, style_from),
        cycle=cycle,
    )
    way = checked(game, wish, lacks)
    dataset = inputs(opened, game, input, direction=way, instances=instances)
    reading_of(dataset).tell()
    n = len(dataset)
    if kind == "sheet" and n > SHEET_ROWS:
        note(f"note: {out} shows the first {SHEET_ROWS} of {n}; a folder gets all.")
        n = SHEET_ROWS
    found = translations(game, dataset, wish, count=n, lacks=lacks)
    save_translations(out, found, dataset.names(np.arange(n)), wish, grid=grid)
    return written(opened, out, n=n, data=dataset.spec, direction=way, seed=seed, results=wish.n)


def edit(
    run: RunFolder,
    label: Annotated[Positional[Path], arg(metavar="LABEL")],
    to: Annotated[int, arg(metavar="CLASS")],
    out: Out,
    class_: Annotated[int | None, arg(name="class", metavar="K"), default("an --instance")] = None,
    instances: Annotated[Path | None, arg(metavar="MAP"), default("no instances")] = None,
    instance: Annotated[int | None, arg(metavar="ID"), default("a whole --class")] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> Answer:
    """Change the class of an object, or a whole class, in a label map, and make its picture.

    What was not chosen keeps its style from before to after. In an instance map that tells classes (class * 1000 + k)
    the chosen ids become the next free ones of the new class; other ids stay.

    Args:
        run: The run folder, of a system that translates label maps.
        label: The label map: a file of ids, 8 or 16 bits or a palette.
        to: The class that they become; 255 is void.
        out: A sheet (.png: map, picture, edited map, picture) or, without a suffix, a folder of label.png, picture.png,
            before.png, and instances.png where there are instances.
        class_: Change all pixels of this class.
        instances: The instance map: for --instance, and of runs that were trained with any.
        instance: Change this object, by its id in that map.
        seed: Random seed of the styles, if the run has any.
        device: Device to work on.
    """
    from ganvas.editing import edited, save_edited
    from ganvas.output import kind_of
    from ganvas.settings import missing_parts

    kind_of(out, among=("sheet", "folder"))
    opened, game = load(run, "translate", device)
    found = edited(opened, game, label, to, of=class_, instances=instances, instance=instance, seed=seed,
                   lacks=missing_parts(opened.config))  # fmt: skip
    save_edited(out, found)
    shown = f"{found.changed:,} of {found.labels.size:,} pixels are of class {to} now"
    return written(opened, out, shown, changed=found.changed, pixels=found.labels.size, to=to, seed=seed)


def _styles(words: tuple[str, ...]) -> dict[int, int]:
    """Class -> style, from words CLASS=K."""
    found: dict[int, int] = {}
    for word in words:
        if not (match := re.fullmatch(r"([0-9]{1,9})=([0-9]{1,9})", word)):
            raise UsageError(f"--style takes the number of a class and of one of its styles, as 26=3, not {word!r}.")
        if int(match[1]) in found:
            raise UsageError(f"--style gives class {match[1]} two styles: choose one.")
        found[int(match[1])] = int(match[2])
    return found
