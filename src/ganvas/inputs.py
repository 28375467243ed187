"""Data as a run takes it: prepared to the size and channels that it was trained on."""

from __future__ import annotations

import os
from dataclasses import replace

from ganvas import games
from ganvas.console import note
from ganvas.data import GROUPED, Dataset, Reading, Spec, is_path, open_data, parse, reading_of, same_place
from ganvas.data.shards import is_pattern
from ganvas.errors import DataError, UsageError, nearest
from ganvas.run import Run
from ganvas.settings import placed


def fitting(run: Run, spec: str | None = None, *, labelled: bool = True, kept: bool = True) -> Dataset:
    """The data of ``spec`` (None: what the run was trained on), prepared to the run's size and channels.

    A spec of the run's own source, however its path is spelled, is prepared as it was then. labelled: whether a
    conditional run needs the classes of its images. kept: whether data that is not the run's own stays in the store
    (else it is gone with the data set). Raises UsageError for a spec that asks for another size or other channels, or
    has not those classes; DataError for data that cannot be used.
    """
    if spec is None and run.config.imported is not None:
        raise UsageError(f"{run.folder} was imported and has no data of its own: name some with --data.")
    schema, own = run.config.schema, parse(run.config.data)
    asked = parse(_own(run)) if spec is None else parse(spec)
    same = spec is None or is_own(run, asked)
    if same:  # what was held out then is no training data now, and files that were passed over then are no error now
        asked = replace(asked, holdout=asked.holdout or own.holdout, max_bad=max(asked.max_bad, own.max_bad))
    kinds = games.system(run.config.system).game.kinds
    if own.kind in GROUPED or (run.config.imported is not None and set(kinds) & set(GROUPED)):
        asked = _as_grouped(asked, own, same)
        kinds = (own.kind, *kinds) if own.kind else kinds
    elif "image" in schema:
        c, h, w = schema["image"]
        channels = "grey" if c == 1 else "rgb"
        if asked.size not in (None, (w, h)) or asked.channels not in (None, channels):
            raise UsageError(
                f"{run.folder} takes {channels} images of {w}x{h}: leave size and channels away in {spec!r}."
            )
        if same:
            asked = replace(asked, size=own.size, channels=own.channels, crop=own.crop, resize=own.resize)
            asked = replace(asked, range=own.range, max_pixels=asked.max_pixels or own.max_pixels)
        elif asked.kind != "mixture":
            asked = replace(asked, size=(w, h), channels=channels, range=asked.range or own.range)
    keeps = kept or same or not is_path(asked)
    dataset = open_data(str(asked), prefer=kinds or ("images",), kept=keeps)
    if dataset.kind == "labels" and "labels" in schema and len(dataset.schema.classes) != len(run.config.classes):
        known = replace(parse(dataset.spec), classes=len(run.config.classes))  # ids beyond are refused
        dataset = open_data(str(known), kept=keeps)
    for field, shape in schema.items():
        if field != "label" and not _fits(dataset, field, tuple(shape)):
            found = ", ".join(f"{name} {list(shape)}" for name, shape in dataset.schema.fields.items())
            raise DataError(f"{run.folder} takes {field} {list(shape)}, and {dataset.spec} has {found}.")
    if labelled and run.config.leaves.get("conditional") and list(dataset.schema.classes) != run.config.classes:
        raise UsageError(
            f"{run.folder} is conditional and needs a class of each image ({', '.join(run.config.classes[:10])}), "
            f"which {spec or dataset.spec} has not."
        )
    if spec is None and dataset.fingerprint != run.config.fingerprint:
        note(f"note: {dataset.spec} is not what {run.folder} was trained on: its content has changed since.")
    return dataset


def _own(run: Run) -> str:
    """The spec of the data that a run was trained on, as it reads here. Raises DataError where it is not there."""
    c = run.config
    asked = parse(c.data)
    found = placed(c.data, c.data_root)
    source = parse(found).source
    if not is_path(asked) or is_pattern(source) or "," in source or _there(source):
        return found
    if _there(asked.source):  # the folder of the project has moved, and we are in it
        return c.data
    where = f", relative to {c.data_root or 'where it was trained'}" * (not os.path.isabs(asked.source))
    raise DataError(
        f"{run.folder} was trained on {c.data}{where}, and there is nothing there now: name its data with --data."
    )


def _there(source: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(source))
    except ValueError:  # nothing can have such a name
        return False


def is_own(run: Run, asked: Spec) -> bool:
    """Whether a spec names the data that a run was trained on, however its path is spelled."""
    c = run.config
    if c.imported is not None:
        return False
    there = c.data_root is not None and _there(parse(placed(c.data, c.data_root)).source)
    return same_place(asked, parse(c.data), c.data_root if there else None)


def told(run: Run, dataset: Dataset) -> Reading:
    """What was read for a run: says whose preparation it is where that was not asked for."""
    c = run.config
    shape = c.schema.get("image")
    alone = shape is not None and len(shape) == 3 and dataset.kind == "images" and not is_own(run, parse(dataset.spec))
    return reading_of(dataset, f"as the images of {run.folder}" if alone else "")


def _as_grouped(asked: Spec, own: Spec, same: bool) -> Spec:
    """The spec, of rows of several pictures, with the run's preparation where it says none of its own; of the run's own
    source as it was in any case."""
    scaled = any((asked.size, asked.load_size, asked.scale_width, asked.crop))
    if same or not scaled:
        asked = replace(asked, size=own.size, load_size=own.load_size, scale_width=own.scale_width, crop=own.crop)
    if same:
        asked = replace(asked, kind=own.kind, side_by_side=own.side_by_side)
    if asked.kind in (None, "labels") and own.kind == "labels":
        asked = replace(asked, void=asked.void or own.void)
    return replace(asked, channels=asked.channels or own.channels, range=asked.range or own.range)


def _fits(dataset: Dataset, field: str, shape: tuple[int, ...]) -> bool:
    """Whether a field is there in the run's shape; of rows of several pictures, which translate at any size, in its
    channels."""
    there = dataset.schema.fields.get(field)
    if there is not None and dataset.kind in GROUPED:
        return there[:-2] == shape[:-2]
    return there == shape


def class_number(run: Run, name: str | None) -> int | None:
    """The number of a class, given as its name or its number; None for None. Raises UsageError if there is none."""
    if name is None:
        return None
    classes = run.config.classes if run.config.leaves.get("conditional") else []
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    known = f"{nearest(name, classes)}" if classes else "it was not trained with --conditional"
    raise UsageError(f"{run.folder} knows no class {name!r}: {known}.")
