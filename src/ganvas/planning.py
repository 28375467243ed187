"""What a training run is asked to be, resolved before anything is written or trained: settings, data, folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from ganvas import games, parallel
from ganvas.data import Dataset, Spec, is_path, open_data, parse, same_place, slug
from ganvas.devices import device as named_device
from ganvas.errors import RunError, UsageError, nearest
from ganvas.evaluation import had, no_judge
from ganvas.exchange.layouts import not_exportable
from ganvas.figures import ALL as METRICS
from ganvas.files import discard, leftovers
from ganvas.game import Clock, Game
from ganvas.metrics import NAMES, metric
from ganvas.plausibility import doubts
from ganvas.run import Checkpoint, Run, RunConfig, differences, origins
from ganvas.settings import carried_on

PLAIN = ("images",)  # the kind of data that is preferred by systems that name none
NO_QUALITY = ("accuracy", "gradient_norm")  # of which neither the largest nor the smallest value is the best
PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training run, resolved: what `config.json` will hold, and the data it was read off."""

    config: RunConfig
    dataset: Dataset
    folder: Path
    decided: Mapping[str, Any]  # leaves that were left open, and what `System.resolve` made of them
    doubts: tuple[str, ...] = ()  # what is odd about it, a sentence each


def plan(
    system: str,
    *,
    data: str,
    preset: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    accumulate: int = 1,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    checkpoint_every: int | None = None,
    keep: int = 2,
    keep_best: str | None = None,
    tick_every: int | None = None,
    init: str | Path | None = None,
    out: str | Path | None = None,
    new: bool = False,
    **leaves: Any,
) -> Plan:
    """Resolves the arguments of `train` without training. Raises GanvasError where they make no sense."""
    entry = games.system(system)
    config, defaults = entry.preset(preset)
    settings = {**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, **leaves}
    entry.configure(settings)  # refuses an unknown leaf or a contradiction before any work
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"--seed must be from 0 to {(1 << 63) - 1}, not {seed}.")
    for name, value in (("steps", steps), ("batch-size", batch_size), ("accumulate", accumulate), ("keep", keep),
                        ("checkpoint-every", checkpoint_every), ("tick-every", tick_every)):  # fmt: skip
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, not {value}.")
    device, folder = named_device(device), _folder(system, data, out, new)
    before = Run.open(folder).config if Run.exists(folder) else None
    left_open, recorded = settings, before.leaves if before and before.system == system else None
    settings = entry.resolve(left_open, recorded)
    decided = {name: value for name, value in settings.items() if value != left_open[name]}
    if before is not None and before.imported is not None:
        raise RunError(
            f"{folder} holds imported weights and is not trained in: start a run from them by --init {folder}, with "
            "another --out."
        )
    if precision == "auto":  # a run keeps its precision, on whatever device it goes on
        precision = before.precision if before else "bf16" if device.startswith("cuda") else "fp32"
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision {precision!r}: auto, fp32 or bf16.")
    steps = defaults.get("steps", 10_000) if steps is None else steps
    batch_size = defaults.get("batch_size", 64) if batch_size is None else batch_size
    if batch_size % (accumulate * _world()):
        raise UsageError(
            f"A batch of {batch_size} does not split into {_world()} ranks x {accumulate} shares: change --batch-size."
        )
    dataset = open_data(data, prefer=entry.game.kinds or PLAIN, verify=True)
    if entry.game.kinds and dataset.kind not in entry.game.kinds:
        raise UsageError(
            f"{entry.name} trains on {' or '.join(entry.game.kinds)} data, and {dataset.spec} is {dataset.kind} data: "
            "ganvas data --help says how folders are laid out."
        )
    if settings.get("conditional") and not dataset.schema.classes:
        why = " ".join(note for note in dataset.found.get("notes", []) if "class" in note or "label" in note)
        if why:
            raise UsageError(f"--conditional needs classes, and {dataset.spec} has none. {why}")
    with torch.device("meta"):  # no weights yet: refuses data that the system has no use for
        game = entry.build(settings, dataset.schema)
    if keep_best is not None:
        _check_best(keep_best, entry, game, dataset, settings)
    if init is not None and before is None:
        start_of(Run.open(init))
    if init is None and before is not None:
        init = before.init
    asked = data
    data, root = dataset.spec, _root(parse(dataset.spec))
    if before is not None and _same_data(before, dataset):
        data, root = before.data, _root_of(before, parse(dataset.spec))
    run_config = RunConfig(
        system=system,
        verbs=list(entry.verbs),
        preset=preset or next(iter(entry.presets)),
        leaves=settings,
        changed=[name for name, value in leaves.items() if value != getattr(config, name)],
        data=data,
        data_root=root,
        streamed=parse(data).stream,
        fingerprint=dataset.fingerprint,
        schema={name: list(shape) for name, shape in dataset.schema.fields.items()},
        classes=list(dataset.schema.classes),
        seed=seed,
        batch_size=batch_size,
        shares=accumulate,
        world=_world(),
        steps=steps,
        steps_per_epoch=max(1, len(dataset) // batch_size),
        precision=precision,
        compile=compile,
        device=device,
        checkpoint_every=checkpoint_every or max(1, min(1000, steps // 5)),
        keep=keep,
        keep_best=keep_best,
        tick_every=tick_every or max(1, min(50, steps // 20)),
        init=None if init is None else str(init),
        not_exportable=not_exportable(system, game),
        **origins(),
    )
    try:
        msgspec.json.encode(run_config)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"A run cannot be described in JSON with a name that is not UTF-8, {error.object!r}: rename it."
        ) from None
    return Plan(run_config, dataset, folder, decided, tuple(doubts(run_config, dataset, asked)))


def _world() -> int:
    return parallel.world() if parallel.world() > 1 else parallel.announced() or 1


def _folder(system: str, data: str, out: str | Path | None, new: bool) -> Path:
    """``out``, or ``runs/SYSTEM-DATA``; with ``new`` the first free of ``..., ...-2, ...-3``."""
    if out is None:
        out = Path("runs") / f"{system}-{slug(data)}"
    folder = Path(out)
    if new:
        number, base = 2, folder
        while folder.exists():
            folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder


def _same_data(before: RunConfig, dataset: Dataset) -> bool:
    """Whether a spec that reads otherwise, a path in other words perhaps, gives the very rows that a run knows; of a
    streamed set, as far as names and sizes tell."""
    then, now = parse(before.data), parse(dataset.spec)
    knew, found = (fingerprint.partition(".")[0] for fingerprint in (before.fingerprint, dataset.fingerprint))
    return (knew, then.flip, then.split) == (found, now.flip, now.split)


def _root(spec: Spec) -> str | None:
    """The folder that the relative paths of a data spec start from; None where it names none."""
    return os.getcwd() if is_path(spec) else None


def _root_of(before: RunConfig, now: Spec) -> str | None:
    """The folder that the paths of a run's own spec start from, now that the same rows were found at ``now``."""
    own = parse(before.data)
    if same_place(own, now) or os.path.isabs(own.source) or not is_path(own):
        return _root(own)
    if same_place(now, own, before.data_root):
        return before.data_root
    place, ending = os.path.abspath(os.path.expanduser(now.source)), os.path.join("", os.path.normpath(own.source))
    return place.removesuffix(ending).rstrip("/") or "/" if place.endswith(f"/{ending}") else before.data_root


def _check_best(name: str, system: games.System, game: Game, dataset: Dataset, leaves: Mapping[str, Any]) -> None:
    """Raises UsageError where ``--keep-best`` names what this run will never measure or log, as far as that can be
    known before it starts; MissingWeights where its weights are not at hand."""
    first, _, rest = name.partition("/")
    if not rest:
        if name not in METRICS:
            raise UsageError(
                f"--keep-best {name!r} is neither a metric ({', '.join(METRICS)}) nor a logged name such as "
                "valid/PLAYER/TERM."
            )
        if name not in had(system.verbs, dataset):
            raise UsageError(f"--keep-best {name}: {system.name} on {dataset.spec} has no {name}.")
        if why := no_judge(name, leaves):
            raise UsageError(f"--keep-best {name}: not a judge: {why}.")
        if name in NAMES:
            metric(name)
        return
    if first == "valid" and "test" not in dataset.splits:
        raise UsageError(f"--keep-best {name}: {dataset.spec} has no test split; holdout=0.1 makes one.")
    player, _, term = (rest if first == "valid" else name).partition("/")
    if term and player not in game.players():
        raise UsageError(f"--keep-best {name}: there is no player {player!r}: {nearest(player, game.players())}.")
    if name.rpartition("/")[2] in NO_QUALITY:
        raise UsageError(
            f"--keep-best {name}: it says how training goes, not how good the results are; name a metric "
            f"({', '.join(had(system.verbs, dataset))}) or a loss such as valid/PLAYER/TERM."
        )


def check_types(system: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `plan` from Python, a path as text where that is wanted, a run as its folder. Raises UsageError
    for a value of another type, and where the data is missing."""
    found = dict(arguments)
    if not isinstance(system, str):
        raise UsageError(f"system must be a name such as 'avae', not {system!r}: one of {', '.join(games.names())}.")
    if found.get("data") is None:
        raise UsageError(f"train needs data, such as ganvas.train({system!r}, data='digits').")
    for name, value in arguments.items():
        wanted = _TYPES.get(name)
        if isinstance(value, Path) and name == "data":
            found[name] = str(value)
        elif isinstance(value, Run) and name in ("init", "out"):
            found[name] = value.folder
        elif wanted is not None and not (value is None and name not in _NEVER_NONE):
            plain, kinds = wanted
            if kinds == (int,) and hasattr(value, "__index__") and not isinstance(value, bool):  # NumPy's, too
                found[name] = int(value)
                continue
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise UsageError(f"{name} must be {plain}, not {value!r:.60}.")
    return found


_WHOLE, _TEXT, _TRUTH = ("a whole number", (int,)), ("text", (str,)), ("True or False", (bool,))
_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("steps", "seed", "batch_size", "accumulate", "checkpoint_every", "keep", "tick_every"), _WHOLE),
    **dict.fromkeys(("preset", "device", "precision", "keep_best"), _TEXT),
    **dict.fromkeys(("compile", "new"), _TRUTH),
    **dict.fromkeys(("out", "init"), ("the path of a run", (str, Path))),
    "data": ("a data spec, such as 'digits' or the path of a folder", (str,)),
}
_NEVER_NONE = ("seed", "accumulate", "keep", "compile", "new", "device", "precision")


def start_of(run: Run) -> Checkpoint:
    """The checkpoint of ``run`` to start another from. Raises RunError when there is none."""
    checkpoint = run.latest()
    if checkpoint is None:
        raise RunError(f"{run.folder} has no checkpoint to start from.")
    return checkpoint


# ---- a folder that holds a run already -------------------------------------------------------------------------------
def opened(asked: Plan) -> tuple[Run, list[str]]:
    """The run, new or to be resumed, and what ends its exactness, a clause each; for who holds the folder's lock.

    Of a run that is there nothing is changed yet but what a kill left half-written. Raises RunError naming every
    difference that forbids resuming.
    """
    if not Run.exists(asked.folder):
        for path, _ in leftovers(asked.folder):  # of a process that was killed in this very place
            discard(path)
        return Run.create(asked.folder, asked.config), []
    run = Run.open(asked.folder)
    run.recover()
    refused, allowed = differences(run.config, asked.config)
    longer = run.config.steps != asked.config.steps and _ends_matter(run)
    if longer:
        refused.append(f"steps was {run.config.steps}, now {asked.config.steps}, and a schedule depends on it")
    if refused:
        alone = longer and len(refused) == 1
        more = f" To train its weights further in a run of their own: {_further(run, asked)}." if alone else ""
        raise RunError(
            f"{asked.folder} holds another run: {'; '.join(refused)}. Use the same settings to resume it, --new for a "
            f"new folder beside it, or another --out.{more}"
        )
    if (done := max(run.checkpoints(), default=0)) > asked.config.steps:
        raise RunError(
            f"{asked.folder} is at step {done} already: --steps {asked.config.steps} would take it back. To train its "
            f"weights further in a run of their own: {_further(run, asked)}."
        )
    return Run(asked.folder, carried_on(run.config, asked.config, done)), allowed


def _further(run: Run, asked: Plan) -> str:
    """The command that starts a new run from the weights of ``run``, and its counterpart in Python."""
    number, out = 2, run.folder.with_name(f"{run.folder.absolute().name}-2")
    while out.exists():
        number, out = number + 1, run.folder.with_name(f"{run.folder.absolute().name}-{number + 1}")
    config = msgspec.structs.replace(asked.config, data=run.config.data)
    command = Run(run.folder, config).train_command(init=run.folder, out=out)
    return f"{command} (in Python: init={str(run.folder)!r}, out={str(out)!r})"


def _ends_matter(run: Run) -> bool:
    """Whether a learning rate depends on how many steps there will be."""
    steps = run.config.steps
    with torch.device("meta"):
        game = run.build_game()
    clocks = [(Clock(t, 1, steps), Clock(t, 1, 2 * steps)) for t in (1, steps // 2, steps - 1)]
    return any(player.schedule(a) != player.schedule(b) for player in game.players().values() for a, b in clocks)
