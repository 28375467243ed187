"""What is odd about a training run though it may be meant: said before it starts, a sentence each."""

from __future__ import annotations

import re
from pathlib import Path

from ganvas.data import Dataset, parse
from ganvas.run import RunConfig

FEW = 50  # rows that a model learns by heart, whatever it is


def doubts(config: RunConfig, dataset: Dataset, asked: str) -> list[str]:
    """Sentences on few rows, large batches, short runs, tiny nets, and unpaired folders that are read as pairs.

    asked: the data spec as the user wrote it.
    """
    n, batch, preset = len(dataset), config.batch_size, config.preset
    what = {"paired": "pair", "labels": "label map"}.get(dataset.kind, "image" if "image" in dataset.schema else "row")
    found = []
    if dataset.split == "test" and parse(asked).split is None:
        found.append(f"{dataset.spec} has no training split, so its test split is used for training")
    if n <= FEW:
        found.append(
            f"{dataset.spec} has {n} {what}{'s' if n > 1 else ''} to train on; a model learns so few by heart and "
            "makes nothing else"
        )
    if batch > n:
        found.append(f"a batch of {batch} is larger than the {n} {what}s there are, so each step repeats some of them")
    elif config.steps < config.steps_per_epoch and preset != "tiny":
        found.append(
            f"{config.steps:,} steps of {batch} see {config.steps * batch:,} of the {n:,} {what}s; once through all is "
            f"{config.steps_per_epoch:,} steps"
        )
    if preset == "tiny":
        found.append(f"the preset tiny is for tests, and its nets are too small for good {what}s; small is for a try")
    if dataset.kind == "paired" and (kinds := _published_unpaired(asked)):
        found.append(
            f"{dataset.spec} is read as pairs: {kinds} by the same name. Folders of that layout usually hold unpaired "
            "images; if these are, train cyclegan. Write paired: before the folder if they are pairs"
        )
    return found


def _published_unpaired(asked: str) -> str:
    """The two folders of a spec that does not say its kind, where they are named as unpaired sets are published."""
    spec = parse(asked)
    if spec.kind is not None or spec.side_by_side:
        return ""
    folder = Path(spec.source).expanduser()
    there = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    sides = [name for side in "AB" for name in there if re.fullmatch(f"train{side}", name, re.IGNORECASE)]
    return " and ".join(f"{name}/" for name in sides) if len(sides) == 2 else ""
