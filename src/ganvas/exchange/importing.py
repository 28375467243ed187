"""Published checkpoints in: files become a run folder, whose verbs work and from which training starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ganvas import games
from ganvas.errors import RunError, UsageError, nearest
from ganvas.exchange.layout import Layout, Size, Told, Wish
from ganvas.exchange.layouts import layout
from ganvas.exchange.reading import SHOWN, Published, Tensors, listed, read
from ganvas.files import atomic_folder, writing
from ganvas.game import Game
from ganvas.run import Run, RunConfig, origins
from ganvas.settings import missing_parts
from ganvas.streams import Purpose, stream

PRESET = "paper"  # whose settings an imported run has where neither its files nor the user say otherwise


def import_run(
    system: str,
    parts: Mapping[str, str | Path],
    *,
    out: str | Path,
    labels: int | None = None,
    size: Size | None = None,
    **leaves: Any,
) -> Run:
    """Makes a run folder of published checkpoints.

    system: whose they are. parts: a file for each net, by its name (``G``, ``D_A``, ...); nets without one are not
    saved (each load gives them the same fresh weights), and what needs them is refused. labels: how many classes the
    input's label maps have, 0 for a picture, where files cannot tell. size: the width and height that pictures are
    stretched to. leaves: settings of the system.

    Raises UsageError, DataError or Damaged, one sentence each, where that cannot be; RunError where ``out`` is taken or
    cannot be written. Nothing is then written at all.
    """
    entry, kept = games.system(system), layout(system)
    out = Path(out)
    if Run.exists(out):
        raise RunError(f"{out} holds a run already; choose another --out.")
    with writing(out, "choose another --out"):
        if out.exists() and any(out.iterdir()):
            raise RunError(f"{out} is not empty; choose another --out.")
    for part in parts:
        if part not in kept.files:
            raise UsageError(f"{system} has no part {part!r}: {nearest(part, kept.files)}.")
    if not parts:
        raise UsageError(f"Name at least one part of {system}, PART=FILE: {', '.join(kept.files)}.")
    config, defaults = entry.preset(PRESET)
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    entry.configure({**settings, **leaves})  # refuses an unknown setting before any work
    published = {part: kept.prepared(read(part, Path(file))) for part, file in parts.items()}
    told = kept.tell(published, Wish(leaves, labels, size))
    resolved = {**settings, **kept.idle, **told.leaves, **leaves}
    game = assembled(kept, published, told, resolved)
    imported = {part: published[part].sha256 if part in published else "" for part in kept.files if _has(game, part)}
    run_config = RunConfig(
        system=system,
        verbs=list(entry.verbs) if any(imported.get(part) for part in kept.makes) else [],
        preset=PRESET,
        leaves=resolved,
        changed=[name for name, value in resolved.items() if value not in (settings[name], kept.idle.get(name))],
        data=told.data,
        fingerprint="",  # there are no rows
        schema={name: list(shape) for name, shape in told.schema.fields.items()},
        classes=list(told.schema.classes),
        seed=0,
        batch_size=defaults.get("batch_size", 1),
        shares=1,
        world=1,
        steps=0,
        steps_per_epoch=1,
        precision="fp32",
        compile=False,
        device="cpu",
        checkpoint_every=1,
        keep=1,
        keep_best=None,
        tick_every=1,
        init=None,
        imported=imported,
        **origins(),
    )
    lacking = missing_parts(run_config)
    average = {name: value for name, value in game.state_dict().items() if name.partition(".")[0] not in lacking}
    with writing(out, "choose another --out"), atomic_folder(out) as part_:
        # Nets are there once: they are not trained on in this folder, so that the raw ones are the averaged ones.
        Run.create(part_, run_config).save(0, weights={}, average=average, state={})
    return Run.open(out)


def assembled(kept: Layout, parts: Mapping[str, Published], told: Told, leaves: Mapping[str, Any]) -> Game:
    """The game of those settings, in eval mode, with the weights of the files; nets without a file have fresh ones.

    Raises UsageError for settings that contradict each other, DataError naming keys and shapes that do not fit.
    """
    entry = games.system(kept.system)
    with torch.device("meta"):
        shell = entry.build(leaves, told.schema)
    fitted = {part: _fitted(kept, file, shell) for part, file in parts.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(0, 0, Purpose.WEIGHTS))
        game = entry.build(leaves, told.schema)
    for part, tensors in fitted.items():
        net = getattr(game, part)
        net.load_state_dict(kept.ours(part, tensors, net))
    return game.eval()


def _has(game: Game, part: str) -> bool:
    return isinstance(getattr(game, part, None), torch.nn.Module)


def _fitted(kept: Layout, file: Published, shell: Game) -> Tensors:
    """The tensors of one file in the order of the published net, which they must fit."""
    part = file.part
    if not _has(shell, part):
        raise UsageError(f"{kept.system} with these settings has no {part}: remove {part}={file.path}.")
    wanted = kept.published(part, shell)
    found = dict(file.tensors)
    for key in wanted:
        if key.endswith(".num_batches_tracked"):  # files of torch before 0.4.1 have none
            found.setdefault(key, torch.zeros((), dtype=torch.int64))
    lacking = [key for key in wanted if key not in found]
    besides = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {shape(found[key])}, not {shape(value)}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    flaws = [
        *([f"it has no {listed(lacking)}"] if lacking else []),
        *([f"it has {listed(besides)}, which the net does not have"] if besides else []),
        *shapes[:SHOWN],
        *([f"{len(shapes) - SHOWN} more shapes differ"] if len(shapes) > SHOWN else []),
    ]
    if flaws:
        raise file.refusal("; ".join(flaws), f"{kept.source}, as its shapes read")
    return {key: found[key] for key in wanted}


def shape(tensor: torch.Tensor) -> str:
    """A tensor's shape as people write it."""
    return "x".join(map(str, tensor.shape)) or "one number"
