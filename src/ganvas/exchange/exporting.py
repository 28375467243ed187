"""A run as published checkpoints: files that the authors' own programs load, and a report of how alike they are."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ganvas
from ganvas.errors import RunError, UsageError
from ganvas.exchange.importing import assembled
from ganvas.exchange.layout import Layout, Told, Wish
from ganvas.exchange.layouts import layout
from ganvas.exchange.reading import read
from ganvas.files import atomic_folder, writing
from ganvas.game import Game
from ganvas.run import Run
from ganvas.schema import Schema
from ganvas.settings import missing_parts

README = "README.txt"


@dataclass(frozen=True)
class Exported:
    """One net as it was written.

    difference: between the run's net and the one read back from its file by its shapes alone, over a fixed input.
    """

    part: str
    file: Path
    tensors: int
    numbers: int
    difference: float


def export_published(run: Run, out: str | Path) -> list[Exported]:
    """Writes the averaged nets of a run as published checkpoints into a new folder ``out``, with a README.txt.

    Each file is a plain state dict, which the authors' program loads strictly. Nets that an imported run never had are
    left out. Raises UsageError where the published nets cannot be what the run's are, RunError where ``out`` is taken
    or cannot be written; nothing is then written.
    """
    kept, out = layout(run.config.system), Path(out)
    with writing(out, "choose another --out"):
        if out.exists() and any(out.iterdir()):
            raise RunError(f"{out} is not empty; choose another --out.")
    game, checkpoint = run.loaded()
    lacking = missing_parts(run.config)
    kept.check(game)
    parts = [part for part in kept.files if isinstance(getattr(game, part, None), torch.nn.Module)]
    parts = [part for part in parts if part not in lacking]
    if not parts:
        raise UsageError(f"{run.folder} has no net to export.")
    schema = Schema({name: tuple(shape) for name, shape in run.config.schema.items()}, tuple(run.config.classes))
    with writing(out, "choose another --out"), atomic_folder(out) as folder:
        for part in parts:
            state = kept.published(part, game)
            plain = OrderedDict((key, value.detach().contiguous().clone()) for key, value in state.items())
            with (folder / kept.files[part]).open("wb") as file:  # given a path, torch would hide why it could not
                torch.save(plain, file)
        found = [_reread(kept, game, part, folder / kept.files[part], run, schema) for part in parts]
        lines = [
            f"{kept.source}, of a run of {kept.system}, step {checkpoint.step:,}, by ganvas {ganvas.__version__}.",
            "",
            *kept.usage(game, schema),
            "",
            "Largest difference between the output of the run's net and that of the file, read back:",
            *(f"  {one.file.name:24} {one.difference:.3g}" for one in found),
        ]
        (folder / README).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [Exported(one.part, out / one.file.name, one.tensors, one.numbers, one.difference) for one in found]


@torch.no_grad()
def _reread(kept: Layout, game: Game, part: str, path: Path, run: Run, schema: Schema) -> Exported:
    """What a file gives that is read as any published one is, beside the net that it is of."""
    file, leaves = kept.prepared(read(part, path)), run.config.leaves
    labels = len(schema.classes) if "labels" in schema else 0
    target = "image" if "image" in schema else str(leaves.get("direction", "AtoB"))[-1]
    wish = Wish({name: leaves[name] for name in kept.untold}, labels, outputs=schema[target][0])
    told = kept.tell({part: file}, wish)
    again = assembled(kept, {part: file}, Told(told.leaves, schema, told.data), {**leaves, **kept.idle, **told.leaves})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = kept.probe(part, game)
    again.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as a run is loaded
    ours, theirs = (_flat(kept.run(part, one, x)) for one in (game, again))
    numbers = sum(value.numel() for key, value in file.tensors.items() if not key.endswith("num_batches_tracked"))
    difference = max((float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)), default=math.nan)
    return Exported(part, path, len(file.tensors), numbers, difference)


def _flat(value: Any) -> list[torch.Tensor]:
    """The tensors of what a net gives: one, or lists of them."""
    return [value] if isinstance(value, torch.Tensor) else [tensor for one in value for tensor in _flat(one)]
