"""Commands on runs: train one, look at it, mend it, report it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ganvas.cli.flags import Answer, Count, Device, RunFolder, Seed, default, facts
from ganvas.errors import UsageError

if TYPE_CHECKING:
    from ganvas.run import Run


Switch = Annotated[bool, FlagCreatePairsOff]


@dataclass(frozen=True)
class Training:
    """Flags that every system has."""

    data: Annotated[str, arg(metavar="SPEC")]
    """What to train on: a folder, archive or array file, or a named set; see ganvas data --help."""
    out: Annotated[Path | None, arg(metavar="RUN"), default("runs/SYSTEM-DATA")] = None
    """The run folder; a run that is there is resumed."""
    new: Switch = False
    """Start a new run beside one that is there: numbers its folder."""
    preset: Annotated[str | None, arg(metavar="NAME"), default("the first")] = None
    """A row of the system's presets."""
    steps: Annotated[int | None, default("the preset's")] = None
    """Batches to train for."""
    minutes: Annotated[float | None, default("no limit")] = None
    """Stop at a checkpoint when so many minutes are spent; the same command goes on."""
    seed: Seed = 0
    """Of everything random."""
    batch_size: Annotated[int | None, default("the preset's")] = None
    """Images a step, over all ranks and shares."""
    accumulate: int = 1
    """Shares that a batch is split into, to save memory."""
    device: Device = "auto"
    """Where to work."""
    precision: Annotated[str, arg(metavar="auto|fp32|bf16")] = "auto"
    """Autocast of the forward passes; auto: bf16 on CUDA."""
    compile: Switch = False
    """Compile the nets."""
    checkpoint_every: Annotated[int | None, default("a fifth of the steps, at most 1,000")] = None
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints to keep, the newest."""
    keep_best: Annotated[str | None, arg(metavar="METRIC"), default("no")] = None
    """Keep the best checkpoint too, by a metric or by a logged name such as valid/PLAYER/TERM."""
    tick_every: Annotated[int | None, default("a twentieth of the steps, at most 50")] = None
    """Steps between rows of figures."""
    init: Annotated[Path | None, arg(metavar="RUN"), default("fresh weights")] = None
    """Start from the weights of another run; what is missing there starts fresh, and is listed."""
    dry_run: Switch = False
    """Print what the settings resolve to, and train nothing."""


def train() -> Answer:
    """Train a system on data; the same command resumes. ganvas train SYSTEM --help lists its flags."""
    raise UsageError(_usage())


def trainer(words: Sequence[str]) -> tuple[Callable[..., Answer], str, list[str]]:
    """The command ``train SYSTEM`` as a typed function of that system's flags, its name in messages, and its words.

    The defaults of the system's own flags are those of the preset among the words. Raises UsageError for a system or
    preset that there is not.
    """
    if not words:
        raise UsageError(_usage())
    if words[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    if words[0].startswith("-"):
        raise UsageError(f"Name the system before its flags: ganvas train SYSTEM {' '.join(words)}.")
    from ganvas import games

    system = games.system(words[0])
    config, _ = system.preset(last(words, "--preset"))

    def run(training: Training, own: Any = config) -> Answer:
        leaves = {f.name: getattr(own, f.name) for f in fields(own)}
        return _train(system.name, training, {n: v for n, v in leaves.items() if v != getattr(config, n)})

    table = "\n".join(
        f"    {name}: {', '.join(f'{key} {value}' for key, value in row.items()) or 'the defaults'}"
        for name, row in system.presets.items()
    )
    run.__doc__ = f"Train {system.name}: {system.summary}\n\nPresets:\n{table}"
    run.__annotations__ = {"training": Training, "own": Annotated[system.config, arg(name=system.name)]}
    return run, f"ganvas train {system.name}", [words[0], *spelt_out(words[1:], system.config)]


def _usage() -> str:
    from ganvas import games

    return f"usage: ganvas train SYSTEM --data SPEC ..., SYSTEM being one of: {', '.join(games.names())}"


def last(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag among words, given as ``--preset NAME`` or ``--preset=NAME``; the last one, as for every
    flag."""
    found = None
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name == flag:
            found = value if equals else following
    return found or None


def spelt_out(words: Sequence[str], config: type[Any]) -> list[str]:
    """``--X`` and ``--no-X``, of switches that may also be left open, as ``--X true`` and ``--X false``."""
    switches = {name.replace("_", "-") for name, kind in get_type_hints(config).items() if kind == bool | None}
    spelt: list[str] = []
    for word, following in pairwise([*words, ""]):
        match = re.fullmatch("--(no-)?([a-z-]+)", word)
        if match and match[2] in switches and following.lower() not in ("true", "false", "none"):
            spelt += [f"--{match[2]}", "false" if match[1] else "true"]
        else:
            spelt.append(word)
    return spelt


def _train(system: str, training: Training, leaves: dict[str, Any]) -> Answer:
    import msgspec

    from ganvas.planning import plan
    from ganvas.training import train as go

    arguments = {f.name: getattr(training, f.name) for f in fields(training) if f.name not in ("minutes", "dry_run")}
    arguments |= leaves
    if training.dry_run:
        asked = plan(system, **arguments)
        config = msgspec.to_builtins(asked.config)
        shown = msgspec.json.format(msgspec.json.encode(config), indent=2).decode()
        return Answer({"run": str(asked.folder), "config": config}, shown)
    run = go(system, minutes=training.minutes, **arguments)
    info = run.info()
    return Answer(info, str(run.folder))


def info(run: RunFolder) -> Answer:
    """What a run is, how far it is, what it measured, and what to type next.

    Args:
        run: The run folder.
    """
    from ganvas.run import Run

    opened = Run.open(run)
    found = opened.info()
    return Answer(found, _facts(opened, found))


def runs(directory: Annotated[Positional[Path], arg(metavar="DIR")] = Path("runs")) -> Answer:
    """All runs in and under a folder, as a table.

    Args:
        directory: The folder.
    """
    from rich.table import Table

    from ganvas.console import clock
    from ganvas.run import runs as find

    if not os.path.isdir(directory):  # Path.is_dir raises where a name is too long
        raise UsageError(f"There is no folder {directory}: name one that has runs in it.")
    found = [run.info() for run in find(directory)]
    table = Table("run", "system", "data", "steps", "time", "MB", "metrics", box=None, padding=(0, 2, 0, 0))
    for row in found:
        figures = "  ".join(f"{name} {_number(figure['value'])}" for name, figure in row["metrics"].items())
        steps = f"{row['step']:,}/{row['steps']:,}"
        table.add_row(row["run"], row["system"], row["data"], steps, clock(row["seconds"]), f"{row['bytes'] / 1e6:.1f}",
                      figures)  # fmt: skip
    return Answer({"runs": found}, table if found else f"There is no run in {directory}.")


def calibrate(
    run: RunFolder,
    data: Annotated[str | None, arg(metavar="SPEC"), default("the run's own")] = None,
    count: Count[int] = 10_000,
    device: Device = "auto",
) -> Answer:
    """Compute a run's batch-norm statistics and styles anew, for its verbs, and write its checkpoint with them.

    Args:
        run: The run folder.
        data: What to compute them on, prepared to the run's size; of an imported run some must be named.
        count: Over how many images, and as many samples.
        device: Where to work.
    """
    from ganvas.calibrate import calibrate_run

    checkpoint = calibrate_run(run, data=data, n=count, device=device)
    return Answer({"run": str(run), "checkpoint": str(checkpoint), "n": count}, str(checkpoint))


def report(run: RunFolder) -> Answer:
    """Write report.html: samples over time, curves, metrics and settings on one page.

    Args:
        run: The run folder.
    """
    from ganvas.report import write_report
    from ganvas.run import Run

    path = write_report(Run.open(run))
    return Answer({"run": str(run), "report": str(path)}, str(path))


def _facts(run: Run, found: dict[str, Any]) -> str:
    from ganvas.console import clock

    c, best = run.config, found["best"]
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in c.schema.items())
    rows = {
        "run": found["run"],
        "system": f"{c.system}, preset {c.preset}"
        + "".join(f", {name} {c.leaves[name]}" for name in c.changed if name in c.leaves),
        "data": f"{c.data} ({shapes}{f', {len(c.classes)} classes' if c.classes else ''})",
        "steps": f"{found['step']:,} of {found['steps']:,} in {clock(found['seconds'])}" if c.imported is None else "",
        "imported": "\n".join(
            f"{part} from a file of SHA-256 {digest}" if digest else f"no {part}: its weights are fresh"
            for part, digest in (c.imported or {}).items()
        ),
        "verbs": " ".join(found["verbs"]),
        "checkpoints": ", ".join(f"{step:,}" for step in found["checkpoints"]) or "none yet",
        "on disk": f"{found['bytes'] / 1e6:.1f} MB",
        "best": f"step {best['step']:,}, {best['metric']} {best['value']:.5g}" if best else "",
        **{name: _number(figure["value"]) + _counted(figure.get("n")) for name, figure in found["metrics"].items()},
        "health": "\n".join(found["health"]),
        "next": "\n".join(run.commands()),
    }
    return facts(rows)


def _counted(n: int | None) -> str:
    return "" if n is None else f" (N {n:,})"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.5g}"
